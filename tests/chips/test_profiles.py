"""Cards of chips: every number has evidence, what is unverified says so, and bad cards are refused."""

from pathlib import Path

import pytest

from snn_delays.chips.profiles import CARDS, EVIDENCE, Profile, profile, profiles, read_profile
from snn_delays.errors import ConfigError, DataError
from tests.support.chips_page import PAGE, facts, named, overview, written_anew

WANTED = {
    "akida", "brian2", "dynap-se2", "generic", "generic8", "loihi1", "loihi2", "nest", "nir", "seneca", "speck",
    "spinnaker1", "spinnaker2", "truenorth", "xylo",
}  # fmt: skip
WORDS = {"name", "title", "about", "evidence"}
CARD = """
name = "toy"
title = "Toy"
about = "A chip of the tests."
[[facts]]
evidence = "design"
source = "here"
delay_kind = "synaptic"
max_delay_steps = 3
arithmetic = "whole"
weight_bits = [4]
state_bits = 16
decay_bits = 8
threshold_bits = 15
resets = ["hard"]
recurrent = false
integrator_readout = true
"""


def card(tmp_path: Path, text: str) -> Profile:
    (tmp_path / "toy.toml").write_text(text, encoding="utf-8")
    return read_profile(tmp_path / "toy.toml")


def test_the_targets_are_there_and_named_as_their_files() -> None:
    assert set(profiles()) == WANTED
    assert {path.stem for path in CARDS.glob("*.toml")} == WANTED


@pytest.mark.parametrize("name", sorted(WANTED))
def test_every_number_on_a_card_has_its_evidence(name: str) -> None:
    chip = profile(name)
    given = chip.model_fields_set - WORDS
    assert given == set(chip.evidence)
    for field, known in chip.evidence.items():
        assert known.kind in EVIDENCE
        assert len(known.source) > 20, f"{field}: {known.source!r} is no source"
    assert {"delay_kind", "arithmetic", "resets", "recurrent", "integrator_readout"} <= given
    if not chip.software and chip.has_delays and name != "seneca":
        assert chip.max_delay_steps is not None


def test_unverified_numbers_say_so() -> None:
    loihi = profile("loihi1")
    assert loihi.unverified == ["accumulator_entries_per_core"]
    assert "NOT verified" in loihi.cite("accumulator_entries_per_core")[0]
    assert "NOT verified" not in loihi.cite("max_delay_steps")[0]
    # Nothing that is from memory alone claims an exact twin.
    for chip in profiles().values():
        assert not chip.exact_twin or chip.evidence["exact_twin"].kind == "ran"


def test_limits_that_the_exporters_rely_on() -> None:
    assert profile("loihi2").max_delay_steps == 62
    # 6 bits of shift, and codes of mixed sign at the top of 9.
    assert [profile("loihi2").weight_shift(bits) for bits in (8, 4)] == [7, 11]
    assert profile("loihi2").resets == ("hard",)
    assert profile("loihi2").strict_threshold is True
    assert profile("spinnaker2").max_delay_steps == 7
    assert profile("spinnaker2").default_weight_bits == 5
    assert profile("generic").weight_shift(8) == 10
    assert profile("nir").default_weight_bits is None
    assert profile("truenorth").delay_kind == "axonal"


def test_an_unknown_name_gets_the_near_ones() -> None:
    with pytest.raises(ConfigError, match=r"no profile 'Loihi'; did you mean 'loihi2' or 'loihi1'"):
        profile("Loihi")
    with pytest.raises(ConfigError, match="the profiles are akida, brian2"):
        profile("quantum")


def test_a_card_is_read(tmp_path: Path) -> None:
    toy = card(tmp_path, CARD)
    assert (toy.max_delay_steps, toy.default_weight_bits, toy.has_delays) == (3, 4, True)
    assert toy.evidence["max_delay_steps"].source == "here"
    assert toy.cite("resets", "state_bits") == [
        "resets = hard, state_bits = 16 (a choice of this package: here)",
    ]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("recurrent = false", "recurrrent = false"), "recurrrent"),
        (("recurrent = false", ""), "recurrent: Field required"),
        (('evidence = "design"', 'evidence = "rumour"'), "evidence"),
        (('source = "here"', ""), "source"),
        (("max_delay_steps = 3", 'max_delay_steps = "3"'), "max_delay_steps"),
        (("max_delay_steps = 3", "max_delay_steps = 3\nmin_delay_steps = 4"), "below min_delay_steps"),
        (("weight_bits = [4]", "weight_bits = [40]"), "weight_bits must lie in 2..16"),
        (("state_bits = 16", ""), "integer arithmetic needs state_bits"),
        (('about = "A chip of the tests."', 'about = "x"\nstate_bits = 8'), "outside"),
        (("resets =", 'state_bits = 16\n[[facts]]\nevidence = "ran"\nsource = "y"\nresets ='), "cannot read"),
        (("resets =", '[[facts]]\nevidence = "ran"\nsource = "y"\nstate_bits = 9\nresets ='), "'state_bits' is given"),
        (("name =", "name"), "cannot read the card"),
    ],
)  # fmt: skip
def test_a_bad_card_is_refused_by_file_and_key(tmp_path: Path, change: tuple[str, str], message: str) -> None:
    assert change[0] in CARD
    with pytest.raises(DataError, match=message) as caught:
        card(tmp_path, CARD.replace(*change))
    assert "toy.toml" in str(caught.value)


def test_a_profile_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        profile("loihi2").max_delay_steps = 63  # type: ignore[misc]


def test_the_page_of_chips_is_that_of_the_cards() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert sorted(named(text)) == sorted(profiles())
    assert written_anew(text) == text, "write it anew: python -m tests.support.chips_page"
    for one in profiles().values():
        assert f"### {one.title}\n" in text


def test_canary_another_number_on_a_card_changes_the_page() -> None:
    text = PAGE.read_text(encoding="utf-8")
    loihi = profile("loihi2")
    assert facts(loihi) in text
    assert facts(loihi.model_copy(update={"max_delay_steps": 63})) not in text
    assert overview() in text
    assert "*16 ?*" not in text
    assert "`state_bits` 16, `decay_bits` 15" in facts(profile("xylo"))
