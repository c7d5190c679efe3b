"""Sequential MNIST as recordings: our reader against Tonic's SMNIST, the order of the pixels, missing files."""

import gzip
import hashlib
import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.binning import Binning
from snn_delays.data.catalogue import identity
from snn_delays.data.catalogue import lookup as catalogue
from snn_delays.data.catalogue.locate import find_data, verify
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.encoders.sequential_mnist import (
    PixelSequences,
    PixelValues,
    encode_pixels,
    open_pixel_sequences,
    open_pixel_values,
    permutation,
)
from snn_delays.data.formats.idx import read_mnist
from snn_delays.data.loaders import bin_recordings, load_binned
from snn_delays.data.opening import open_recordings
from snn_delays.errors import ConfigError, DataError

needs_tonic = pytest.mark.skipif(importlib.util.find_spec("tonic") is None, reason="tonic is not installed")
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data" / "mnist"
SETTINGS = {"n_channels": 99, "dt_us": 1000, "steps_per_pixel": 2}


def strokes(n, seed):
    """Images with the statistics of a digit: black, but for a few bright strokes with soft edges."""
    random, images = np.random.default_rng(seed), np.zeros((n, 28, 28), dtype=np.uint8)
    for image in images:
        for row in random.integers(4, 24, 3):
            start = random.integers(4, 12)
            image[row, start : start + 9] = (60, 130, 200, 255, 255, 255, 180, 90, 20)
    return images


@pytest.fixture
def folder(own_folders, monkeypatch) -> Path:
    """Twelve images in MNIST's files where the cards look for them: train plain, test gzipped."""
    monkeypatch.setenv("SNN_DELAYS_DATA", str(own_folders / "data"))
    home = own_folders / "data" / "MNIST"
    home.mkdir(parents=True)
    for name, n in (("train", 12), ("t10k", 5)):
        images, labels = strokes(n, n), (np.arange(n) * 3 % 10).astype(np.uint8)
        for kind, magic, values in (("images-idx3", 2051, images), ("labels-idx1", 2049, labels)):
            content = np.array([magic, *values.shape], dtype=">u4").tobytes() + values.tobytes()
            packed = name == "t10k"
            path = home / f"{name}-{kind}-ubyte{'.gz' if packed else ''}"
            path.write_bytes(gzip.compress(content) if packed else content)
    return home


@pytest.fixture
def known(folder, monkeypatch):
    """The cards with the checksums of those twelve images."""

    def of(name):
        original = card(name)
        splits = {
            split: replace(part, parts={file: md5(folder, file) for file in part.parts})
            for split, part in original.splits.items()
        }
        return replace(original, splits=splits)

    small = {name: of(name) for name in ("s-mnist", "ps-mnist")}
    monkeypatch.setattr(catalogue, "cards", lambda: small)
    return folder


def md5(folder, name):
    path = folder / name
    content = path.read_bytes() if path.exists() else gzip.decompress((folder / f"{name}.gz").read_bytes())
    return hashlib.md5(content).hexdigest()


@pytest.mark.parametrize("split", ["train", "test"])
def test_recordings_are_the_encoded_images(folder, split):
    images, labels = read_mnist(folder, split)
    plain, permuted = (open_recordings(name, split, reader="own") for name in ("s-mnist", "ps-mnist"))
    assert len(plain) == len(permuted) == len(images)
    assert (plain.sensor, plain.class_names[9]) == ((99,), "9")
    for i in range(len(images)):
        assert plain[i].events == encode_pixels(images[i])
        assert permuted[i].events == encode_pixels(images[i], order=permutation(0))
        assert plain[i].label == permuted[i].label == labels[i]
        assert plain[i].speaker == -1
        assert plain[i].events != permuted[i].events
    with pytest.raises(IndexError, match=f"samples 0 to {len(images) - 1}, not"):
        plain[len(images)]


@needs_tonic
@pytest.mark.parametrize("settings", [SETTINGS, SETTINGS | {"steps_per_pixel": 1, "n_channels": 31, "dt_us": 500}])
def test_our_reader_equals_tonics_smnist(folder, settings, tmp_path):
    from tonic.datasets import SMNIST

    (tmp_path / "smnist").mkdir()
    for path in folder.glob("train*"):
        (tmp_path / "smnist" / path.name).write_bytes(path.read_bytes())
    theirs = SMNIST(
        str(tmp_path), True, settings["steps_per_pixel"] == 2, settings["n_channels"], float(settings["dt_us"])
    )
    ours = PixelSequences(folder, "train", settings)
    assert len(theirs) == len(ours) == 12
    for i in range(12):
        events, label = theirs[i]
        order = np.lexsort((events["x"], events["t"]))  # Tonic's come pixel by pixel, not step by step
        assert np.array_equal(events["t"][order], ours[i].events.t_us)
        assert np.array_equal(events["x"][order], ours[i].events.channel)
        assert label == ours[i].label
        assert len(events) > 50
    # canary: the next image is not equal
    assert not np.array_equal(np.sort(theirs[0][0]["t"]), ours[1].events.t_us)


@needs_tonic
@pytest.mark.parametrize("name", ["s-mnist", "ps-mnist"])
@pytest.mark.parametrize("split", ["train", "test"])
def test_both_readers_give_equal_recordings(folder, name, split):
    tonic, own = (open_recordings(name, split, reader=reader) for reader in ("tonic", "own"))
    assert type(tonic) is not type(own)
    assert list(tonic) == list(own)
    with pytest.raises(DataError, match="has 1 or 2 steps a pixel, not 3"):
        open_pixel_sequences(replace(card(name), settings=SETTINGS | {"steps_per_pixel": 3}), split, folder, "tonic")


def test_binned_a_step_a_pixel(folder):
    binned = load_binned("ps-mnist", "train", Binning(dt_ms=2.0, channel_group=1), reader="own")
    assert set(np.unique(binned.counts)) == {0, 2}
    assert 700 < binned.lengths().max() <= 784
    assert 0.003 < (binned.counts > 0).mean() < 0.6
    assert binned.counts.sum() == sum(len(s.events) for s in open_recordings("ps-mnist", "train", reader="own"))


def test_the_checksum_is_of_content_and_settings(folder, tmp_path):
    first = PixelSequences(folder, "train", SETTINGS)
    for path in folder.glob("train*"):
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert PixelSequences(tmp_path, "train", SETTINGS).checksum() == first.checksum()
    others = [
        PixelSequences(folder, "test", SETTINGS),
        PixelSequences(folder, "train", SETTINGS | {"permutation_seed": 0}),
        PixelSequences(folder, "train", SETTINGS | {"permutation_seed": 1}),
        PixelSequences(folder, "train", SETTINGS | {"steps_per_pixel": 1}),
    ]
    assert len({recordings.checksum() for recordings in (first, *others)}) == 5
    with pytest.raises(DataError, match="setting 'seed' of sequential MNIST is unknown"):
        PixelSequences(folder, "train", SETTINGS | {"seed": 0})


def test_files_are_known_by_what_they_hold(known):
    for name in ("s-mnist", "ps-mnist"):
        for split in ("train", "test"):
            assert verify(card(name), split) == known
            assert open_recordings(name, split, reader="own").source() == card(name).display_name
    images = known / "train-images-idx3-ubyte"
    content = bytearray(images.read_bytes())
    content[500] ^= 1
    images.write_bytes(bytes(content))
    with pytest.raises(DataError, match=r"train-images-idx3-ubyte should be .* of sMNIST, with md5 \w+ when unpacked"):
        verify(card("s-mnist"), "train")
    assert open_recordings("s-mnist", "train", reader="own").source() == "unidentified"
    assert verify(card("s-mnist"), "test") == known


def test_missing_and_damaged_files_are_named(known):
    packed = known / "t10k-labels-idx1-ubyte.gz"
    packed.write_bytes(packed.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"t10k-labels-idx1-ubyte\.gz cannot be read to its end"):
        verify(card("s-mnist"), "test")
    packed.unlink()
    with pytest.raises(
        DataError,
        match=r"psMNIST: .*t10k-labels-idx1-ubyte is missing, with and without \.gz; get it from .* \(md5 \w{32} when",
    ):
        find_data(card("ps-mnist"), "test")
    assert find_data(card("ps-mnist"), "train") == known


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="MNIST is not at hand")
def test_the_real_files_are_those_on_the_cards(own_folders, monkeypatch):
    (own_folders / "data").mkdir()
    (own_folders / "data" / "MNIST").symlink_to(SHARED)
    monkeypatch.setenv("SNN_DELAYS_DATA", str(own_folders / "data"))
    for split, n, first in (("train", 60_000, 5), ("test", 10_000, 7)):
        verify(card("s-mnist"), split)
        recordings = open_recordings("ps-mnist", split, reader="own")
        assert (len(recordings), recordings[0].label, recordings.source()) == (n, first, "psMNIST")
        assert 2_000 < len(recordings[0].events) < 40_000
        assert card("ps-mnist").split(split).samples == n
    assert identity.find_parts(card("s-mnist"), card("s-mnist").split("train"))


def test_pixel_values_are_the_grey_values_in_their_order(folder):
    images, labels = read_mnist(folder, "train")
    plain, mixed = PixelValues(folder, "train"), PixelValues(folder, "train", 0)
    data = bin_recordings(mixed, Binning("values", 1.0, 1))
    assert (data.sensor, data.lengths().tolist(), data.labels.tolist()) == ((1,), [784] * 12, labels.tolist())
    for i, image in enumerate(images):
        assert np.array_equal(plain.frames(i)[0][:, 0], image.reshape(-1) / np.float32(255))
        assert np.array_equal(data.sample(i)[:, 0], image.reshape(-1)[permutation(0)] / np.float32(255))
    assert plain.checksum() != mixed.checksum()
    opened = open_pixel_values(card("ps-mnist-values"), "test", folder, "auto")
    assert (len(opened), opened.permutation_seed) == (5, 0)
    with pytest.raises(ConfigError, match="gives values, a frame every 1 ms: use binning 'values'"):
        bin_recordings(plain, Binning("fixed", 1.0, 1))
    with pytest.raises(ConfigError, match="holds events, not numbers: choose binning 'fixed'"):
        bin_recordings(open_recordings("synthetic-xor", "test"), Binning("values", 1.0, 1))
