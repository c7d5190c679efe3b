import importlib.util
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest

from snn_delays.data.catalogue.locate import find_data
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.formats.ntidigits import CLASS_NAMES, open_ntidigits
from snn_delays.errors import DataError
from tests.support.event_fixtures import FIXTURES, NTIDIGITS, ntidigits_record, write_ntidigits

needs_tonic = pytest.mark.skipif(importlib.util.find_spec("tonic") is None, reason="tonic is not installed")
readers = pytest.mark.parametrize("reader", ["own", pytest.param("tonic", marks=needs_tonic)])
FILE = FIXTURES / "NTIDIGITS18" / "n-tidigits.hdf5"
SINGLE = {split: [name for name in names if len(name.rsplit("-", 1)[1]) == 1] for split, names in NTIDIGITS.items()}


def digits(split="train", path=FILE, reader="own"):
    known = card("n-tidigits")
    parts = {split: replace(known.split(split), samples=len(SINGLE[split]))}
    return open_ntidigits(replace(known, splits=parts), split, path, reader)


@pytest.fixture
def path(tmp_path) -> Path:
    return Path(shutil.copy(FILE, tmp_path))


@readers
@pytest.mark.parametrize("split", ["train", "test"])
def test_single_digits_are_what_was_written(split, reader):
    recordings = digits(split, reader=reader)
    assert [name.text for name in recordings.names] == SINGLE[split]
    assert (recordings.sensor, recordings.class_names) == ((64,), CLASS_NAMES)
    for name, sample in zip(SINGLE[split], recordings):
        seconds, address = ntidigits_record(NTIDIGITS[split].index(name))
        assert sample.label == CLASS_NAMES.index(name[-1])
        assert np.array_equal(sample.events.t_us, np.floor(seconds.astype(np.float64) * 1e6))
        assert np.array_equal(sample.events.channel, address)
    copied = pickle.loads(pickle.dumps(recordings))  # Tonic's own cannot be: it keeps the file open
    assert list(copied) == list(recordings)


def test_speakers_differ_by_code_and_gender():
    recordings = digits()
    by_name = {name.text: sample.speaker for name, sample in zip(recordings.names, recordings)}
    assert by_name["man-ae-a-1"] == by_name["man-ae-b-1"] == 2 * int("ae", 36)
    assert by_name["woman-ac-b-z"] == 2 * int("ac", 36) + 1
    assert len(set(by_name.values())) == 4


@needs_tonic
def test_our_reader_equals_tonic(path, tmp_path):
    from tonic.datasets import NTIDIGITS18

    folder = tmp_path / "NTIDIGITS18"
    folder.mkdir()
    shutil.move(path, folder)
    theirs = NTIDIGITS18(str(tmp_path), train=True, single_digits=True)
    ours = digits(path=folder / path.name)
    assert len(theirs) == len(ours) == 5
    for i, sample in enumerate(ours):
        events, label = theirs[i]
        assert label == sample.label
        assert np.array_equal(events["t"], sample.events.t_us)
        assert np.array_equal(events["x"], sample.events.channel)
        # rounding instead of cutting the microseconds off gives other times: the comparison can fail
        seconds, _ = ntidigits_record(NTIDIGITS["train"].index(SINGLE["train"][i]))
        assert not np.array_equal(np.rint(seconds.astype(np.float64) * 1e6), sample.events.t_us)
    theirs.data.close()


@readers
def test_unsorted_events_are_sorted_and_equal_times_keep_their_order(path, reader):
    with h5py.File(path, "r+") as file:
        for key, values in (("timestamps", [0.5, 0.25, 0.5, 0.25]), ("addresses", [9, 8, 7, 6])):
            del file[f"train_{key}/man-bd-a-o"]
            file[f"train_{key}/man-bd-a-o"] = np.array(values)
    events = digits(path=path, reader=reader)[2].events
    assert (events.t_us.tolist(), events.channel.tolist()) == ([250_000, 250_000, 500_000, 500_000], [8, 6, 9, 7])


def _set(key, i, value, dtype=None):
    def damage(file):
        values = file[f"train_{key}/woman-ac-b-z"][()].astype(dtype or float)
        values[i] = value
        del file[f"train_{key}/woman-ac-b-z"]
        file[f"train_{key}/woman-ac-b-z"] = values

    return damage


def _replace(key, values):
    def damage(file):
        del file[f"train_{key}/woman-ac-b-z"]
        if values is not None:
            file[f"train_{key}/woman-ac-b-z"] = values

    return damage


def _both_empty(file):
    for key in ("timestamps", "addresses"):
        _replace(key, np.zeros(0))(file)


@readers
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_set("timestamps", 3, -0.5), r"timestamps\[3\] is -0.5; expected seconds from 0 to 1e9"),
        (_set("timestamps", 39, np.nan), r"timestamps\[39\] is nan"),
        (_set("timestamps", 39, np.inf), r"timestamps\[39\] is inf"),
        (_set("timestamps", 39, 1e18), r"timestamps\[39\] is 1e\+18"),
        (_set("addresses", 5, 64, np.uint8), r"addresses\[5\] is 64; expected channels 0 to 63"),
        (_set("addresses", 5, -1, np.int16), r"addresses\[5\] is -1"),
        (_replace("addresses", np.zeros(39)), "has 40 timestamps and 39 addresses"),
        (_both_empty, "has 0 timestamps and 0 addresses"),
        (_replace("timestamps", None), "is missing or cannot be read"),
        (_replace("timestamps", np.zeros((2, 20))), r"holds float64 of shape \(2, 20\)"),
        (_replace("addresses", np.array([b"a"] * 40)), r"holds .S1 of shape"),
    ],
)
def test_a_damaged_record_is_named_and_the_others_stay_usable(path, damage, message, reader):
    with h5py.File(path, "r+") as file:
        damage(file)
    recordings = digits(path=path, reader=reader)
    with pytest.raises(DataError, match=rf"n-tidigits.hdf5: .*woman-ac-b-z.*\(sample 1\).*{message}"):
        recordings[1]
    assert len(recordings[0].events) == len(recordings[4].events) == 40
    with pytest.raises(IndexError):
        recordings[5]


@pytest.mark.parametrize("name", ["man-ae-1", "boy-ae-a-1", "man-ae-a-", "man-ae-a-7b", "man-\u00e9-a-1", "man-ae-a-1"])
def test_a_list_of_names_that_cannot_be_is_refused(tmp_path, name):
    path = tmp_path / "n-tidigits.hdf5"
    write_ntidigits(path, {"train": {"man-ae-a-1": ntidigits_record(0)}, "test": {}})
    with h5py.File(path, "r+") as file:
        del file["train_labels"]
        file["train_labels"] = np.array([b"man-ae-a-1", name.encode()])
    message = "names a recording twice" if name == "man-ae-a-1" else r"train_labels\[1\] is .*expected <man|woman>"
    with pytest.raises(DataError, match=message):
        digits(path=path)


def test_another_or_a_damaged_file_is_refused(path, tmp_path):
    content = path.read_bytes()
    for size in (0, 100, len(content) // 2):
        path.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"n-tidigits.hdf5 is truncated or not an HDF5 file"):
            digits(path=path)
    with h5py.File(path, "w") as file:
        file["spikes"] = 1
    with pytest.raises(DataError, match="no train_labels; expected the layout"):
        digits(path=path)
    with pytest.raises(DataError, match="absent does not exist"):
        digits(path=tmp_path / "absent")
    with pytest.raises(DataError, match=r"has 5 recordings of the split train; .* has 2,464"):
        open_ntidigits(card("n-tidigits"), "train", FILE, "own")


def test_no_record_and_no_speaker_is_in_two_splits():
    train, test = digits("train"), digits("test")
    assert not {name.text for name in train.names} & {name.text for name in test.names}
    assert not {name.speaker for name in train.names} & {name.speaker for name in test.names}


@needs_tonic
def test_the_card_says_what_tonic_says_and_the_missing_file_is_named():
    from tonic.datasets import NTIDIGITS18

    for split in ("train", "test"):
        assert card("n-tidigits").split(split).md5 == NTIDIGITS18.file_md5
        with pytest.raises(
            DataError, match=r"NTIDIGITS18/n-tidigits.hdf5 is missing; get it from https://.*360a2d11e5429"
        ):
            find_data(card("n-tidigits"), split)
    assert card("n-tidigits").source == NTIDIGITS18.base_url
    assert {name: i for i, name in enumerate(CLASS_NAMES)} == NTIDIGITS18.class_map
