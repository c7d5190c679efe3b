"""Spiking Speech Commands: SHD's layout with 35 classes and a validation split of its own."""

import importlib.util
from itertools import combinations

import h5py
import numpy as np
import pytest

from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.catalogue.locate import data_path, find_data, verify
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.shd import write_shd_hdf5
from snn_delays.data.formats.speech_commands import WORDS
from snn_delays.data.loaders import load_binned
from snn_delays.data.opening import open_recordings
from snn_delays.errors import ConfigError, DataError

needs_tonic = pytest.mark.skipif(importlib.util.find_spec("tonic") is None, reason="tonic is not installed")
SPLITS = ("train", "valid", "test")


@pytest.fixture
def made(own_folders, monkeypatch):
    """A small file for each split where the card looks for it: every class, another length each."""
    monkeypatch.setenv("SNN_DELAYS_DATA", str(own_folders / "data"))
    random, written = np.random.default_rng(0), {}
    for k, split in enumerate(SPLITS):
        samples = []
        for label in range(35):
            n = 40 + 3 * label + 10 * k
            t_us = np.sort(random.integers(0, 2_000, n)) * 500
            samples.append(Sample(Events(t_us, random.integers(0, 700, n), 700), label, speaker=100 * k + label % 7))
        write_shd_hdf5(data_path(card("ssc"), card("ssc").split(split)), samples, 35, WORDS)
        written[split] = samples
    return written


def test_the_card():
    ssc = card("ssc")
    assert {split: part.samples for split, part in ssc.splits.items()} == {
        "train": 75_466, "valid": 9_981, "test": 20_382,
    }  # fmt: skip
    assert sum(part.samples for part in ssc.splits.values()) == 105_829  # all recordings of Speech Commands v0.02
    assert (ssc.n_classes, ssc.sensor, ssc.tonic_class, ssc.validation) == (35, [700], "SSC", {"rule": "official"})


@needs_tonic
def test_the_checksums_are_those_that_tonic_has():
    from tonic.datasets import SSC

    for split, part in card("ssc").splits.items():
        assert (part.archive, part.archive_md5) == (getattr(SSC, f"{split}_zip"), getattr(SSC, f"{split}_md5"))


@needs_tonic
@pytest.mark.parametrize("split", SPLITS)
def test_our_reader_equals_tonics_ssc(made, split):
    from tonic.datasets import SSC

    path = find_data(card("ssc"), split)
    (path.parent / f"{path.name}.zip").touch()
    theirs = SSC(str(path.parent.parent), split=split)
    ours = open_recordings("ssc", split, reader="own")
    assert len(theirs) == len(ours) == 35
    assert ours.class_names == tuple(name.decode() for name in theirs.classes) == WORDS
    for i, sample in enumerate(ours):
        events, label = theirs[i]
        assert np.array_equal(events["t"], sample.events.t_us)
        assert np.array_equal(events["x"], sample.events.channel)
        assert (label, theirs._speaker[i]) == (sample.label, sample.speaker)
    assert list(open_recordings("ssc", split, reader="tonic")) == list(ours)
    # canary: another split is not equal
    other = open_recordings("ssc", SPLITS[SPLITS.index(split) - 1], reader="own")
    assert not np.array_equal(theirs[0][0]["t"], other[0].events.t_us)


def test_splits_are_read_binned_and_apart(made):
    sets = {split: load_binned("ssc", split, Binning(), reader="own") for split in SPLITS}
    assert len({data.checksum for data in sets.values()}) == 3
    for split, data in sets.items():
        assert (data.n_channels, data.n_classes, data.class_names) == (140, 35, WORDS)
        assert data.counts.sum() == sum(len(sample.events) for sample in made[split])
        assert 0.005 < (data.counts > 0).mean() < 0.6
        stored = open_recordings("ssc", split, reader="own")[34]
        assert np.array_equal(data.sample(34), bin_events(stored.events, Binning()))
    speakers = [set(data.speakers.tolist()) for data in sets.values()]
    assert all(a.isdisjoint(b) for a, b in combinations(speakers, 2))


def test_missing_and_foreign_files_are_named(made):
    with pytest.raises(DataError, match="should be the split valid of SSC, but by its checksum it is unidentified"):
        verify(card("ssc"), "valid")
    find_data(card("ssc"), "valid").unlink()
    with pytest.raises(
        DataError,
        match=r"SSC, split valid: .*ssc_valid\.h5 is missing; get ssc_valid\.h5\.zip \(md5 "
        r"b4eee3516a4a90dd0c71a6ac23a8ae43\) from https://zenkelab.*, place it in .*SSC and unpack it there",
    ):
        open_recordings("ssc", "valid")
    with pytest.raises(ConfigError, match="no split 'validation'; choose train or valid or test"):
        open_recordings("ssc", "validation")


def test_more_channels_than_the_card_has_are_refused(made):
    path = find_data(card("ssc"), "test")
    write_shd_hdf5(path, [Sample(Events([0, 1], [3, 700], 701), 0, 0)], 1, WORDS)
    with pytest.raises(DataError, match="has 701 channels; the data set has 700"):
        open_recordings("ssc", "test", reader="own")
    with h5py.File(path, "r+") as file:
        del file["extra/channels"]  # as in files of others
    with pytest.raises(DataError, match=r"spikes/units\[0\]\[1\] is 700; the data set has channels 0 to 699"):
        open_recordings("ssc", "test", reader="own")[0]
