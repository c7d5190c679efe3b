import gzip
import importlib
import importlib.util
import pickle
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.binning import Binning
from snn_delays.data.catalogue.identity import identify
from snn_delays.data.catalogue.locate import find_data, verify
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.formats import tonic as through_tonic
from snn_delays.data.formats.nmnist import CLASS_NAMES, nmnist_recordings, open_nmnist
from snn_delays.data.loaders import load_binned
from snn_delays.data.opening import READERS, open_recordings
from snn_delays.errors import BackendUnavailableError, DataError
from tests.support.event_fixtures import FIXTURES, make_fixtures, moving_bar, nmnist_bytes

needs_tonic = pytest.mark.skipif(importlib.util.find_spec("tonic") is None, reason="tonic is not installed")
readers = pytest.mark.parametrize("reader", ["own", pytest.param("tonic", marks=needs_tonic)])
SHARED = Path(__file__).resolve().parents[4] / "shared" / "data"


@pytest.fixture
def train(tmp_path) -> Path:
    """A copy of the training fixture, to be damaged."""
    return Path(shutil.copytree(FIXTURES / "NMNIST" / "Train", tmp_path / "Train"))


def test_the_fixtures_are_what_their_program_makes(tmp_path):
    make_fixtures(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*") if path.is_file())
    folders = {path.parts[0] for path in made}
    there = sorted(p.relative_to(FIXTURES) for name in folders for p in (FIXTURES / name).rglob("*") if p.is_file())
    assert made == there
    assert sum((FIXTURES / path).stat().st_size for path in there) < 150_000
    # another version of HDF5 may lay the file out in other bytes; test_ntidigits reads what it says
    assert all((tmp_path / p).read_bytes() == (FIXTURES / p).read_bytes() for p in made if p.suffix != ".hdf5")


@readers
def test_recordings_are_what_was_written_in_the_order_of_their_paths(reader):
    recordings = nmnist_recordings(FIXTURES / "NMNIST" / "Train", reader)
    assert [file.name for file in recordings.files] == ["00002.bin", "00010.bin", "00001.bin"]
    assert [(s.label, s.speaker) for s in recordings] == [(0, -1), (0, -1), (7, -1)]
    assert (recordings.sensor, recordings.class_names, len(recordings)) == ((2, 34, 34), CLASS_NAMES, 3)
    for seed, sample in enumerate(recordings):
        t_us, x, y, p = moving_bar(seed, 300, 34, 310_000)
        assert sample.events.sensor == (2, 34, 34)
        assert np.array_equal(sample.events.t_us, t_us)
        assert np.array_equal(sample.events.channel, (p * 34 + y) * 34 + x)
        assert not np.array_equal(sample.events.channel, (p * 34 + x) * 34 + y)  # what x for y would give
    copied = pickle.loads(pickle.dumps(recordings))
    assert copied[2] == recordings[2]
    with pytest.raises(IndexError, match="samples 0 to 2, not 3"):
        recordings[3]


@needs_tonic
def test_both_readers_agree_where_the_clock_went_round(train):
    """A row of 240 says so; all later times are 8,192 us later."""
    t_us, x, y, p = moving_bar(5, 20, 34, 8000)
    y[10], t_us[11:] = 240, t_us[11:] - 3000
    file = train / "0" / "00002.bin"
    file.write_bytes(nmnist_bytes(t_us, x, y, p))
    own, tonic = (nmnist_recordings(train, reader)[0] for reader in ("own", "tonic"))
    assert own == tonic
    assert len(own.events) == 19
    assert own.events.t_us[10:].tolist() == (t_us[11:] + 8192).tolist()


def test_without_tonic_auto_reads_on_and_tonic_is_refused(train, monkeypatch):
    def absent(name):
        raise through_tonic.PackageNotFoundError(name)

    with_tonic = list(nmnist_recordings(train))
    monkeypatch.setattr(through_tonic, "version", absent)
    assert list(nmnist_recordings(train)) == with_tonic
    with pytest.raises(BackendUnavailableError, match=r"pip install 'snn-delays\[tonic\]'"):
        nmnist_recordings(train, "tonic")


def _event(i, **changed):
    def damage(content):
        t_us, x, y, p = moving_bar(0, 300, 34, 310_000)
        columns = {"t_us": t_us, "x": x, "y": y, "p": p}
        for name, value in changed.items():
            columns[name][i] = value
        return nmnist_bytes(*columns.values())

    return damage


@readers
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-2], "has 1498 bytes, no multiple of 5: cut short"),
        (lambda content: b"", "holds no events"),
        (_event(4, x=34), "event 4 has x = 34; the sensor has x from 0 to 33"),
        (_event(299, y=77), "event 299 has y = 77"),
        (_event(150, t_us=3), r"event 150 at 3 us follows one at \d+ us"),
    ],
)
def test_a_damaged_recording_is_named_and_the_others_stay_usable(train, damage, message, reader):
    file = train / "0" / "00002.bin"
    file.write_bytes(damage(file.read_bytes()))
    recordings = nmnist_recordings(train, reader)
    with pytest.raises(DataError, match=rf"Train/0/00002.bin \(sample 0\): {message}.*on_bad='skip'"):
        recordings[0]
    assert len(recordings[1].events) == len(recordings[2].events) == 300


@readers
def test_a_recording_that_cannot_be_read_is_named(train, reader):
    recordings = nmnist_recordings(train, reader)
    (train / "7" / "00001.bin").unlink()
    with pytest.raises(DataError, match=r"00001.bin \(sample 2\): No such file"):
        recordings[2]
    assert len(recordings[0].events) == 300


def test_a_folder_that_is_not_in_the_layout_is_refused(train, tmp_path):
    (train / "thumbs.db").write_text("ignored")
    assert len(nmnist_recordings(train)) == 3
    (train / "zero").mkdir()
    shutil.copy(train / "0" / "00002.bin", train / "zero")
    with pytest.raises(DataError, match=r"zero/00002.bin is in no folder of a class"):
        nmnist_recordings(train)
    with pytest.raises(DataError, match=r"absent holds no .bin files; expected them in .*absent/<class>/"):
        nmnist_recordings(tmp_path / "absent")
    with pytest.raises(DataError, match=r"Train has 3 recordings of the split train; N-MNIST has 60,000: unpack"):
        open_nmnist(card("n-mnist"), "train", FIXTURES / "NMNIST" / "Train", "own")


def test_no_file_is_in_two_splits():
    train, test = (nmnist_recordings(FIXTURES / "NMNIST" / split) for split in ("Train", "Test"))
    assert not set(train.files) & set(test.files)
    assert not {file.read_bytes() for file in train.files} & {file.read_bytes() for file in test.files}


def test_a_folder_of_simulated_recordings_is_binned_by_name_and_bad_ones_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("SNN_DELAYS_DATA", str(tmp_path))
    with pytest.raises(
        DataError, match=r"simulated from MNIST.*SimulatedNMNIST/Test is missing; simulate it from MNIST"
    ):
        open_recordings("n-mnist-simulated", "test")
    folder = Path(shutil.copytree(FIXTURES / "NMNIST" / "Test", tmp_path / "SimulatedNMNIST" / "Test"))
    (folder / "9" / "00005.bin").write_bytes(b"1234")
    with pytest.raises(DataError, match=r"00005.bin \(sample 2\): has 4 bytes"):
        load_binned("n-mnist-simulated", "test", Binning(dt_ms=10.0, channel_group=1))
    with pytest.warns(UserWarning, match=r"1 recordings were left out.*00005.bin"):
        binned = load_binned("n-mnist-simulated", "test", Binning(dt_ms=10.0, channel_group=1), on_bad="skip")
    assert binned.labels.tolist() == [3, 9]
    assert int(binned.counts.sum()) == 600
    assert binned.counts.shape[1:] == (2, 34, 34)
    assert binned.source == "N-MNIST (simulated from MNIST), made here"


@pytest.mark.parametrize("name", ["n-mnist", "n-mnist-subset", "dvs128-gesture", "n-tidigits", "cifar10-dvs"])
def test_the_readers_of_the_cards_are_there(name):
    assert callable(READERS[card(name).reader])


@needs_tonic
def test_the_cards_say_what_tonic_says():
    from tonic.datasets import NMNIST

    splits = card("n-mnist").splits
    for split, prefix in (("train", "train"), ("test", "test")):
        part = splits[split]
        assert (part.file, part.archive) == (getattr(NMNIST, f"{prefix}_folder"), getattr(NMNIST, f"{prefix}_filename"))
        assert part.archive_md5 == getattr(NMNIST, f"{prefix}_md5")
    assert NMNIST.sensor_size == (34, 34, 2)


def test_missing_files_are_named_with_place_source_and_checksum():
    with pytest.raises(DataError, match=r"NMNIST/Train is missing; get train.zip \(md5 20959b8e6262.*mendeley.com"):
        find_data(card("n-mnist"), "train")
    with pytest.raises(DataError, match=r"NMNIST/Test is missing; get test.zip \(md5 69ca8762b2fe"):
        find_data(card("n-mnist"), "test")
    with pytest.raises(DataError, match=r"NMNISTsmall from https://github.com/bamsumit/slayerPytorch"):
        find_data(card("n-mnist-subset"), "test")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not at hand")
def test_the_real_subset_whole(tmp_path, monkeypatch):
    """Counts and event totals of its README; every label is that of MNIST's image (files count from 1)."""
    monkeypatch.setenv("SNN_DELAYS_DATA", str(tmp_path))
    placed = tmp_path / "n-mnist-subset" / "NMNIST"
    with tarfile.open(SHARED / "nmnist_small" / "nmnist_small.tar.xz") as archive:
        archive.extractall(placed.parent, filter="data")
    expected = {
        "train": ([97, 116, 99, 93, 105, 92, 94, 117, 87, 100], 1112, 4133, 7152),
        "test": ([8, 14, 8, 11, 14, 7, 10, 15, 2, 11], 1069, 3856, 6326),
    }
    for split, (classes, least, mean, most) in expected.items():
        path = verify(card("n-mnist-subset"), split)
        assert identify(path) == "N-MNIST (subset)"
        recordings = open_recordings("n-mnist-subset", split, reader="own")
        assert np.bincount(recordings.labels).tolist() == classes
        samples = list(recordings)
        sizes = np.array([len(sample.events) for sample in samples])
        assert (sizes.min(), round(sizes.mean()), sizes.max()) == (least, mean, most)
        ends = np.array([sample.events.t_us[-1] for sample in samples])
        assert ends.min() > 296_000
        assert ends.max() < 337_000
        name = "train" if split == "train" else "t10k"
        labels = gzip.decompress((SHARED / "mnist" / f"{name}-labels-idx1-ubyte.gz").read_bytes())[8:]
        assert all(labels[int(file.stem) - 1] == label for file, label in zip(recordings.files, recordings.labels))
        assert not all(labels[int(file.stem)] == label for file, label in zip(recordings.files, recordings.labels))
        if importlib.util.find_spec("tonic"):
            tonic = open_recordings("n-mnist-subset", split, reader="tonic")
            assert all(tonic[i] == samples[i] for i in range(0, len(samples), 10))
    (placed / "Test" / "0" / "00004.bin").write_bytes(b"12345")
    with pytest.raises(DataError, match=r"should be the split test of N-MNIST .* by its checksum it is unidentified"):
        verify(card("n-mnist-subset"), "test")


@pytest.mark.shared
@pytest.mark.skipif(not SHARED.is_dir(), reason="the recordings are not at hand")
@readers
def test_the_real_sample_of_tonic(real_events, tmp_path, reader):
    (tmp_path / "any" / "0").mkdir(parents=True)
    shutil.copy(real_events("tonic_test_data/sample_nmnist.bin"), tmp_path / "any" / "0")
    (sample,) = nmnist_recordings(tmp_path / "any", reader)
    assert len(sample.events) == 4325
