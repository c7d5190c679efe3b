"""Whether HDF5 comes to an end with a file: damage, as a block of zeros, can have the library itself loop for ever."""

import subprocess
import sys
from pathlib import Path

from snn_delays.data.catalogue.lookup import known_by_checksum
from snn_delays.data.files import remembered
from snn_delays.errors import DataError

SMALL = 1 << 20  # bytes; too few for a damaged copy of any data set
SECONDS, _BYTES_PER_SECOND = 60.0, 4 << 20  # for the slowest of disks
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


def check_ends(path: Path) -> None:
    """Raise DataError for a file that HDF5 loops or crashes on. Nothing is said of any other damage.

    A file that a card knows by its checksum is whole; any other is first read in a process of its own, once.
    """
    if not path.is_file() or path.stat().st_size < SMALL or known_by_checksum(path):
        return
    if (said := remembered(path, "HDF5 comes to an end", lambda: _read_elsewhere(path))) != "yes":
        raise DataError(f"{path} is damaged: HDF5 {said} on it, and no card has its checksum; fetch it again")


def _read_elsewhere(path: Path) -> str:
    try:
        ended = subprocess.run(
            [sys.executable, "-c", READ, str(path.resolve())], capture_output=True, check=False,
            timeout=SECONDS + path.stat().st_size / _BYTES_PER_SECOND,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return "loops"
    except OSError:  # there is no other process to be had
        return "yes"
    return "crashes" if ended.returncode < 0 else "yes"
