"""Our cochlea against the spikes of SHD-regenerated, and the script that compares them."""

from pathlib import Path

import pytest

pytest.importorskip("soundfile")
from experiments.studies import cochlea_compare
from experiments.studies.cochlea_compare import Match, compare, main, summarise
from snn_delays.data.encoders.cochlea import Cochlea
from snn_delays.errors import DataError
from tests.support import ROOT
from tests.support.recordings_made_up import vowel, write

SHARED = ROOT.parent / "shared" / "data"
AUDIO = SHARED / "hd_audio_sample" / "hd_audio_240.zip"
ARCHIVE = SHARED / "shd_regenerated" / "shd_regen_test.npz.xz"


def is_the_same_cochlea(matches: list[Match]) -> bool:
    """Whether counts and histograms are as close to the archive's as two seeds of ours are to each other.

    Two draws of one recording differ by 1.2 % in their counts (over all 240), so the sums over n recordings do by
    1.2 % / sqrt(n); four times that is allowed. Correlations of histograms may be 0.01 below those of two seeds.
    """
    found = summarise(matches)
    return (
        abs(found.ratio - 1) < 4 * 0.012 / len(matches) ** 0.5
        and found.difference[0] < 0.03
        and min(found.channel[0] - found.channel[1], found.time[0] - found.time[1]) > -0.01
        and min(found.channel[0], found.time[0]) > 0.97
    )


@pytest.mark.shared
@pytest.mark.skipif(not (AUDIO.exists() and ARCHIVE.exists()), reason="no Heidelberg Digits at hand")
def test_spikes_are_those_of_shd_regenerated() -> None:
    matches = compare(AUDIO, [ARCHIVE], recordings=8)
    assert len({match.name for match in matches}) == 8
    assert is_the_same_cochlea(matches)
    # canaries: the whole-file window, and the membrane turned round, are noticed
    assert not is_the_same_cochlea(compare(AUDIO, [ARCHIVE], Cochlea(window="hann"), recordings=2))
    assert not is_the_same_cochlea(compare(AUDIO, [ARCHIVE], Cochlea(causal=True), recordings=2))
    # and what is compared is the recording, not digits in general
    others = [Match(a.name, b.archived, a.ours, a.again) for a, b in zip(matches, matches[1:] + matches[:1])]
    assert not is_the_same_cochlea(others)


def test_nothing_to_compare(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing or no zip archive"):
        compare(tmp_path / "a.zip", [])


def test_it_prints_numbers_and_draws(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requested = {}
    recordings = [write(tmp_path / f"{k}.wav", vowel(0.1, seed=k)) for k in range(2)]

    def few(audio: Path, archives: list[Path], cochlea: Cochlea, **options: object) -> list[Match]:
        requested.update(window=cochlea.window, recordings=options["recordings"])
        small = Cochlea(channels=100)
        return [Match(path.stem, *(small.encode(path, seed) for seed in (5, 0, 1))) for path in recordings]

    monkeypatch.setattr(cochlea_compare, "compare", few)
    picture = tmp_path / "a.png"
    main(["a.zip", "b.xz", "--recordings", "3", "--window", "--picture", str(picture)])
    shown = capsys.readouterr().out
    assert requested == {"window": "hann", "recordings": 3}
    assert "against the archive: counts" in shown
    assert "against another seed: counts" in shown
    assert f"written: {picture}" in shown
    assert picture.stat().st_size > 5000
