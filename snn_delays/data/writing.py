"""A full or read-only disk as one clear error, with the file and the remedy."""

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
