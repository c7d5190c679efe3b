"""Recordings of every kind are read, and those that cannot be used are refused by name, reason and remedy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile")
from snn_delays.data.encoders.cochlea import Cochlea, label_files, read_audio
from snn_delays.data.encoders.cochlea import audio as audio_module
from snn_delays.errors import BackendUnavailableError, DataError
from tests.support.recordings_made_up import vowel, write

RATE = 48_000


@pytest.mark.parametrize(
    ("suffix", "subtype"), [("wav", "PCM_16"), ("wav", "FLOAT"), ("wav", "PCM_U8"), ("flac", "PCM_16")]
)
def test_formats(tmp_path: Path, suffix: str, subtype: str) -> None:
    sound = vowel(0.2)
    read = read_audio(write(tmp_path / f"a.{suffix}", sound, subtype=subtype), RATE)
    assert read.shape == sound.shape
    assert read.dtype == np.float32
    assert np.abs(read - sound).max() < (0.01 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 96_000, 11_127])
def test_other_rates_are_resampled(tmp_path: Path, rate: int) -> None:
    t = np.arange(int(0.5 * rate)) / rate
    tone = (0.3 * np.sin(2 * np.pi * 1000 * t) * np.sin(np.pi * t / 0.5)).astype(np.float32)
    read = read_audio(write(tmp_path / "a.wav", tone, rate, "FLOAT"), RATE)
    assert abs(read.size - 24_000) <= RATE // rate + 1
    there = np.arange(read.size) / RATE
    expected = 0.3 * np.sin(2 * np.pi * 1000 * there) * np.sin(np.pi * there / 0.5)
    assert np.abs(read - expected)[100:-100].max() < 3e-3
    assert np.abs(np.roll(read, 2) - expected)[100:-100].max() > 3e-2  # two samples late


def test_stereo_is_mixed_down_whatever_the_balance(tmp_path: Path) -> None:
    left, right = vowel(0.1), vowel(0.1, seed=1)
    read = read_audio(write(tmp_path / "a.wav", np.stack([left, right], axis=1), subtype="FLOAT"), RATE)
    np.testing.assert_allclose(read, (left + right) / 2, atol=1e-7)
    with pytest.raises(DataError, match=r"a\.wav: silent.*channels cancel"):
        read_audio(write(tmp_path / "a.wav", np.stack([left, -left], axis=1), subtype="FLOAT"), RATE)


def half(path: Path, share: float = 0.5) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def empty(path: Path) -> Path:
    path.touch()
    return path


def unfinished(path: Path, length: bytes) -> Path:
    """As a recorder leaves a WAV whose length it never came to write."""
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = length
    path.write_bytes(content)
    return path


def damaged(path: Path) -> Path:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 : len(content) // 2 + 64] = bytes(64)
    path.write_bytes(content)
    return path


def with_value(value: float, at: int = 123) -> np.ndarray:
    sound = vowel(0.1)
    sound[at] = value
    return sound


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: p / "gone.wav", "does not exist; give WAV or FLAC"),
        (lambda p: p, "is not a file"),
        (lambda p: empty(p / "a.wav"), r"empty \(0 bytes\); fetch"),
        (lambda p: (p / "a.wav").write_bytes(b"RIFF") and p / "a.wav", "cannot be decoded .*; it is damaged"),
        (lambda p: (p / "a.wav").write_text("hello" * 100) and p / "a.wav", "cannot be decoded .* fetch or record it"),
        (lambda p: (p / "a.raw").write_bytes(bytes(9999)) and p / "a.raw", "cannot be decoded"),
        (lambda p: write(p / "a.wav", vowel(0.1)[:0]), "empty: 0 samples"),
        (lambda p: write(p / "a.flac", vowel(0.1)[:100]), "shorter than 10 ms"),
        (lambda p: half(write(p / "a.wav", vowel(0.2))), "half-written: its header announces 19200 bytes of sound and"),
        (lambda p: half(write(p / "a.wav", vowel(0.2)), 0.0015), "half-written: its header announces no sound"),
        (lambda p: half(write(p / "a.flac", vowel(0.2))), "fetch or record it again"),
        (lambda p: half(write(p / "a.flac", vowel(0.2)), 0.99), "fetch or record it again"),
        (lambda p: damaged(write(p / "a.flac", vowel(0.2))), "fetch or record it again"),
        (lambda p: unfinished(write(p / "a.wav", vowel(0.2)), bytes(4)), "announces no length and 19200 are there"),
        (lambda p: unfinished(write(p / "a.wav", vowel(0.2)), b"\xff" * 4), "announces no length"),
        (lambda p: write(p / "a.wav", 0 * vowel(0.1)), "silent .*record it again"),
        (lambda p: write(p / "a.wav", with_value(np.nan), subtype="FLOAT"), r"sample 123 \(0.003 s\) is nan; export"),
        (lambda p: write(p / "a.wav", with_value(np.inf), subtype="FLOAT"), "sample 123 .* is inf"),
        (lambda p: write(p / "a.wav", np.clip(30 * vowel(0.1), -1, 1)), r"% of the samples are clipped .* lower level"),
        (lambda p: write(p / "a.wav", vowel(0.7)), r"lasts 1 s, longer than the 0.5 s allowed; cut it"),
        (lambda p: write(p / "a.wav", vowel(0.4, rate=2000), 2000), "sample rate is 2000 Hz, expected 4000 to"),
    ],
)  # fmt: skip
def test_refused(tmp_path: Path, make: object, words: str) -> None:
    path = make(tmp_path)  # type: ignore[operator]
    with pytest.raises(DataError, match=words) as caught:
        read_audio(path, RATE, max_seconds=0.5)
    assert str(path) in str(caught.value)


def test_clipping_is_runs_at_full_scale_and_may_be_allowed(tmp_path: Path) -> None:
    clipped = write(tmp_path / "a.wav", np.clip(30 * vowel(0.1), -1, 1))
    assert read_audio(clipped, RATE, max_clipped=1.0).size == 4800
    peaks = vowel(0.1)
    peaks[::4], peaks[1::4] = 1.0, 1.0  # half of them at full scale, never three in a row
    assert read_audio(write(tmp_path / "b.wav", peaks), RATE).size == 4800


def test_arrays_are_refused_too() -> None:
    cochlea = Cochlea(channels=4)
    with pytest.raises(DataError, match="samples are int16, expected floats"):
        cochlea.encode_samples(np.zeros(4800, np.int16), RATE)
    with pytest.raises(DataError, match=r"axes \[time\]"):
        cochlea.encode_samples(np.zeros((1, 4800, 1), np.float32), RATE)
    with pytest.raises(DataError, match="silent"):
        cochlea.encode_samples(np.zeros(4800, np.float32), RATE)


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def absent(name: str) -> None:
        raise ImportError(f"No module named {name!r}")

    monkeypatch.setattr(audio_module, "import_module", absent)
    with pytest.raises(BackendUnavailableError, match=r"needs soundfile .* pip install 'snn-delays\[audio\]'"):
        read_audio(tmp_path / "a.wav", RATE)


def test_nothing_of_the_extra_is_imported_before_it_is_needed() -> None:
    code = "import sys, snn_delays.data.encoders.cochlea as c; c.Cochlea(); print('soundfile' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown == "False\n"


# Labels


def test_names_of_heidelberg_digits() -> None:
    names = ["lang-german_speaker-03_trial-0_digit-7.flac", "lang-english_speaker-11_trial-12_digit-0.wav"]
    labels = label_files([Path("x", name) for name in names])
    assert (labels.label, labels.speaker) == ((17, 0), (3, 11))
    assert (labels.class_names[17], len(labels.class_names)) == ("sieben", 20)


def test_names_of_speech_commands() -> None:
    names = ["yes/b0_nohash_0.wav", "no/a1_nohash_3.wav", "yes/a1_nohash_0.wav"]
    labels = label_files([Path(name) for name in names])
    assert (labels.label, labels.speaker, labels.class_names) == ((1, 0, 1), (1, 0, 0), ("no", "yes"))


@pytest.mark.parametrize("odd", ["hello.wav", "lang-german_speaker-03_digit-7.flac", "x/_background_noise_.wav"])
def test_a_name_without_a_class_is_named(odd: str) -> None:
    digit = Path("lang-german_speaker-03_trial-0_digit-7.flac")
    with pytest.raises(DataError, match=f"{odd}: no class .* CSV with the columns file,label,speaker"):
        label_files([digit, Path(odd)])
    with pytest.raises(DataError, match=f"{odd}: no class"):
        label_files([Path("yes/b0_nohash_0.wav"), Path(odd), Path("yes/b0_nohash_1.wav")])


def table(folder: Path, text: str) -> Path:
    path = folder / "labels.csv"
    path.write_text(text)
    return path


def test_labels_from_a_table(tmp_path: Path) -> None:
    files = [tmp_path / "a" / "1.wav", tmp_path / "b" / "1.wav", tmp_path / "2.wav"]
    numbers = table(tmp_path, "file,label,speaker\n2.wav,3,7\na/1.wav,0,1\nb/1.wav,1,2\n")
    labels = label_files(files, numbers)
    assert (labels.label, labels.speaker, labels.class_names) == ((0, 1, 3), (1, 2, 7), ("0", "1", "2", "3"))
    words = table(tmp_path, "label, file, speaker\ndog, 2.wav, eva\nape, a/1.wav, adam\ncat, b/1.wav, eva\n")
    labels = label_files(files, words)
    assert (labels.label, labels.speaker, labels.class_names) == ((0, 1, 2), (0, 1, 1), ("ape", "cat", "dog"))
    assert label_files(files[2:], words).label == (2,)  # a part of the files keeps the numbers
    assert label_files([Path("elsewhere/2.wav")], words).label == (2,)  # by its bare name
    assert label_files(files, table(tmp_path, "file,label\n2.wav,0\na/1.wav,0\nb/1.wav,0\n")).speaker == (-1, -1, -1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name,label\n1.wav,0\n", "no column 'file'"),
        ("file,label,speaker\nx.wav,0,0\n", r"1\.wav is not in .*labels\.csv"),
        ("file,label,speaker\na/1.wav,0,0\nb/1.wav,1,0\n", "fits 2 rows"),
        ("file,label,speaker\n1.wav,,0\n", "row 1: a column is empty"),
        ("file,label,speaker\n1.wav,0,0\n1.wav,1,0\n", "row 2: 1.wav is named twice"),
        ("file,label,speaker\n1.wav,70000,0\n", "label 70000 does not fit"),
        ("file,label,speaker\n1.wav,0,70000\n", "speaker 70000 does not fit"),
    ],
)
def test_tables_that_are_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        label_files([tmp_path / "1.wav"], table(tmp_path, text))
    with pytest.raises(DataError, match="cannot read"):
        label_files([tmp_path / "1.wav"], tmp_path / "absent.csv")
