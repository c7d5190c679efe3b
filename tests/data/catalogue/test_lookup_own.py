"""Data sets of the user's own, by their paths: HDF5 in SHD's layout with any classes, folders of splits, cards."""

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from snn_delays.data import Binning, Events, Sample, load_binned
from snn_delays.data.catalogue.locate import find_data
from snn_delays.data.catalogue.lookup import card, cards, file_name_of, lasting_name
from snn_delays.data.formats.shd import read_shd_hdf5, shd_recordings, write_shd_hdf5
from snn_delays.data.loaders import bin_recordings
from snn_delays.data.opening import open_recordings
from snn_delays.errors import ConfigError, DataError

CLASSES = ("up", "down", "stop")
BINNING = Binning("fixed", 10.0, 5)


def made(n=9, seed=0, channels=700) -> list[Sample]:
    random = np.random.default_rng(seed)
    events = [
        Events(np.sort(random.integers(0, 10**6, 40)), random.integers(0, channels, 40), channels) for _ in range(n)
    ]
    return [Sample(found, i % 3, i % 4 - 1) for i, found in enumerate(events)]


def write(path: Path, samples: list[Sample], class_names=CLASSES, **options) -> Path:
    write_shd_hdf5(path, samples, len(samples), class_names, **options)
    return path


@pytest.fixture
def words(tmp_path) -> Path:
    """A set of three splits in a folder."""
    for i, split in enumerate(("train", "valid", "test")):
        write(tmp_path / "words" / f"words_{split}.h5", made(9 - i, i))
    return tmp_path / "words"


def test_any_number_of_classes_and_channels_and_speakers_unknown(tmp_path):
    path = write(tmp_path / "mine.h5", made(channels=70))
    data = load_binned(str(path), "train", BINNING)
    assert (data.class_names, data.n_classes, data.sensor, len(data)) == (CLASSES, 3, (14,), 9)
    assert data.speakers.tolist() == [-1, 0, 1, 2, -1, 0, 1, 2, -1]
    assert data.source == "mine (own data)"
    assert np.array_equal(data.counts, bin_recordings(shd_recordings(path, "own"), BINNING).counts)
    again = load_binned(str(path), "train", BINNING, memory="mapped")
    assert np.array_equal(again.counts, data.counts)


def test_paths_may_be_paths_and_a_list_knows_how_many_it_holds(tmp_path):
    write_shd_hdf5(str(tmp_path / "mine.h5"), made(), class_names=CLASSES)
    assert len(load_binned(tmp_path / "mine.h5", "train", BINNING)) == 9
    with pytest.raises(DataError, match="give n_samples, or a list"):
        write_shd_hdf5(tmp_path / "other.h5", iter(made()))
    for wrong in (
        Sample(Events([0], [0], 700), 1.5),
        Sample(Events([0], [0], 700), 1, 0.5),
        Sample(Events([], [], 9), 3),
    ):
        with pytest.raises(DataError, match="sample 1 has"):
            write_shd_hdf5(tmp_path / "other.h5", [made()[0], wrong], class_names=CLASSES)


def test_one_file_is_for_training_alone(tmp_path):
    path = write(tmp_path / "mine.h5", made())
    with pytest.raises(ConfigError, match=r"'mine' has no split 'test'; .*mine\.h5 are for training: name its parts"):
        load_binned(str(path), "test", BINNING)
    write(tmp_path / "mine_test.h5", made())  # of whom nobody says that it belongs to mine.h5
    with pytest.raises(ConfigError, match="no split 'test'"):
        load_binned(str(path), "test", BINNING)


@pytest.mark.parametrize("how", ["", "words_train.h5", "words_test.h5"])
def test_splits_are_found_by_their_names(words, how):
    name = str(words / how)
    assert [len(load_binned(name, split, BINNING)) for split in ("train", "valid", "test")] == [9, 8, 7]
    assert find_data(card(name), "test") == words / "words_test.h5"
    assert (card(name).name, list(card(name).splits)) == ("words", ["train", "valid", "test"])


def test_a_file_named_by_its_split_alone(words):
    for file in words.iterdir():
        file.rename(file.with_name(file.name.removeprefix("words_")))
    assert card(str(words)).name == "words"
    assert len(load_binned(str(words / "test.h5"), "test", BINNING)) == 7


def test_a_missing_split_says_how_it_would_be_found(words):
    (words / "words_test.h5").unlink()
    with pytest.raises(ConfigError, match=r"no split 'test'; choose train or valid; put the missing one beside them"):
        open_recordings(str(words), "test")


def test_folders_that_are_no_one_data_set_are_refused(words, tmp_path):
    write(words / "other_train.h5", made())
    with pytest.raises(DataError, match=r"other_train\.h5, .*which is not one data set: name its parts"):
        load_binned(str(words), "train", BINNING)
    assert len(load_binned(str(words / "other_train.h5"), "train", BINNING)) == 9
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no files in SHD's layout"):
        load_binned(str(tmp_path / "empty"), "train", BINNING)
    shutil.copy(words / "words_test.h5", words / "words_test.hdf5")
    with pytest.raises(DataError, match="are both the split test"):
        load_binned(str(words / "words_train.h5"), "train", BINNING)


def test_splits_of_other_classes_or_channels_are_refused(words):
    write(words / "words_test.h5", made(), ("up", "stop", "down"))
    with pytest.raises(DataError, match="not splits of one data set"):
        load_binned(str(words), "train", BINNING)
    write(words / "words_test.h5", made(channels=70))
    with pytest.raises(DataError, match="not splits of one data set"):
        load_binned(str(words), "train", BINNING)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no/such.h5", "there is no file"),
        ("no/such", "is no data set: expected a file"),
        ("x.toml", "there is no card"),
    ],
)
def test_paths_to_nowhere_are_named(tmp_path, monkeypatch, name, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=message):
        load_binned(name, "train", BINNING)


def test_damage_and_integer_times_are_named(tmp_path):
    (tmp_path / "bad.h5").write_bytes(b"nothing")
    with pytest.raises(DataError, match="not an HDF5 file"):
        load_binned(str(tmp_path / "bad.h5"), "train", BINNING)
    path = write(tmp_path / "mine.h5", made())
    with h5py.File(path, "r+") as file:
        del file["spikes/times"]
        times = file.create_dataset("spikes/times", (9,), h5py.vlen_dtype(np.int64))
        for i in range(9):
            times[i] = np.arange(40)
    with pytest.raises(DataError, match="spikes/times holds int64; SHD's layout has seconds"):
        load_binned(str(path), "train", BINNING)


def test_times_stay_exact_where_requested(tmp_path):
    samples = [Sample(Events(np.arange(0, 2_000_000, 997), np.zeros(2007), 7), 0)]
    path = write(tmp_path / "exact.h5", samples, time_dtype="float64")
    for reader in ("own", "auto"):
        assert read_shd_hdf5(path, reader)[0].events == samples[0].events
    load_binned(str(path), "train", Binning("fixed", 0.5, 1))  # without a warning of bins that are too fine
    rounded = write(tmp_path / "rounded.h5", samples)
    with pytest.warns(UserWarning, match="stores times as float16 seconds"):
        load_binned(str(rounded), "train", Binning("fixed", 0.5, 1))


def test_a_published_set_is_known_by_its_checksum_wherever_it_lies(tmp_path):
    shutil.copy(find_data(card("shd-regenerated-subset"), "test"), tmp_path / "digits_test.h5")
    recordings = open_recordings(str(tmp_path / "digits_test.h5"), "test")
    assert recordings.source() == "SHD-regenerated (bundled subset)"
    (tmp_path / "digits_test.h5").rename(tmp_path / "digits_train.h5")
    with pytest.raises(DataError, match="by its checksum it is the split test"):
        open_recordings(str(tmp_path / "digits_train.h5"), "train")


CARD = """
name = "words"
sensor = [700]
n_classes = 3

[splits.train]
file = "words_train.h5"
samples = 9

[splits.test]
file = "words_test.h5"
samples = 7
"""


def test_a_card_of_ones_own_by_its_path_or_its_folder(words, monkeypatch):
    (words / "words.toml").write_text(CARD)
    by_path = load_binned(str(words / "words.toml"), "test", BINNING)
    assert (len(by_path), by_path.class_names, by_path.source) == (7, CLASSES, "words (own data)")
    with pytest.raises(ConfigError, match="unknown data set 'words'"):
        load_binned("words", "test", BINNING)
    monkeypatch.setenv("SNN_DELAYS_CARDS", str(words))
    assert "words" in cards()
    assert np.array_equal(load_binned("words", "test", BINNING).counts, by_path.counts)
    (words / "words_test.h5").unlink()
    with pytest.raises(DataError, match=r"words_test\.h5 is missing; get it and place it .* see folder in"):
        load_binned("words", "test", BINNING)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "words"', 'name = "../words"', "the name of a data set has letters"),
        ('name = "words"', 'name = "shd"', "there is a data set 'shd' already"),
        ("sensor = [700]", 'sensor = [700]\ndisplay_name = "SHD"', "there is a data set 'shd' already"),
        ("sensor = [700]", "sensors = [700]", "unknown key 'sensors'"),
        ("sensor = [700]", "", "missing 1 required positional argument: 'sensor'"),
        ("sensor = [700]", "sensor = [700]\nbundled = true", "'bundled' is not for cards of one's own"),
        ("[splits.train]", "splits = 3\n[other]", "splits must be tables"),
    ],
)
def test_wrong_cards_of_ones_own_are_refused(words, monkeypatch, old, new, message):
    (words / "words.toml").write_text(CARD.replace(old, new) if "splits = 3" not in new else "name='w'\nsplits = 3")
    monkeypatch.setenv("SNN_DELAYS_CARDS", str(words))
    with pytest.raises(DataError, match=message):
        cards()
    monkeypatch.setenv("SNN_DELAYS_CARDS", str(words / "absent"))
    with pytest.raises(DataError, match=r"names the folder .*absent, which is not there"):
        cards()


def test_names_hold_wherever_a_program_is_started(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert lasting_name("shd") == "shd"
    assert lasting_name("words") == str(words)
    assert lasting_name("words/../words/words_test.h5") == str(words / "words_test.h5")
    with pytest.raises(ConfigError, match="there is no such data set; did you mean 'shd'"):
        lasting_name("shdd")
    assert file_name_of("shd") == "shd"
    name = file_name_of("words/words_test.h5")
    assert name == file_name_of(str(words / "words_test.h5")) != file_name_of("words_test.h5")
    assert name.startswith("words_test-")
    assert "/" not in name
