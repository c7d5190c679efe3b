"""HDF5 files of recordings: opened with their layout checked, and only where the library comes to an end with them."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from snn_delays.data.files import remembered
from snn_delays.errors import DataError
from snn_delays.hdf5 import opened_hdf5
from snn_delays.reading import as_data_error

if TYPE_CHECKING:
    import h5py

SMALL = 1 << 20  # bytes; too few for a damaged copy of any data set
SECONDS, _BYTES_PER_SECOND = 60.0, 4 << 20  # for the slowest of disks
_NOTE = "HDF5 comes to an end"
READ = """
import os, sys, h5py
most = os.path.getsize(sys.argv[1])  # a dataset may declare more rows than the file has bytes
with h5py.File(sys.argv[1], "r") as file:
    def read(name, item):
        if isinstance(item, h5py.Dataset) and item.shape and item.id.get_storage_size():
            for start in range(0, min(len(item), most), 256):
                item[start : start + 256]
    file.visititems(read)
"""


@contextmanager
def checked_file(path: Path, check: Callable[[Path, "h5py.File"], None], remedy: str) -> Iterator["h5py.File"]:
    """The file, which ``check(path, file)`` raises DataError for where it has not the layout that is expected.

    Raises DataError with the ``remedy`` for a file that is missing or damaged.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist")
    with as_data_error(f"{path} is truncated or not an HDF5 file", remedy):
        file = opened_hdf5(path)
    with file:
        with as_data_error(f"{path} cannot be read", remedy, RuntimeError, KeyError, TypeError, ValueError):
            check(path, file)
        yield file


def check_ends(path: Path) -> None:
    """Raise DataError for a file on which HDF5 loops or crashes; other damage is not looked for.

    A block of zeros can make the library itself loop for ever, so a large file is read once in a process of its own,
    unless it is known to be whole (:func:`trust`).
    """
    if not path.is_file() or path.stat().st_size < SMALL:
        return
    if (outcome := remembered(path, _NOTE, lambda: _read_elsewhere(path))) != "yes":
        raise DataError(f"{path} is damaged: HDF5 {outcome} on it, and no card has its checksum; fetch it again")


def trust(path: Path) -> None:
    """Remember that a file is whole, as its checksum is that of a published one."""
    remembered(path, _NOTE, lambda: "yes")


def _read_elsewhere(path: Path) -> str:
    try:
        limit = SECONDS + path.stat().st_size / _BYTES_PER_SECOND
        ended = subprocess.run([sys.executable, "-c", READ, str(path.resolve())], capture_output=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return "loops"
    except OSError:  # no further process can be started
        return "yes"
    return "crashes" if ended.returncode < 0 else "yes"
