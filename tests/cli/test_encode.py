"""`data encode`: what it writes and says, and its exit codes."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from tests.support import speech_commands_fixture

pytest.importorskip("soundfile")
from typer.testing import CliRunner

import snn_delays.cli.encode  # noqa: F401
from snn_delays import cli
from snn_delays.data import load_binned
from snn_delays.data.encoders.cochlea import Cochlea
from snn_delays.data.encoders.cochlea import batch as batch_module
from snn_delays.data.formats.shd import read_shd_hdf5, shd_recordings
from snn_delays.runs import samples
from snn_delays.training import sources
from tests.support.recordings_made_up import vowel, write

Ok = Callable[..., Result]
Bad = Callable[..., str]


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    for digit in range(3):
        write(tmp_path / "in" / f"lang-english_speaker-02_trial-0_digit-{digit}.flac", vowel(0.15, seed=digit))
    return tmp_path / "in"


def test_encode(snn: Ok, recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    shown = snn("data", "encode", recordings, "--out", out, "--channels", 10, "--seed", 3, "--workers", 1).stdout
    assert f"written: {out}, 3 recordings; {out}.csv lists them" in shown
    samples = read_shd_hdf5(out, "own")
    assert [(s.label, s.speaker) for s in samples] == [(0, 2), (1, 2), (2, 2)]
    expected = Cochlea(channels=10).encode(recordings / "lang-english_speaker-02_trial-0_digit-1.flac", seed=3)
    assert samples[1].events.channel.tolist() == expected.channel.tolist()


def test_options_reach_the_cochlea(snn: Ok, recordings: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text(
        "file,label,speaker\n" + "".join(f"in/{p.name},w{i},0\n" for i, p in enumerate(sorted(recordings.iterdir())))
    )
    options = ("--window", "--tick-us", 1000, "--causal", "--labels", table, "--channels", 10, "--workers", 1)
    snn("data", "encode", recordings, "--out", tmp_path / "out.h5", *options)
    assert shd_recordings(tmp_path / "out.h5", "own").class_names == ("w0", "w1", "w2")
    cochlea = Cochlea(channels=10, window="hann", tick_us=1000, causal=True)
    expected = cochlea.encode(recordings / "lang-english_speaker-02_trial-0_digit-0.flac")
    assert read_shd_hdf5(tmp_path / "out.h5", "own")[0].events.channel.tolist() == expected.channel.tolist()


def test_a_bad_recording_is_named_and_makes_the_exit_code_1(recordings: Path, tmp_path: Path) -> None:
    bad = recordings / "lang-english_speaker-02_trial-0_digit-9.flac"
    bad.write_bytes(b"")
    out = tmp_path / "out.h5"
    words = ["data", "encode", str(recordings), "--out", str(out), "--channels", "10", "--workers", "1"]
    result = CliRunner().invoke(cli.app, words)
    assert result.exit_code == 1
    shown = result.stdout.replace("\n", " ")
    assert f"left out: {bad} is empty (0 bytes); fetch or record it again" in shown
    assert "1 of 4 recordings were left out" in shown
    assert len(read_shd_hdf5(out, "own")) == 3


def test_speech_commands(snn: Ok, refused: Bad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, gone = tmp_path / "in", tmp_path / "in" / "bed" / "0a7c2a8d_nohash_0.wav"
    speech_commands_fixture.write(folder)
    monkeypatch.setattr(batch_module, "Cochlea", lambda: Cochlea(channels=10))
    assert "validation_list.txt" in refused("data", "encode-speech-commands", tmp_path)
    words = ("data", "encode-speech-commands", folder, "--workers", 1, "--seed", 3)
    shown = snn(*words).stdout
    made = tmp_path / "data" / "gsc-35-cochlea"
    for split, count in (("train", 6), ("valid", 3), ("test", 3)):
        assert f"written: {made / f'gsc_{split}.h5'}, {count} recordings; " in shown
        assert len(shd_recordings(made / f"gsc_{split}.h5", "own")) == count
    expected = Cochlea(channels=10).encode(gone, seed=3)
    assert read_shd_hdf5(made / "gsc_train.h5", "own")[0].events.channel.tolist() == expected.channel.tolist()

    gone.write_bytes(b"")
    (other := tmp_path / "other").mkdir()
    (made / "gsc_valid.h5").rename(other / "gsc_valid.h5")
    (made / "gsc_valid.h5.csv").rename(other / "gsc_valid.h5.csv")
    for first in ("written", "there already"):  # the reasons are printed again when there is nothing left to do
        result = CliRunner().invoke(cli.app, [str(word) for word in (*words, "--out", other)])
        assert result.exit_code == 1
        assert f"{first}: {other / 'gsc_train.h5'}, 5 recordings; " in result.stdout
        assert f"there already: {other / 'gsc_valid.h5'}, 3 recordings; " in result.stdout
        assert f"left out: {gone} is empty (0 bytes)" in result.stdout
        assert "1 of 6 recordings were left out" in result.stdout


def test_refusals(refused: Bad, recordings: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    assert "channels must lie" in refused("data", "encode", recordings, "--out", out, "--channels", 0)
    assert "no class can be read" in refused("data", "encode", tmp_path / "a.wav", "--out", out)
    out.touch()
    assert "exists already" in refused("data", "encode", recordings, "--out", out)
    output = refused("data", "encode-check", "a.zip", "b c.xz", "--window")
    assert "from a checkout: python -m experiments.studies.cochlea_compare a.zip 'b c.xz' --window" in output


def test_splits_lead_straight_to_training(snn: Ok, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", load_binned)  # in the place of made-up data
    monkeypatch.setattr(samples, "load_binned", load_binned)
    monkeypatch.chdir(tmp_path)
    for word in ("go", "stop"):
        for who in ("adam", "eva"):
            for k in range(6):
                write(tmp_path / "in" / f"{word}_{who}_{k}.wav", vowel(0.1, seed=7 * k + len(word + who)), 16_000)
    out = tmp_path / "my words.h5"
    options = ("--test", "takes:0-2", "--valid", "takes:5", "--channels", 12, "--workers", 1)
    shown = snn("data", "encode", "in", "--out", out, *options).stdout
    assert f"written: {tmp_path / 'my words_train.h5'}, 8 recordings; " in shown
    (line,) = (line for line in shown.splitlines() if line.startswith("next: "))
    words = shlex.split(line.removeprefix("next: "))
    assert words[:3] == ["snn-delays", "train", "demo"]
    assert "no test part" not in shown
    snn(*words[1:], "--set", "training.epochs=1", "--set", "model.hidden=[8]", "--accelerator", "cpu")
    snn("evaluate", "runs/my words")
    found = json.loads((tmp_path / "runs" / "my words" / "evaluation.json").read_text())
    assert (found["test_samples"], found["class_names"]) == (12, ["go", "stop"])


def test_one_file_says_that_it_has_no_test_part(snn: Ok, recordings: Path, tmp_path: Path) -> None:
    shown = snn("data", "encode", recordings, "--out", tmp_path / "w.h5", "--channels", 10, "--workers", 1).stdout
    assert f"next: snn-delays train demo --set data.dataset={tmp_path / 'w.h5'} --out runs/w" in shown
    assert "has no test part" in shown
