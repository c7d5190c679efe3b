"""A binned data set as one file: written as it is made, read whole or mapped.

The file is a zip archive without compression, so each part carries a checksum that is verified when it is read.
``counts`` is stored in it as raw numbers, which can be memory-mapped; ``about.json`` has their shape and the rest.
"""

import io
import json
import math
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.binning import Binning
from snn_delays.data.dataset import BinnedDataset
from snn_delays.data.files import remembered
from snn_delays.errors import DataError
from snn_delays.files import atomic_path
from snn_delays.npy import read_npy
from snn_delays.reading import NOTE_BYTES, parse_json, read_member, room_for

Memory = Literal["auto", "ram", "mapped"]
_MAP_FROM_BYTES = 1 << 30  # "auto" maps what is larger
_NUMBERS = ("offsets", "labels", "speakers")


def write_store(path: Path, key: str, parts: Iterable[NDArray[Any]], finish: Callable[[], dict[str, Any]]) -> None:
    """Write the counts of one sample after another, then what ``finish()`` says about them; whole or not at all.

    ``parts``: arrays ``[time, *sensor]`` of one dtype, at least one. ``finish()``: the :class:`BinnedDataset`'s other
    arguments. No more than one sample is held in memory.
    """
    n_steps = 0
    with atomic_path(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        with archive.open(zipfile.ZipInfo("counts"), "w", force_zip64=True) as f:
            for part in parts:
                f.write(np.ascontiguousarray(part).data.cast("B"))
                n_steps, shape, dtype = n_steps + len(part), part.shape[1:], str(part.dtype)
        about = {"counts_shape": [n_steps, *shape], "dtype": dtype, **finish()}
        for name in _NUMBERS:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as f:
                np.lib.format.write_array(f, about.pop(name), allow_pickle=False)
        archive.writestr(zipfile.ZipInfo("about.json"), json.dumps({"key": key, **about}))


def read_store(path: Path, key: str, binning: Binning, memory: Memory) -> BinnedDataset | None:
    """The data set that was stored under ``key``, or None where it is absent, another, or damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            about = parse_json(read_member(archive, "about.json", NOTE_BYTES))
            if about["key"] != key:
                return None
            room = room_for(_size(archive))
            numbers: dict[str, Any] = {name: read_npy(read_member(archive, f"{name}.npy", room)) for name in _NUMBERS}
            counts = _counts(path, archive, tuple(about["counts_shape"]), np.dtype(about["dtype"]), memory)
        names = tuple(about["class_names"])
        given = {"source": about["source"], "checksum": about["checksum"], "skipped": tuple(about["skipped"])}
        return BinnedDataset(counts, **numbers, **given, binning=binning, n_classes=len(names), class_names=names)
    except (OSError, EOFError, KeyError, TypeError, ValueError, DataError, zipfile.BadZipFile, zlib.error):
        return None


def _size(archive: zipfile.ZipFile) -> int:
    assert archive.fp is not None
    return archive.fp.seek(0, io.SEEK_END)


def _counts(path: Path, archive: zipfile.ZipFile, shape: tuple[int, ...], dtype: np.dtype, memory: Memory) -> Any:
    info = archive.getinfo("counts")
    stored = info.compress_type == zipfile.ZIP_STORED and info.file_size < _size(archive)
    if not stored or info.file_size != math.prod(shape) * dtype.itemsize:
        raise DataError(f"{path}: counts have {info.file_size} bytes, not those of shape {shape}")
    if memory == "mapped" or (memory == "auto" and info.file_size > _MAP_FROM_BYTES):
        # Read once, so that its checksum is verified, as a mapped file is never read whole.
        remembered(path, "bytes verified", lambda: str(sum(map(len, _blocks(archive)))))
        return np.memmap(path, dtype, "r", _start(path, info), shape)
    counts = np.empty(shape, dtype)
    view, done = counts.reshape(-1).view(np.uint8), 0
    for block in _blocks(archive):
        view[done : done + len(block)] = np.frombuffer(block, np.uint8)
        done += len(block)
    return counts


def _blocks(archive: zipfile.ZipFile) -> Iterator[bytes]:
    with archive.open("counts") as f:
        while block := f.read(1 << 24):
            yield block


def _start(path: Path, info: zipfile.ZipInfo) -> int:
    """The offset of the bytes of a stored member, after its local header, whose length is in it."""
    with path.open("rb") as f:
        f.seek(info.header_offset)
        header = f.read(30)
    return info.header_offset + 30 + int.from_bytes(header[26:28], "little") + int.from_bytes(header[28:30], "little")
