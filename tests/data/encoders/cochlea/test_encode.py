"""One recording to spikes: seeds, ticks, windows; the file it becomes; and the spikes of SHD-regenerated."""

import importlib.util
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("soundfile")
from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.encoders.cochlea import Cochlea, encode, encode_files
from snn_delays.data.encoders.cochlea import encode as encode_function
from snn_delays.data.encoders.cochlea.cells import BushyCell, Fibres
from snn_delays.data.events import Events
from snn_delays.data.formats.shd import read_shd_hdf5
from snn_delays.errors import ConfigError
from tests.support.recordings_made_up import vowel, write

FEW = Cochlea(channels=100)
RATE = 48_000


def test_spikes_of_a_sound() -> None:
    events = FEW.encode_samples(vowel(0.4), RATE)
    assert events.n_channels == 100
    per_channel_and_ms = len(events) / 100 / 400
    assert 0.003 < per_channel_and_ms < 0.2
    assert events.t_us[-1] < 400_500
    assert (events.t_us % 500 == 0).all()
    for channel in range(100):
        gaps = np.diff(events.t_us[events.channel == channel])
        assert gaps.size == 0 or gaps.min() >= 1000
    # the loudest place is that of the lowest formant, a low frequency, thus far from the base
    counts = np.bincount(events.channel, minlength=100)
    assert counts[:30].sum() < counts[-40:].sum()


def test_a_tone_is_heard_at_its_place() -> None:
    t = np.arange(int(0.3 * RATE)) / RATE
    fade = np.sin(np.pi * t / 0.3)
    places = []
    for hertz in (300, 1000, 3000):
        events = FEW.encode_samples(0.1 * fade * np.sin(2 * np.pi * hertz * t), RATE)
        places.append(np.bincount(events.channel, minlength=100).argmax())
    # resonance where C0 exp(-3 c) = a + m w^2; loud tones also move places nearer to the base
    best = [np.log(1e9 / (3500 + 0.05 * (2 * np.pi * hertz) ** 2)) / 3 / 3.5 * 99 for hertz in (300, 1000, 3000)]
    assert places[0] > places[1] > places[2]
    assert all(-25 < place - expected < 3 for place, expected in zip(places, best))


def test_seed_and_contents_decide_the_spikes(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", vowel(0.2))
    first = FEW.encode(path)
    elsewhere = tmp_path / "elsewhere" / "b.wav"
    elsewhere.parent.mkdir()
    elsewhere.write_bytes(path.read_bytes())
    assert encode(elsewhere, FEW) == first == FEW.encode(str(path), seed=0)
    assert FEW.encode(path, seed=1) != first
    assert len(FEW.encode(path, seed=1)) == pytest.approx(len(first), rel=0.3)
    sound = vowel(0.2)
    assert FEW.encode_samples(sound, RATE) == FEW.encode_samples(sound.astype(np.float64), RATE)


def test_level_does_not_matter_and_rate_hardly() -> None:
    sound = vowel(0.4, rate=16_000)
    loud = len(FEW.encode_samples(3 * sound, 16_000, seed=3))
    assert len(FEW.encode_samples(sound, 16_000)) == pytest.approx(loud, rel=0.15)
    high = len(FEW.encode_samples(vowel(0.4), RATE))
    assert high == pytest.approx(loud, rel=0.25)


def test_ticks(tmp_path: Path) -> None:
    path = write(tmp_path / "a.wav", vowel(0.3))
    fine, coarse = (Cochlea(channels=100, tick_us=tick).encode(path) for tick in (1, 500))
    assert len(fine) == len(coarse)
    rounded = (fine.t_us + 250) // 500 * 500
    order = np.lexsort((fine.channel, rounded))
    assert np.array_equal(rounded[order], coarse.t_us)
    assert np.array_equal(fine.channel[order], coarse.channel)
    # spikes lie on samples of 24 kHz
    samples = fine.t_us * 24 / 1000
    assert np.abs(samples - np.rint(samples)).max() < 0.02
    assert np.array_equal(coarse.t_us // 500, (np.rint(fine.t_us * 24 / 1000).astype(int) + 6)[order] // 12)


def test_window_and_causality_change_the_spikes() -> None:
    t = np.arange(int(0.4 * RATE)) / RATE
    flat = (0.1 * np.sin(2 * np.pi * 500 * t)).astype(np.float32)
    plain, windowed = (Cochlea(channels=100, window=window).encode_samples(flat, RATE) for window in ("none", "hann"))
    edges = [int(((e.t_us < 40_000) | (e.t_us > 360_000)).sum()) for e in (plain, windowed)]
    assert edges[1] < 0.5 * edges[0]
    click = np.zeros(int(0.4 * RATE), np.float32)
    click[click.size // 2] = 0.9
    before, after = (Cochlea(channels=100, causal=causal).encode_samples(click, RATE) for causal in (False, True))
    near = [np.histogram(e.t_us, [180_000, 198_000, 202_000, 220_000])[0] for e in (before, after)]
    assert near[0][0] > 10 * near[0][2]
    assert near[1][2] > 10 * near[1][0]


def test_long_recordings_go_in_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    from snn_delays.data.encoders.cochlea import membrane

    sound = vowel(0.6)
    whole = FEW.encode_samples(sound, RATE)
    monkeypatch.setattr(membrane, "SEGMENT", 4000)
    cut = FEW.encode_samples(sound, RATE)
    assert len(cut) == pytest.approx(len(whole), rel=0.1)
    bins = np.arange(0, 610_000, 20_000)
    assert np.corrcoef(*(np.histogram(e.t_us, bins)[0] for e in (whole, cut)))[0, 1] > 0.9
    gaps = np.concatenate([np.diff(cut.t_us[cut.channel == i]) for i in range(100)])
    assert gaps.min() >= 1000  # also across a cut


def test_settings_that_cannot_be() -> None:
    for wrong in (
        {"channels": 0},
        {"window": "hamming"},
        {"rms": 0.0},
        {"rms": float("nan")},
        {"tick_us": 0},
        {"tick_us": 1500},
        {"max_clipped": 1.5},
        {"max_seconds": 0.0},
    ):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Cochlea(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("reader", ["own", "tonic"])
def test_encoded_files_through_both_readers_and_into_bins(tmp_path: Path, reader: str) -> None:
    if reader == "tonic" and importlib.util.find_spec("tonic") is None:
        pytest.skip("tonic is not installed")
    files = [
        write(tmp_path / f"lang-{language}_speaker-0{i}_trial-0_digit-{i}.flac", vowel(0.2 + 0.1 * i, seed=i))
        for i, language in enumerate(("english", "german", "german"))
    ]
    encode_files(files, tmp_path / "out.h5", FEW, workers=1)
    samples = read_shd_hdf5(tmp_path / "out.h5", reader)  # type: ignore[arg-type]
    assert [(s.label, s.speaker) for s in samples] == [(0, 0), (11, 1), (12, 2)]
    for file, sample in zip(files, samples):
        events = FEW.encode(file)
        assert len(events) > 100
        seconds = (events.t_us / 1e6).astype(np.float16).astype(np.float64)
        stored = Events(np.floor(seconds * 1e6), events.channel, 700)
        # float16 may bring two times together; within one time, the order of channels is the same
        assert np.array_equal(sample.events.t_us, stored.t_us)
        assert np.array_equal(sample.events.channel, stored.channel)
        counts = bin_events(sample.events, Binning("fixed", dt_ms=10.0, channel_group=5))
        assert counts.sum() == len(events)


@pytest.mark.slow
def test_a_second_of_sound_takes_no_minutes() -> None:
    """Half a second on a quiet core; here only what a loop left to Python would cost is noticed."""
    sound = vowel(1.0)
    cochlea = Cochlea()
    cochlea.encode_samples(sound, RATE)  # tables and compilation

    def seconds() -> float:
        start = time.process_time()
        cochlea.encode_samples(sound, RATE)
        return time.process_time() - start

    assert min(seconds() for _ in range(5)) < 10


@pytest.mark.slow
def test_the_published_program_gives_the_same_spikes(tmp_path: Path) -> None:
    """Needs lauscher, the authors' program (LGPL), installed by whoever wants to run this; about two minutes."""
    pytest.importorskip("lauscher")
    import subprocess
    import sys

    path, out = write(tmp_path / "a.wav", vowel(0.4)), tmp_path / "a.npz"
    subprocess.run([sys.executable, "-m", "lauscher", path, out, "--num_channels", "50"], check=True)
    with np.load(out) as z:
        times, channels = z[z.files[0]]
    ours = [Cochlea(channels=50, window="hann").encode(path, seed) for seed in range(20)]
    counts = [len(events) for events in ours]
    assert abs(times.size - np.mean(counts)) < 4 * np.std(counts)
    for mine, theirs, bins in (
        ([e.channel for e in ours], channels, np.arange(0, 51, 5)),
        ([e.t_us for e in ours], times * 1e6, np.arange(0, 410_000, 20_000)),
    ):
        mean = np.mean([np.histogram(values, bins)[0] for values in mine], axis=0)
        assert np.corrcoef(mean, np.histogram(theirs, bins)[0])[0, 1] > 0.95


def test_public_names() -> None:
    assert encode_function is encode
    assert Fibres() == Cochlea().fibres
    assert BushyCell() == Cochlea().bushy
