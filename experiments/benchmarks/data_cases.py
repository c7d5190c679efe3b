"""The cases of reading data: binning, the first load, the load from a cache, an epoch of batches."""

import atexit
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import missing
from experiments.benchmarks.sizes import Sizes
from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.cache import Memory, read_store
from snn_delays.data.dataset import BinnedDataset
from snn_delays.data.events import Sample
from snn_delays.data.formats.shd import N_CHANNELS
from snn_delays.data.loaders import store_binned
from snn_delays.data.opening import open_recordings
from snn_delays.data.recordings import Recordings
from snn_delays.errors import DataError

BUNDLED, FULL = "shd-regenerated-subset", "shd-regenerated"
BINNING = Binning("fixed", 10.0, 1)
BATCH = 256
EDGE = 1e-3  # share of a recording's events that may lie on the edge of its last window


class _Some(Recordings):
    """The first so many recordings of another."""

    def __init__(self, recordings: Recordings, most: int | None) -> None:
        self.all, self.path = recordings, recordings.path
        self.sensor, self.class_names = recordings.sensor, recordings.class_names
        self.n = len(recordings) if most is None else min(most, len(recordings))

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> Sample:
        return self.all[i]


def binning(sizes: Sizes, device: torch.device) -> Case:
    """Events in memory to counts in memory."""
    del device
    samples = list(_recordings(BUNDLED, sizes, "own"))
    text = f"{_what(BUNDLED, len(samples))}, events in memory, 10 ms, {N_CHANNELS} channels"

    def ours() -> list[NDArray[np.uint8]]:
        return [bin_events(sample.events, BINNING) for sample in samples]

    sides = [Side("snn_delays", f"{text}; bin_events, counts of uint8, events checked before", _dropped(ours))]
    if line := missing("tonic"):
        return Case("binning", tuple(sides), lambda: None, (line,))
    structured = [_structured(sample) for sample in samples]
    to_frame = _to_frame()

    def tonic() -> list[NDArray[np.int16]]:
        return [to_frame(events) for events in structured]

    sides.append(Side("tonic ToFrame", f"{text}; {_frames()}, counts of int16", _dropped(tonic)))

    def check() -> None:
        for a, b in zip(ours(), tonic()):
            _assert_equal(a, b[:, 0])

    return Case("binning", tuple(sides), check)


def first_load(name: str, sizes: Sizes, device: torch.device) -> Case:
    """A HDF5 file in SHD's layout to a binned set, kept on disk for the next time."""
    del device
    name, notes = _at_hand(name)
    folder = _Folder()
    sides: list[Side] = []
    for reader in ("own", "tonic"):
        if reader == "tonic" and (line := missing("tonic")):
            return Case(_title("first load", name), tuple(sides), lambda: None, (*notes, line))
        text = f"{_what(name, sizes.recordings)}; reader {reader!r}, 10 ms, cache of uint8 counts written, then read"
        work = _dropped(partial(_first_load, name, sizes, reader, folder))
        sides.append(Side(f"snn_delays, {reader} reader", text, work))

    def tonic() -> None:
        cached = _disk_cached(name, sizes, folder.new("tonic"))
        for i in range(len(cached)):
            cached[i]

    text = f"{_what(name, sizes.recordings)}; SHD, {_frames()}, DiskCachedDataset with its defaults, every sample once"
    sides.append(Side("tonic", text, tonic))

    def check() -> None:
        a, b = (_first_load(name, sizes, reader, folder) for reader in ("own", "tonic"))
        _assert_equal(a.counts, b.counts)

    return Case(_title("first load", name), tuple(sides), check, notes)


def cached_load(name: str, sizes: Sizes, device: torch.device) -> Case:
    """From the cache to the first batch."""
    del device
    name, notes = _at_hand(name)
    folder = _Folder()
    stored = folder.path / "binned.zip"
    store_binned(stored, "key", _recordings(name, sizes, "own"), BINNING)

    def load(memory: Memory) -> BinnedDataset:
        dataset = _stored(stored, memory)
        dataset.batch(_first(dataset))
        return dataset

    text = f"{_what(name, sizes.recordings)}; from the cache to a first batch of {BATCH}"
    memories: tuple[Memory, ...] = ("ram", "mapped")
    sides = [Side(f"snn_delays, {memory}", f"{text}, {memory}", _dropped(partial(load, memory))) for memory in memories]
    if line := missing("tonic"):
        return Case(_title("cached load", name), tuple(sides), lambda: None, (*notes, line))
    cached, cache = _warm(name, sizes, folder)

    def tonic() -> None:
        again = _disk_cached(name, sizes, cache)
        next(_padded_batches(again))

    sides.append(Side("tonic", f"{text}; DiskCachedDataset, DataLoader, PadTensors(batch_first=False)", tonic))
    return Case(_title("cached load", name), tuple(sides), partial(_check_batch, load("ram"), cached), notes)


def epoch(name: str, sizes: Sizes, device: torch.device) -> Case:
    """All batches of an epoch, in an order drawn."""
    del device
    name, notes = _at_hand(name)
    folder = _Folder()
    stored = folder.path / "binned.zip"
    store_binned(stored, "key", _recordings(name, sizes, "own"), BINNING)
    sides = []
    memories: tuple[Memory, ...] = ("ram", "mapped")
    text = f"{_what(name, sizes.recordings)}; batches of {BATCH} in a drawn order"
    for memory in memories:
        dataset = _stored(stored, memory)
        sides.append(Side(f"snn_delays, {memory}", f"{text}, {memory}, uint8", partial(_epoch, dataset)))
    if line := missing("tonic"):
        return Case(_title("epoch", name), tuple(sides), lambda: None, (*notes, line))
    cached, _ = _warm(name, sizes, folder)

    def tonic() -> None:
        for _ in _padded_batches(cached, shuffle=True):
            pass

    how = "DiskCachedDataset, DataLoader(num_workers=0, shuffle=True), PadTensors(batch_first=False), int16"
    sides.append(Side("tonic", f"{text}; {how}", tonic))
    return Case(_title("epoch", name), tuple(sides), partial(_check_batch, dataset, cached), notes)


class _Folder:
    """A temporary folder that goes when the process does."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="snn_delays_bench_"))
        atexit.register(shutil.rmtree, self.path, ignore_errors=True)

    def new(self, name: str) -> Path:
        """An empty folder in it; what lay there before is gone."""
        shutil.rmtree(self.path / name, ignore_errors=True)
        (self.path / name).mkdir()
        return self.path / name


def _dropped(work: Callable[[], Any]) -> Callable[[], None]:
    """The work without its result."""

    def run() -> None:
        work()

    return run


def _first_load(name: str, sizes: Sizes, reader: Any, folder: _Folder) -> BinnedDataset:
    path = folder.new(reader) / "binned.zip"
    store_binned(path, "key", _recordings(name, sizes, reader), BINNING)
    return _stored(path, "ram")


def _stored(path: Path, memory: Memory) -> BinnedDataset:
    dataset = read_store(path, "key", BINNING, memory)
    assert dataset is not None
    return dataset


def _first(dataset: BinnedDataset) -> NDArray[np.int64]:
    return np.arange(min(BATCH, len(dataset)))


def _epoch(dataset: BinnedDataset) -> None:
    order = torch.randperm(len(dataset)).numpy()
    for start in range(0, len(order), BATCH):
        dataset.batch(order[start : start + BATCH])


def _recordings(name: str, sizes: Sizes, reader: Any) -> _Some:
    return _Some(open_recordings(name, "train", reader=reader), sizes.recordings)


def _at_hand(name: str) -> tuple[str, tuple[str, ...]]:
    """The data set requested, or the bundled one with a line that says why."""
    try:
        open_recordings(name, "train", reader="own")
    except DataError as error:
        return BUNDLED, (f"the bundled subset in place of the full set: {error}",)
    return name, ()


def _title(what: str, name: str) -> str:
    return f"{what}, {'full set' if name == FULL else 'bundled subset'}"


def _what(name: str, most: int | None) -> str:
    from snn_delays.data.catalogue.lookup import card

    total = card(name).split("train").samples
    return f"{total if most is None else min(most, total):,} recordings of {card(name).display_name}, train"


def _structured(sample: Sample) -> Any:
    """Events as Tonic has them."""
    events = np.zeros(len(sample.events), dtype=[("t", np.int64), ("x", np.int64), ("p", np.int64)])
    events["t"], events["x"], events["p"] = sample.events.t_us, sample.events.channel, 1
    return events


def _to_frame() -> Any:
    from tonic.transforms import ToFrame

    # Without start_time and include_incomplete Tonic drops the latency of the first spike and the last events.
    return ToFrame((N_CHANNELS, 1, 1), time_window=10_000, start_time=0.0, include_incomplete=True)


def _frames() -> str:
    return "ToFrame(time_window=10_000, start_time=0.0, include_incomplete=True)"


def _disk_cached(name: str, sizes: Sizes, cache: Path) -> Any:
    """Tonic's way: its SHD on the same file, frames cached one file a sample."""
    from tonic import DiskCachedDataset
    from tonic.datasets import SHD

    home = cache / "data" / "SHD"
    if not home.exists():
        home.mkdir(parents=True)
        (home / "shd_train.h5").symlink_to(open_recordings(name, "train", reader="own").path.resolve())
        (home / "shd_train.h5.zip").touch()
    dataset = SHD(str(cache / "data"), train=True, transform=_to_frame())
    chosen = range(len(dataset) if sizes.recordings is None else min(sizes.recordings, len(dataset)))
    return DiskCachedDataset(torch.utils.data.Subset(dataset, chosen), cache_path=str(cache / "cache"))


def _warm(name: str, sizes: Sizes, folder: _Folder) -> tuple[Any, Path]:
    cache = folder.new("tonic")
    cached = _disk_cached(name, sizes, cache)
    for i in range(len(cached)):
        cached[i]
    return cached, cache


def _padded_batches(cached: Any, shuffle: bool = False) -> Iterator[Any]:
    from tonic.collation import PadTensors

    return iter(
        torch.utils.data.DataLoader(
            cached, batch_size=BATCH, shuffle=shuffle, num_workers=0, collate_fn=PadTensors(batch_first=False)
        )
    )


def _check_batch(dataset: BinnedDataset, cached: Any) -> None:
    frames, labels = next(_padded_batches(cached))
    batch = dataset.batch(_first(dataset))
    _assert_equal(batch.counts.numpy(), frames[:, :, 0].numpy())
    assert np.array_equal(batch.labels.numpy(), labels.numpy()), "other labels"


def _assert_equal(a: NDArray[Any], b: NDArray[Any]) -> None:
    """Our counts ``a`` and Tonic's, which lack the events on the very edge of a recording's last window."""
    assert len(a) - len(b) in (0, 1), f"{len(a)} and {len(b)} steps"
    assert b.sum() > 0, "nothing but zeros to compare"
    lost = a[: len(b)].astype(np.int64) - b
    assert lost.min() >= 0, "events that are not ours"
    assert int(a.sum()) - int(b.sum()) <= EDGE * int(a.sum()), f"{int(a.sum()) - int(b.sum())} events are missing"
