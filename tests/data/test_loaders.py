import os
import signal
import subprocess
import sys
import tracemalloc
import warnings
from pathlib import Path

import h5py
import numpy as np
import pytest

from snn_delays.data import loaders
from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.cache import read_store
from snn_delays.data.catalogue.locate import data_path, find_data
from snn_delays.data.catalogue.lookup import card
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.shd import read_shd_hdf5, shd_recordings, write_shd_hdf5
from snn_delays.data.loaders import bin_recordings, load_binned, store_binned
from snn_delays.data.recordings import Recordings
from snn_delays.errors import ConfigError, DataError
from tests.support import ROOT

SUBSET = "shd-regenerated-subset"


@pytest.fixture
def path(samples) -> Path:
    """A small file in the place of the published SHD."""
    target = data_path(card("shd"), card("shd").split("train"))
    write_shd_hdf5(target, samples, len(samples))
    return target


def cached_files(own_folders):
    return sorted((own_folders / "cache" / "binned").glob("*"))


def same(a, b):
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("counts", "offsets", "labels", "speakers"))


@pytest.mark.parametrize("rule", ["fixed", "event_anchored_v2023"])
def test_the_bundled_subset_binned(rule):
    binning = Binning(rule)
    test = load_binned(SUBSET, "test", binning)
    samples = read_shd_hdf5(find_data(card(SUBSET), "test"), "own")
    assert test.counts.shape[1] == 140
    assert test.counts.sum() == sum(len(s.events) for s in samples)
    for i in (0, 123, 299):
        assert np.array_equal(test.sample(i), bin_events(samples[i].events, binning))
        assert (test.labels[i], test.speakers[i]) == (samples[i].label, samples[i].speaker)
    assert (test.source, test.n_classes, test.class_names[13]) == ("SHD-regenerated (bundled subset)", 20, "drei")
    assert test.checksum == card(SUBSET).split("test").sha256
    assert 0.02 < (test.counts > 0).mean() < 0.6  # real data: neither silent nor full


def test_the_cache_gives_the_same_and_is_used(path, own_folders, monkeypatch):
    calls = []
    first = load_binned("shd", "train", Binning(), progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (6, 6)
    assert len(cached_files(own_folders)) == 1
    monkeypatch.setattr(loaders, "bin_recording", None)  # a second binning would fail
    second = load_binned("shd", "train", Binning())
    assert same(first, second)
    for key in ("source", "checksum", "binning", "n_classes", "class_names"):
        assert getattr(first, key) == getattr(second, key)
    assert first.source == "unidentified"  # it lies where SHD should, and is not SHD
    with pytest.raises(TypeError):
        load_binned("shd", "train", Binning(), cache=False)


def test_everything_that_shapes_the_result_is_in_the_key(path, own_folders, samples):
    load_binned("shd", "train", Binning())
    for binning in (Binning("event_anchored_v2023"), Binning(dt_ms=5.0), Binning(channel_group=10)):
        assert same(load_binned("shd", "train", binning), bin_recordings(shd_recordings(path), binning))
    assert len(cached_files(own_folders)) == 4
    write_shd_hdf5(path, samples[:4], 4)  # another file in the same place
    assert len(load_binned("shd", "train", Binning())) == 4
    assert len(cached_files(own_folders)) == 5


def test_a_stale_format_is_not_read(path, own_folders, monkeypatch):
    load_binned("shd", "train", Binning())
    monkeypatch.setattr(loaders, "FORMAT", loaders.FORMAT + 1)
    load_binned("shd", "train", Binning())
    assert len(cached_files(own_folders)) == 2


def test_a_file_under_the_wrong_name_is_not_believed(path, own_folders):
    fine, coarse = (load_binned("shd", "train", Binning(dt_ms=dt)) for dt in (5.0, 10.0))
    a, b = cached_files(own_folders)
    content = a.read_bytes()
    a.write_bytes(b.read_bytes())
    b.write_bytes(content)
    assert same(load_binned("shd", "train", Binning(dt_ms=5.0)), fine)
    assert same(load_binned("shd", "train", Binning(dt_ms=10.0)), coarse)


@pytest.mark.parametrize("how", ["truncated", "empty", "flipped", "text"])
def test_a_damaged_cache_is_built_anew(path, own_folders, how):
    right = load_binned("shd", "train", Binning())
    (cached,) = cached_files(own_folders)
    content = cached.read_bytes()
    middle = len(content) // 2
    flipped = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
    cached.write_bytes({"truncated": content[:middle], "empty": b"", "flipped": flipped, "text": b"text"}[how])
    assert same(load_binned("shd", "train", Binning()), right)
    assert cached.read_bytes() == content


KILLED = """
import os, signal
from snn_delays.data import loaders
from snn_delays.data.binning import Binning

original = loaders.bin_recording
calls = []

def then_killed(events, binning, where):
    calls.append(events)
    if len(calls) == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(events, binning, where)

loaders.bin_recording = then_killed
loaders.load_binned("shd", "train", Binning())
"""


def test_killed_while_writing_leaves_no_broken_cache(path, own_folders):
    done = subprocess.run([sys.executable, "-c", KILLED], cwd=ROOT, timeout=900, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    left = cached_files(own_folders)
    assert len(left) == 1  # the half-written file is there, under a name that nothing reads
    assert left[0].suffix == ".tmp"
    assert same(load_binned("shd", "train", Binning()), bin_recordings(shd_recordings(path), Binning()))
    assert len([f for f in cached_files(own_folders) if f.suffix == ".zip"]) == 1


def test_a_failing_replace_warns_and_still_gives_the_data(path, own_folders, monkeypatch):
    load_binned("shd", "train", Binning(dt_ms=5.0))  # checksums are remembered by now
    real = os.replace

    def fail(source, target):
        if str(target).endswith(".zip"):
            raise OSError(28, "No space left on device")
        real(source, target)

    monkeypatch.setattr(os, "replace", fail)
    with pytest.warns(UserWarning, match=r"could not be written .*No space left"):
        dataset = load_binned("shd", "train", Binning())
    assert len(dataset) == 6
    assert len(cached_files(own_folders)) == 1


def test_without_cache_nothing_is_kept(path, own_folders):
    load_binned("shd", "train", Binning(), cache=False)
    assert not (own_folders / "cache" / "binned").exists()


def test_concurrent_first_uses_agree(own_folders):
    code = (
        "from snn_delays.data.binning import Binning\n"
        "from snn_delays.data.loaders import load_binned\n"
        f"print(load_binned({SUBSET!r}, 'test', Binning(), reader='own').counts.sum())\n"
    )
    runs = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(2)
    ]
    out = [run.communicate(timeout=900) for run in runs]
    assert [o for o, _ in out] == [b"2395023\n"] * 2, out


def test_bins_finer_than_the_stored_times_warn(path):
    with pytest.warns(UserWarning, match=r"dt_ms = 0.5 is finer than 1 ms: SHD stores times as float16 seconds"):
        load_binned("shd", "train", Binning(dt_ms=0.5))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        load_binned("shd", "train", Binning(dt_ms=1.0))


def test_readers_agree_and_errors_are_named(path, samples):
    pytest.importorskip("tonic")
    assert same(*(load_binned("shd", "train", Binning(), reader=r, cache=False) for r in ("own", "tonic")))
    silent = [*samples[:2], Sample(Events([], [], 700), 0, 0)]
    write_shd_hdf5(path, silent, 3)
    with pytest.raises(DataError, match="sample 2 has no events"):
        load_binned("shd", "train", Binning())
    write_shd_hdf5(path, [], 0)
    with pytest.raises(DataError, match="holds no samples"):
        load_binned("shd", "train", Binning())
    with pytest.raises(DataError, match="is missing"):
        load_binned("shd", "test", Binning())
    with pytest.raises(ConfigError, match="no split"):
        load_binned("shd", "valid", Binning())
    path.write_bytes(b"cut off")
    with pytest.raises(DataError, match="truncated"):
        load_binned("shd", "train", Binning())


def test_a_mapped_set_is_that_in_memory(path, own_folders):
    whole = load_binned("shd", "train", Binning(), memory="ram")
    mapped = load_binned("shd", "train", Binning(), memory="mapped")
    assert isinstance(mapped.counts, np.memmap)
    assert not isinstance(whole.counts, np.memmap)
    assert same(whole, mapped)
    for a, b in zip(whole.batch([4, 0, 4], 3), mapped.batch([4, 0, 4], 3)):
        assert a.equal(b)
    with pytest.raises(ValueError, match="read-only"):
        mapped.counts[0] = 1
    (cached,) = cached_files(own_folders)
    content = bytearray(cached.read_bytes())
    content[200] ^= 1  # within the counts: seen when the file is first mapped after the change
    cached.write_bytes(content)
    assert same(load_binned("shd", "train", Binning(), memory="mapped"), whole)
    with pytest.raises(ConfigError, match="memory='mapped' reads from the cache"):
        load_binned("shd", "train", Binning(), memory="mapped", cache=False)
    with pytest.raises(ConfigError, match="memory is auto, ram or mapped"):
        load_binned("shd", "train", Binning(), memory="disk")


def test_bad_recordings_are_skipped_if_requested_and_named(path, samples):
    with h5py.File(path, "r+") as file:
        file["spikes/times"][1] = np.array([0.5, np.nan], dtype=np.float16)
        file["spikes/times"][4] = np.zeros(0, dtype=np.float16)
        file["spikes/units"][4] = np.zeros(0, dtype=np.uint16)
    with pytest.raises(DataError, match=r"shd_train.h5: spikes/times\[1\]\[1\] is nan"):
        load_binned("shd", "train", Binning())
    with pytest.warns(UserWarning, match=r"2 recordings were left out, the first because: .*times\[1\]\[1\] is nan"):
        dataset = load_binned("shd", "train", Binning(), on_bad="skip")
    assert dataset.labels.tolist() == [samples[i].label for i in (0, 2, 3, 5)]
    assert "sample 4 has no events" in dataset.skipped[1]
    with pytest.warns(UserWarning, match="2 recordings were left out"):  # from the cache as well
        assert load_binned("shd", "train", Binning(), on_bad="skip").skipped == dataset.skipped
    write_shd_hdf5(path, [Sample(Events([], [], 700), 0, 0)], 1)
    with pytest.raises(DataError, match=r"no samples that can be used; the first of 1 errors: .*has no events"):
        load_binned("shd", "train", Binning(), on_bad="skip")


class Long(Recordings):
    """Recordings whose counts are large and drawn on demand."""

    path, sensor, class_names = Path("long"), (2, 32, 32), ("a", "b")

    def __len__(self):
        return 60

    def __getitem__(self, i):
        t_us = np.arange(0, 2_000_000, 1000)
        return Sample(Events(t_us, (t_us * (i + 1)) % 2048, 2048, self.sensor), i % 2)

    def checksum(self):
        return "none"


def test_a_store_is_made_holding_one_recording_at_a_time(tmp_path):
    binning = Binning(dt_ms=1.0, channel_group=1)
    tracemalloc.start()
    store_binned(tmp_path / "long.zip", "key", Long(), binning)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    one = 2000 * 2048
    assert peak < 6 * one  # all are 60 times as much
    mapped = read_store(tmp_path / "long.zip", "key", binning, "mapped")
    assert mapped.counts.nbytes > 50 * one
    assert mapped.batch([59]).counts.sum() == 2000


WALK = """
import sys
from pathlib import Path
from snn_delays.data import loaders
from snn_delays.data.binning import Binning

name, split, kept = sys.argv[1:]
data = Path(loaders.__file__).parent
opened, entered = [], []

def audit(event, arguments):
    if event == "open" and isinstance(arguments[0], str | bytes | Path):
        opened.append(str(arguments[0]))

def profile(frame, event, _):
    here, back = Path(frame.f_code.co_filename), frame.f_back
    if event == "call" and here.is_relative_to(data) and back and here != Path(back.f_code.co_filename):
        entered.append(here.relative_to(data).as_posix())

sys.addaudithook(audit)
loaders.load_binned(name, split, Binning())
print("first", sum(kept in path for path in opened))
opened.clear()
sys.setprofile(profile)
loaders.load_binned(name, split, Binning())
sys.setprofile(None)
print(*(path for path in opened if kept in path), sep="\\n")
print("entered", *entered)
"""


@pytest.mark.parametrize("kind", ["bundled", "placed", "own path"])
def test_with_a_warm_cache_no_file_of_the_data_set_is_opened_and_the_walk_is_straight(
    path, own_folders, tmp_path, kind
):
    """Twice in one process and once more in another: the bundled digits, a file in its place, a file by its path."""
    name, split, kept = {
        "bundled": (SUBSET, "test", ".h5"), "placed": ("shd", "train", ".h5"), "own path": (str(path), "train", ".h5"),
    }[kind]  # fmt: skip
    for again in range(2):
        done = subprocess.run(
            [sys.executable, "-c", WALK, name, split, kept], timeout=900, capture_output=True, cwd=ROOT, text=True
        )
        assert done.returncode == 0, done.stderr
        first, *opened, entered = done.stdout.splitlines()
        assert (first == "first 0") == bool(again)  # that a first load opens some is seen
        assert not any(opened), opened
        files = [file for file in entered.split()[1:] if file not in CHECKED_VALUES]
        assert "catalogue/lookup.py" in files
        assert "cache.py" in files
        if kind == "bundled":  # the others are looked up again, as a card may have come that knows them
            assert len(files) == len(set(files)), files


# What dataclasses and arrays check when they are made.
CHECKED_VALUES = ("numbers.py", "card.py", "binning.py")
