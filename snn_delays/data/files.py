"""Folders of the package on the user's disk, and checksums that are not taken twice."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from snn_delays.errors import DataError
from snn_delays.files import atomic_path, cache_folder
from snn_delays.reading import open_regular, read_json

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``, with ``done == total`` at the end."""


def data_folder() -> Path:
    """Where the user's data files are looked for: ``SNN_DELAYS_DATA``, else ``data`` in the cache folder."""
    own = os.environ.get("SNN_DELAYS_DATA")
    return Path(own) if own else cache_folder() / "data"


@dataclass(frozen=True)
class Checksums:
    """md5 and sha256 of a whole file or folder, as hexadecimal text."""

    md5: str
    sha256: str


def checksums(path: Path, *, remember: bool = True) -> Checksums:
    """Checksums of a file, or of a folder with all that is in it but hidden files.

    A folder's are those of one line ``sha256  relative/path`` for each file, in the order of the paths. With
    ``remember`` checksums are taken once per (path, size, time of change). Raises DataError if one cannot be read.
    """
    memory = None
    if remember:
        known, memory = _recall(path, "file")
        if known is not None:
            return Checksums(**known)
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    for block in _lines(path) if path.is_dir() else _blocks(path):
        md5.update(block)
        sha256.update(block)
    result = Checksums(md5.hexdigest(), sha256.hexdigest())
    if memory is not None:
        memory(asdict(result))
    return result


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


def remembered(path: Path, what: str, compute: Callable[[], str]) -> str:
    """``compute()``, taken once per (path, size, time of change) of the file; ``what`` names the value."""
    known, memory = _recall(path, what)
    if known is not None:
        return known["value"]
    value = compute()
    memory({"value": value})
    return value


def _recall(path: Path, what: str) -> tuple[dict[str, str] | None, Callable[[dict[str, str]], None]]:
    path = path.resolve()
    try:
        stat = path.stat()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    size, changed = stat.st_size, str(stat.st_mtime_ns)
    if path.is_dir():
        size, changed = 0, _listing(path)
    state = {"path": str(path), "size": size, "changed": changed, "what": what}
    name = hashlib.sha256(os.fsencode(f"{what}:{path}")).hexdigest()[:32]
    note = cache_folder() / "checksums" / f"{name}.json"
    try:
        saved = read_json(note)
        if saved["state"] == state:
            return dict(saved["values"]), lambda values: None
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no note, or a damaged one: the checksum is simply taken again

    def remember(values: dict[str, str]) -> None:
        try:
            with atomic_path(note) as temporary:
                temporary.write_text(json.dumps({"state": state, "values": values}))
        except OSError:
            pass  # a cache that cannot be written costs time, not correctness

    return None, remember
