"""A disk that is full or may not be written to, told with the file and the remedy."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from snn_delays.errors import DataError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise DataError naming ``path`` in the place of an OSError, for work that goes on where it stopped."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; free some space or see who may write there, then start "
            "again; finished recordings are kept"
        ) from error


def try_room(folder: Path, size: int) -> None:
    """Raise OSError unless a file of ``size`` bytes can be written in a folder.

    For HDF5, which can end the whole process when a disk is full, instead of raising an error.
    """
    block = bytes(1 << 20)
    with tempfile.TemporaryFile(dir=folder) as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
        file.flush()
        os.fsync(file.fileno())
