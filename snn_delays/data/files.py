"""Folders of the package on the user's disk, checksums that are not taken twice, and disks that are full."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from snn_delays.errors import DataError
from snn_delays.files import cache_folder, write_text
from snn_delays.reading import open_regular, read_json

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``, with ``done == total`` at the end."""


def data_folder() -> Path:
    """Where the user's data files are looked for: ``SNN_DELAYS_DATA``, else ``data`` in the cache folder."""
    chosen = os.environ.get("SNN_DELAYS_DATA")
    return Path(chosen) if chosen else cache_folder() / "data"


@dataclass(frozen=True)
class Checksums:
    """md5 and sha256 of a whole file or folder, as hexadecimal text."""

    md5: str
    sha256: str


def checksums(path: Path, *, remember: bool = True) -> Checksums:
    """Checksums of a file, or of a folder with all that is in it but hidden files.

    A folder's are those of one line ``sha256  relative/path`` for each file, in the order of the paths. With
    ``remember`` they are taken once (:func:`remembered`). Raises DataError if a file cannot be read.
    """

    def compute() -> str:
        md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
        for block in _lines(path) if path.is_dir() else _blocks(path):
            md5.update(block)
            sha256.update(block)
        return f"{md5.hexdigest()} {sha256.hexdigest()}"

    return Checksums(*remembered(path, "file", compute, remember=remember).split())


def files_in(folder: Path) -> list[Path]:
    """Every file below a folder, hidden ones aside, in the order of their paths: the same on every machine."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return sorted(files, key=lambda path: path.relative_to(folder).as_posix())


def _listing(folder: Path) -> str:
    """Names, sizes and times of change of all files in a folder, in short."""
    digest = hashlib.sha256()
    for file in files_in(folder):
        stat = file.stat()  # the inode tells two files apart that changed places
        state = f"{stat.st_size} {stat.st_mtime_ns} {stat.st_ino}"
        digest.update(os.fsencode(f"{file.relative_to(folder).as_posix()}\n{state}\n"))
    return digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    try:
        with open_regular(path) as f:
            while block := f.read(1 << 20):
                yield block
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error


def _lines(folder: Path) -> Iterator[bytes]:
    for path in files_in(folder):
        digest = hashlib.sha256()
        for block in _blocks(path):
            digest.update(block)
        yield os.fsencode(f"{digest.hexdigest()}  {path.relative_to(folder).as_posix()}\n")


def remembered(path: Path, what: str, compute: Callable[[], str], *, remember: bool = True) -> str:
    """``compute()``, with ``remember`` taken once per (path, size, time of change, in folders inode).

    ``what`` names the value, which is noted in the cache folder. Raises DataError for a path that is not there.
    """
    if not remember:
        return compute()
    path = path.resolve()
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    size, changed = (0, _listing(path)) if path.is_dir() else (stat.st_size, str(stat.st_mtime_ns))
    state = {"path": str(path), "size": size, "changed": changed, "what": what}
    name = hashlib.sha256(os.fsencode(f"{what}:{path}")).hexdigest()[:32]
    note = cache_folder() / "checksums" / f"{name}.json"
    # no note, or a damaged one: the value is simply computed again
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        saved = read_json(note)
        if saved["state"] == state:
            return str(saved["value"])
    value = compute()
    with contextlib.suppress(OSError):  # a cache that cannot be written costs time, not correctness
        write_text(note, json.dumps({"state": state, "value": value}))
    return value


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raise DataError naming ``path`` in the place of an OSError, for work that goes on where it stopped."""
    try:
        yield
    except OSError as error:
        raise DataError(
            f"cannot write {path}: {error.strerror or error}; free some space or see who may write there, then start "
            "again; finished recordings are kept"
        ) from error
