"""The public names are those of a list: one that a user could rely on goes by decision, not by accident."""

import warnings
from pathlib import Path

import pytest

import snn_delays
from tests.support.pages import blocks, importable
from tests.support.public_names import REFERENCE, entries, listed, missing_entries, named_by, public, stray_entries


@pytest.mark.parametrize("name", listed(), ids=lambda name: name.removeprefix("snn_delays."))
def test_a_public_name_stays(name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert importable(name), f"{name} is gone: serve it from its old place with snn_delays.moved.forward"


def test_what_is_documented_is_listed() -> None:
    assert public() - set(listed()) == set(), "python -m tests.support.public_names adds them"
    assert listed() == sorted(set(listed()))


def test_the_reference_describes_the_names_of_the_list() -> None:
    described = [entry for page in REFERENCE for entry in entries(page.read_text(encoding="utf-8"))]
    assert missing_entries(listed(), described) == [], "add lines '::: NAME' to a page of docs/api"
    assert stray_entries(listed(), described) == [], "list them in tests/public_names.txt, or describe them once"


def test_every_top_level_name_is_in_an_example_of_the_reference() -> None:
    used = set.union(*map(named_by, REFERENCE))
    shown = " ".join(block.code for page in REFERENCE for block in blocks(page.read_text(encoding="utf-8")))
    names = [f"snn_delays.{name}" for name in snn_delays.__all__]
    assert [name for name in names if name not in used and name not in shown] == []


def test_canary_entries_that_are_missing_stray_or_doubled() -> None:
    names = ["snn_delays.LIF", "snn_delays.nn.LIF", "snn_delays.ops.lif", "snn_delays.data.augment.Batch"]
    text = "::: snn_delays.LIF\n\n::: snn_delays.nn.PLIF\n    options: {}\n\n::: snn_delays.nn.neuron.LIF\n"
    described = entries(text)
    assert missing_entries(names, described) == ["snn_delays.ops.lif", "snn_delays.data.augment.Batch"]
    assert stray_entries(names, described) == ["snn_delays.nn.PLIF", "snn_delays.nn.neuron.LIF"]
    assert missing_entries(["snn_delays.data.augment.time_mask"], ["snn_delays.data.augment"]) == []


def test_canary_names_are_found_in_code_and_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "`snn_delays.a.b(x)` and `snn_delays/c.py`\n\n```python\nimport snn_delays.d\n"
        "from snn_delays.e import f, g as h\n```\n"
    )
    assert named_by(page) == {"snn_delays.a.b", "snn_delays.d", "snn_delays.e.f", "snn_delays.e.g"}
    assert not importable("snn_delays.nn.NoSuchLayer")
