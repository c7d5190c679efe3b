import importlib.util
import io
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snn_delays.data.binning import Binning
from snn_delays.data.catalogue.locate import find_data
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.formats.dvs_gesture import CLASS_NAMES, DvsGestureRecordings, open_dvs_gesture
from snn_delays.data.loaders import bin_recordings
from snn_delays.data.splits import validation_split
from snn_delays.errors import DataError
from tests.support.event_fixtures import FIXTURES, moving_bar

needs_tonic = pytest.mark.skipif(importlib.util.find_spec("tonic") is None, reason="tonic is not installed")
readers = pytest.mark.parametrize("reader", ["own", pytest.param("tonic", marks=needs_tonic)])
FOLDERS = {"train": "ibmGestureTrain", "test": "ibmGestureTest"}


def gestures(split, path=None, reader="own"):
    """A split whose card promises as many recordings as the fixture has."""
    path = path or FIXTURES / "DVSGesture" / FOLDERS[split]
    known = card("dvs128-gesture")
    part = replace(known.split(split), samples=len(list(path.rglob("*.npy"))))
    return open_dvs_gesture(replace(known, splits={split: part}), split, path, reader)


@pytest.fixture
def train(tmp_path) -> Path:
    return Path(shutil.copytree(FIXTURES / "DVSGesture" / "ibmGestureTrain", tmp_path / "ibmGestureTrain"))


@readers
def test_recordings_are_what_was_written_with_the_user_as_speaker(reader):
    recordings = gestures("train", reader=reader)
    names = [file.relative_to(recordings.path).as_posix() for file in recordings.files]
    assert names == sorted(names)  # as text: the same on every machine, whatever the file system lists first
    assert names[:3] == ["user01_fluorescent/0.npy", "user01_fluorescent/10.npy", "user01_fluorescent/2.npy"]
    samples = list(recordings)
    assert [(s.label, s.speaker) for s in samples] == [(0, 1), (10, 1), (2, 1), (3, 20), (1, 23)]
    assert (recordings.sensor, recordings.class_names) == ((2, 128, 128), CLASS_NAMES)
    for seed, sample in zip((0, 2, 1, 3, 4), samples):
        t_ms, x, y, p = moving_bar(seed, 80, 128, 6000, first_us=3)
        assert np.array_equal(sample.events.t_us, 1000 * (t_ms - t_ms[0]))
        assert np.array_equal(sample.events.channel, (p * 128 + y) * 128 + x)
    assert pickle.loads(pickle.dumps(recordings))[4] == samples[4]


@needs_tonic
@pytest.mark.parametrize("dtype", [np.int64, np.uint32, np.float64])
def test_our_reader_equals_tonic_but_for_the_start_of_time(train, dtype):
    from tonic.datasets import DVSGesture

    found = type("DVSGesture", (DVSGesture,), {"_check_exists": lambda self: True})
    for file in train.rglob("*.npy"):
        np.save(file, np.load(file).astype(dtype))
    (train.parent / "DVSGesture").mkdir()
    train.rename(train.parent / "DVSGesture" / "ibmGestureTrain")
    theirs = found(str(train.parent), train=True)
    path = train.parent / "DVSGesture" / "ibmGestureTrain"
    ours = gestures("train", path)
    assert sorted(theirs.data) == [str(file) for file in ours.files]
    for i, file in enumerate(ours.files):
        k = theirs.data.index(str(file))
        events, label = theirs[k]
        assert (label, theirs.users[k]) == (ours[i].label, ours[i].speaker)
        assert np.array_equal(events["t"] - events["t"][0], ours[i].events.t_us)
        channel = (events["p"].astype(int) * 128 + events["y"]) * 128 + events["x"]
        assert np.array_equal(channel, ours[i].events.channel)
        assert gestures("train", path, "tonic")[i] == ours[i]


@needs_tonic
def test_times_that_overflow_in_tonic_are_noticed(train):
    """6 s in ms fit 16 bits, in us they do not."""
    for file in train.rglob("*.npy"):
        np.save(file, np.load(file).astype(np.int16))
    assert gestures("train", train)[0] == gestures("train")[0]
    with pytest.raises(
        DataError, match=r"0.npy \(sample 0\): Tonic reads other numbers than are stored.*read with 'own'"
    ):
        gestures("train", train, "tonic")[0]


@readers
def test_unsorted_events_are_sorted_and_equal_times_keep_their_order(train, reader):
    np.save(train / "user20_led" / "3.npy", np.array([[5, 6, 1, 9], [1, 2, 0, 4], [3, 4, 1, 9], [7, 8, 0, 4]]))
    events = gestures("train", train, reader)[3].events
    assert events.t_us.tolist() == [0, 0, 5000, 5000]
    assert (events.channel % 128).tolist() == [1, 7, 5, 3]


def _set(i, j, value):
    def damage(stored):
        stored = stored.astype(np.float64) if isinstance(value, float) else stored
        stored[i, j] = value
        return stored

    return damage


@readers
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_set(7, 0, 128), "event 7 has x = 128; the sensor has x from 0 to 127"),
        (_set(7, 1, -1), "event 7 has y = -1"),
        (_set(79, 2, 2), "event 79 has p = 2; the sensor has p from 0 to 1"),
        (_set(7, 0, 70_000), "event 7 has x = 70000"),
        (_set(0, 3, -4), r"event 0 is \[.*-4\]; expected integer x, y, p and a time of 0 ms or more"),
        (_set(3, 0, 1.5), r"event 3 is \[1.5, .*expected integer x"),
        (_set(3, 3, 1e12), r"event 3 is \[.*1000000000000\.0\]; expected finite numbers below 1e\+12"),
        (_set(3, 3, 1 << 62), r"event 3 is \[.*\]; expected finite numbers below 1e\+12"),
        (_set(3, 0, -1e300), r"event 3 is \[-1e\+300.*; expected finite numbers"),
        (_set(3, 3, -np.inf), r"event 3 is \[.*-inf\]; expected finite numbers"),
        (_set(3, 3, np.nan), r"event 3 is \[.*nan\]; expected finite numbers"),
        (lambda stored: stored[:0], "holds no events"),
        (lambda stored: stored[:, :3], r"holds int64 of shape \(80, 3\); expected numbers \[event, 4\]"),
        (lambda stored: stored.astype(str), r"holds <U\d+ of shape"),
        (lambda stored: stored.astype(object), "is no array of numpy"),
        (lambda stored: None, "is no array of numpy, or cut short"),
    ],
)
def test_a_damaged_recording_is_named_and_the_others_stay_usable(train, damage, message, reader):
    file = train / "user01_fluorescent" / "0.npy"
    damaged = damage(np.load(file))
    if damaged is None:
        file.write_bytes(file.read_bytes()[:500])
    else:
        np.save(file, damaged, allow_pickle=True)
    recordings = gestures("train", train, reader)
    with pytest.raises(DataError, match=rf"user01_fluorescent/0.npy \(sample 0\): {message}"):
        recordings[0]
    assert len(recordings[1].events) == 80


def _npz(stored):
    content = io.BytesIO()
    np.savez(content, a=stored)
    return content.getvalue()


def _npy(stored):
    content = io.BytesIO()
    np.save(content, stored)
    return content.getvalue()


@readers
@pytest.mark.parametrize(
    "damage",
    [
        _npz,
        lambda stored: b"PK\x03\x04" + b"no zip" * 40,
        lambda stored: _npy(stored).replace(b"}", b" ", 1),  # the header never ends
        lambda stored: _npy(stored).replace(b"'fortran_order'", b"b'ortran_order'", 1),
        lambda stored: _npy(stored).replace(b"(80, 4)", b"(0080,)", 1),
        lambda stored: b"",
    ],
    ids=["npz", "zip", "open", "bytes", "octal", "empty"],
)
def test_a_file_that_is_no_array_is_named(train, damage, reader):
    file = train / "user01_fluorescent" / "0.npy"
    file.write_bytes(damage(np.load(file)))
    recordings = gestures("train", train, reader)
    with pytest.raises(DataError, match=r"user01_fluorescent/0.npy \(sample 0\): is no array of numpy, or cut short"):
        recordings[0]
    assert len(recordings[1].events) == 80


@pytest.mark.parametrize("name", ["user01_fluorescent/11.npy", "user01_fluorescent/clap.npy", "someone/0.npy", "0.npy"])
def test_a_file_that_is_no_recording_of_the_layout_is_refused(train, name):
    (train / name).parent.mkdir(exist_ok=True)
    shutil.copy(train / "user20_led" / "3.npy", train / name)
    with pytest.raises(DataError, match=rf"{name} is no recording; expected .*user<number>_<light>/<0 to 10>.npy"):
        gestures("train", train)


def test_no_user_and_no_file_is_in_two_splits(train, tmp_path):
    sets = {split: gestures(split) for split in FOLDERS}
    assert not set(sets["train"].files) & set(sets["test"].files)
    assert not set(sets["train"].speakers) & set(sets["test"].speakers)
    users = card("dvs128-gesture").settings["users"]
    assert (users["train"], users["test"]) == ([1, 23], [24, 29])
    shutil.copytree(train / "user23_lab", train / "user24_lab")
    with pytest.raises(
        DataError, match=r"user24_lab/1.npy: user 24 is not in the split train, which has users 1 to 23"
    ):
        gestures("train", train)
    with pytest.raises(DataError, match="user 1 is not in the split test, which has users 24 to 29"):
        gestures("test", FIXTURES / "DVSGesture" / "ibmGestureTrain")


def test_the_validation_rule_of_the_card_holds_out_whole_users(train):
    rule = card("dvs128-gesture").validation
    for user in rule["speakers"]:
        if not list(train.glob(f"user{user}_*")):
            shutil.copytree(train / "user20_led", train / f"user{user}_led")
    binned = bin_recordings(gestures("train", train), Binning(dt_ms=100.0, channel_group=1))
    kept, validation = validation_split(binned, rule["rule"], speakers=rule["speakers"])
    assert set(binned.speakers[validation].tolist()) == set(rule["speakers"])
    assert not set(binned.speakers[kept].tolist()) & set(rule["speakers"])
    assert all(user <= card("dvs128-gesture").settings["users"]["train"][1] for user in rule["speakers"])


@needs_tonic
def test_the_card_says_what_tonic_says_and_missing_files_are_named():
    from tonic.datasets import DVSGesture

    for split in ("train", "test"):
        part = card("dvs128-gesture").split(split)
        assert (part.archive, part.archive_md5) == (
            getattr(DVSGesture, f"{split}_filename"),
            getattr(DVSGesture, f"{split}_md5"),
        )
        assert getattr(DVSGesture, f"{split}_url") in card("dvs128-gesture").source
        message = (
            rf"DVSGesture/{part.file} is missing; get {part.archive} \(md5 {part.archive_md5}\) from https://figshare"
        )
        with pytest.raises(DataError, match=message):
            find_data(card("dvs128-gesture"), split)
    assert len(DVSGesture.classes) == len(CLASS_NAMES)


def test_half_an_archive_is_noticed():
    with pytest.raises(DataError, match=r"has 5 recordings of the split train; DVS128 Gesture has 1,077: unpack"):
        open_dvs_gesture(card("dvs128-gesture"), "train", FIXTURES / "DVSGesture" / "ibmGestureTrain", "own")


def test_the_original_release_is_refused_with_the_remedy(tmp_path):
    (tmp_path / "user01_fluorescent.aedat").write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n")
    (tmp_path / "user01_fluorescent_labels.csv").write_text("class,startTime_usec,endTime_usec\n1,10,20\n")
    with pytest.raises(DataError, match=r"AEDAT 3\.1; this reader takes .*snn-delays data download dvs128-gesture"):
        DvsGestureRecordings(tmp_path)
