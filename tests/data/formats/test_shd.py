import importlib.util
import os
import pickle
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from snn_delays.data.catalogue.locate import find_data
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats import hdf5, shd
from snn_delays.data.formats import tonic as through_tonic
from snn_delays.data.formats.shd import content_sha256, open_shd, read_shd_hdf5, shd_recordings, write_shd_hdf5
from snn_delays.errors import BackendUnavailableError, DataError
from tests.support import ROOT

needs_tonic = pytest.mark.skipif(importlib.util.find_spec("tonic") is None, reason="tonic is not installed")


@pytest.fixture
def path(samples, tmp_path) -> Path:
    target = tmp_path / "SHD" / "shd_train.h5"
    write_shd_hdf5(target, samples, len(samples))
    return target


def test_the_layout_is_that_of_shd(path):
    with h5py.File(path) as file:
        assert h5py.check_vlen_dtype(file["spikes/times"].dtype) == np.float16
        assert h5py.check_vlen_dtype(file["spikes/units"].dtype) == np.uint16
        assert file["labels"].dtype == file["extra/speaker"].dtype == np.uint16
        assert file["extra/keys"][10] == b"null"
    recordings = shd_recordings(path)
    assert (recordings.class_names, recordings.sensor, len(recordings)) == (shd.CLASS_NAMES, (700,), 6)


def test_samples_come_back_with_times_rounded_to_float16(path, samples):
    read = read_shd_hdf5(path, "own")
    assert [(s.label, s.speaker) for s in read] == [(s.label, s.speaker) for s in samples]
    for got, given in zip(read, samples):
        assert np.array_equal(got.events.channel, given.events.channel)
        rounded = (given.events.t_us / 1e6).astype(np.float16).astype(np.float64)
        assert np.array_equal(got.events.t_us, np.floor(rounded * 1e6))
        assert np.abs(got.events.t_us - given.events.t_us).max() < 500


@needs_tonic
def test_our_reader_equals_tonic(path):
    from tonic.datasets import SHD

    (path.parent / "shd_train.h5.zip").touch()
    theirs = SHD(str(path.parent.parent), train=True)
    ours = read_shd_hdf5(path, "own")
    assert len(theirs) == len(ours) == 6
    for i, sample in enumerate(ours):
        events, label = theirs[i]
        assert np.array_equal(events["t"], sample.events.t_us)
        assert np.array_equal(events["x"], sample.events.channel)
        assert (label, theirs.speaker[i]) == (sample.label, sample.speaker)
    assert read_shd_hdf5(path, "tonic") == ours == read_shd_hdf5(path)
    # the comparison can fail: rounding instead of cutting the microseconds off gives other times
    with h5py.File(path) as file:
        seconds = file["spikes/times"][0].astype(np.float64)
    assert not np.array_equal(np.rint(seconds * 1e6), ours[0].events.t_us)


def test_tonic_requested_and_absent_is_refused_and_auto_reads_on(path, monkeypatch):
    def absent(name):
        raise through_tonic.PackageNotFoundError(name)

    monkeypatch.setattr(through_tonic, "version", absent)
    with pytest.raises(BackendUnavailableError, match="tonic is not installed"):
        read_shd_hdf5(path, "tonic")
    assert len(read_shd_hdf5(path)) == 6
    monkeypatch.setattr(through_tonic, "version", lambda name: "1.6.0")
    with pytest.raises(BackendUnavailableError, match="overflows"):
        read_shd_hdf5(path, "tonic")
    with pytest.raises(DataError, match="unknown reader"):
        read_shd_hdf5(path, "quick")


def test_equal_samples_give_equal_bytes_in_another_process(path, samples, tmp_path):
    code = (
        "import pickle, sys\n"
        "from pathlib import Path\n"
        "from snn_delays.data.formats.shd import write_shd_hdf5\n"
        "samples = pickle.loads(Path(sys.argv[1]).read_bytes())\n"
        "write_shd_hdf5(Path(sys.argv[2]), samples, len(samples))\n"
    )
    (tmp_path / "samples").write_bytes(pickle.dumps(samples))
    arguments = [str(tmp_path / "samples"), str(tmp_path / "again.h5")]
    subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, check=True, timeout=900)
    assert (tmp_path / "again.h5").read_bytes() == path.read_bytes()


def test_content_checksum_holds_for_another_layout_and_notices_one_spike(path, samples, tmp_path):
    with h5py.File(path) as old, h5py.File(tmp_path / "new.h5", "w", libver="latest") as new:
        for key in ("labels", "extra/speaker", "extra/keys", "spikes/units", "spikes/times"):
            new.create_dataset(key, data=old[key][()], dtype=old[key].dtype)
    assert (tmp_path / "new.h5").read_bytes() != path.read_bytes()
    assert content_sha256(tmp_path / "new.h5") == content_sha256(path)
    channel = samples[2].events.channel.copy()
    channel[5] = (channel[5] + 1) % 700
    changed = [*samples]
    changed[2] = Sample(Events(samples[2].events.t_us, channel, 700), samples[2].label, samples[2].speaker)
    write_shd_hdf5(tmp_path / "changed.h5", changed, 6)
    assert content_sha256(tmp_path / "changed.h5") != content_sha256(path)


def test_unsorted_events_in_a_file_are_sorted_stably(path):
    with h5py.File(path, "r+") as file:
        file["spikes/times"][0] = np.array([0.5, 0.25, 0.5, 0.25], dtype=np.float16)
        file["spikes/units"][0] = np.array([1, 2, 3, 4], dtype=np.uint16)
    assert read_shd_hdf5(path, "own")[0].events == Events([250_000, 250_000, 500_000, 500_000], [2, 4, 1, 3], 700)


def _set(key, i, values, dtype):
    def damage(file):
        file[key][i] = np.array(values, dtype=dtype) if isinstance(values, list) else values

    return damage


def _drop(key):
    def damage(file):
        del file[key]

    return damage


def _shorten(key):
    def damage(file):
        values = file[key][:-1]
        dtype = file[key].dtype
        del file[key]
        file.create_dataset(key, data=values, dtype=dtype)

    return damage


def _replace(key, values, dtype=None):
    def damage(file):
        del file[key]
        file.create_dataset(key, data=values, dtype=dtype)

    return damage


def _texts(file):
    del file["spikes/times"]
    file.create_dataset("spikes/times", (6,), dtype=h5py.vlen_dtype("S4"))


def _late(file):
    units = file["spikes/units"][0].size
    del file["spikes/times"]
    times = file.create_dataset("spikes/times", (6,), dtype=h5py.vlen_dtype(np.float64))
    times[0] = np.full(units, 1e300)


def _plain(file):
    del file["spikes/times"]
    file.create_dataset("spikes/times", data=np.zeros(6))


@pytest.mark.parametrize("reader", ["own", pytest.param("tonic", marks=needs_tonic)])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_drop("spikes"), "no dataset 'spikes/times'"),
        (_drop("extra/speaker"), "no dataset 'extra/speaker'"),
        (_shorten("labels"), r"spikes/times has shape \(6,\), expected \(5,\)"),
        (_shorten("extra/speaker"), r"extra/speaker has shape \(5,\)"),
        (_plain, "spikes/times holds float64, expected arrays of variable length"),
        (_set("spikes/times", 2, [0.5, np.nan], np.float16), r"spikes/times\[2\]\[1\] is nan"),
        (_set("spikes/times", 2, [np.inf], np.float16), r"spikes/times\[2\]\[0\] is inf"),
        (_set("spikes/times", 1, [-0.5], np.float16), r"spikes/times\[1\]\[0\] is -0.5"),
        (_set("spikes/units", 3, [1, 2], np.uint16), "sample 3 has 260 spikes/times and 2 spikes/units"),
        (_set("spikes/units", 0, [5] * 199 + [700], np.uint16), r"spikes/units\[0\]\[199\] is 700"),
        (_replace("labels", 3), r"labels has shape \(\), expected one axis"),
        (_replace("labels", h5py.Empty("u2")), "labels has shape None, expected one axis"),
        (_replace("labels", np.array([b"zero"] * 6)), r"labels holds \|S4, expected integers"),
        (_replace("labels", [0, 1, np.nan, 3, 4, 5]), "labels holds float64, expected integers"),
        (_replace("extra/speaker", np.array([b"me"] * 6)), r"extra/speaker holds \|S2, expected integers"),
        (_replace("extra/keys", b"zero"), r"extra/keys has shape \(\), expected one axis"),
        (_replace("extra/keys", range(20)), "extra/keys holds int64, expected names of classes"),
        (_replace("extra/keys", ["f\xfcnf".encode("latin-1")] * 20), "extra/keys is not UTF-8 .*0xfc"),
        (_replace("spikes/times", ["0.5"] * 6, h5py.string_dtype()), "spikes/times holds <class 'str'>, expected arr"),
        (_texts, r"spikes/times holds \|S4, expected arrays of variable length"),
        (_late, r"spikes/times\[0\]\[0\] is 1e\+300; expected seconds from 0 to 1e\+09"),
        (_set("labels", 4, 20, None), r"labels\[4\] is 20, but extra/keys names 20 classes"),
    ],
)
def test_damaged_content_is_refused_with_file_and_key(path, damage, message, reader):
    with h5py.File(path, "r+") as file:
        damage(file)
    with pytest.raises(DataError, match=f"shd_train.h5.*{message}"):
        read_shd_hdf5(path, reader)


def test_truncated_and_missing_files_are_refused(path, tmp_path):
    content = path.read_bytes()
    for size in (0, 100, len(content) // 2, len(content) - 1):
        bad = tmp_path / "bad.h5"
        bad.write_bytes(content[:size])
        with pytest.raises(DataError, match=r"bad.h5 is truncated or not an HDF5 file .*fetch or encode it again"):
            read_shd_hdf5(bad)
    with pytest.raises(DataError, match=r"absent\.h5 does not exist"):
        shd_recordings(tmp_path / "absent.h5", "own")


def test_a_write_that_fails_leaves_nothing_and_keeps_the_old_file(path, samples, tmp_path):
    before = path.read_bytes()

    def failing():
        yield samples[0]
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_shd_hdf5(path, failing(), 2)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == ["shd_train.h5"]
    for announced in (5, 7):
        with pytest.raises(DataError, match="announced"):
            write_shd_hdf5(tmp_path / "new.h5", samples, announced)
    with pytest.raises(DataError, match="label 20"):
        write_shd_hdf5(tmp_path / "new.h5", [Sample(samples[0].events, 20, 0)], 1)
    with pytest.raises(DataError, match="ends after 65504 s"):
        write_shd_hdf5(tmp_path / "new.h5", [Sample(Events([70_000_000_000], [0], 700), 0, 0)], 1)
    assert not (tmp_path / "new.h5").exists()


def test_a_block_that_another_thread_reads_meanwhile_does_no_harm(path, samples, monkeypatch):
    """As the file of one sample is closed, another thread puts the block of another in place."""
    monkeypatch.setattr(shd, "BLOCK", 1)
    expected = read_shd_hdf5(path, "own")
    recordings, busy = shd_recordings(path, "own"), []

    class Interrupted(h5py.File):
        def close(self) -> None:
            super().close()
            if not busy:
                busy.append(True)
                recordings[5]
                busy.clear()

    monkeypatch.setattr(hdf5, "opened_hdf5", lambda path: Interrupted(path, "r"))
    assert list(recordings) == expected


def test_another_data_set_or_split_in_the_place_of_a_file_is_refused(path, samples):
    known = card("shd")
    assert len(open_shd(known, "train", path, "own")) == 6  # no published file, so that its number is free
    with pytest.raises(DataError, match=r"shd_train\.h5 names 20 classes; SSC has 35: another data set is there"):
        open_shd(card("ssc"), "train", path, "own")
    known = card("shd-regenerated-subset")
    bundled = find_data(known, "test")
    assert len(open_shd(known, "test", bundled, "own")) == 300


@needs_tonic
def test_recordings_through_tonic_travel(path, tmp_path, monkeypatch):
    """They hold no open file and no folder of their own, and ask the system for no links."""

    def refuse(*_, **__):
        raise OSError(1314, "A required privilege is not held by the client")

    monkeypatch.setattr(Path, "symlink_to", refuse)
    recordings = shd_recordings(path, "tonic")
    first = recordings[0]
    saved = pickle.dumps(recordings)
    del recordings
    assert pickle.loads(saved)[0] == first
    path.rename(tmp_path / "moved.h5")
    with pytest.raises(DataError, match="does not exist"):
        pickle.loads(saved)[0]
