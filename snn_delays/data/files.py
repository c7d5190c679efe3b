"""Folders of the package on the user's disk, and checksums that are not taken twice."""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from snn_delays.errors import DataError
from snn_delays.files import atomic_path, cache_folder

Progress = Callable[[int, int], None]
"""Called as ``progress(done, total)``, with ``done == total`` at the end."""


def data_folder() -> Path:
    """Where the user's data files are looked for: ``SNN_DELAYS_DATA``, else ``data`` in the cache folder."""
    own = os.environ.get("SNN_DELAYS_DATA")
    return Path(own) if own else cache_folder() / "data"


@dataclass(frozen=True)
class Checksums:
    """md5 and sha256 of a whole file, as hexadecimal text."""

    md5: str
    sha256: str


def checksums(path: Path, *, remember: bool = True) -> Checksums:
    """Checksums of a file. With ``remember`` they are taken once per (path, size, time of change).

    Raises DataError if the file cannot be read.
    """
    memory = None
    if remember:
        known, memory = _recall(path, "file")
        if known is not None:
            return Checksums(**known)
    md5, sha256 = hashlib.md5(usedforsecurity=False), hashlib.sha256()
    try:
        with path.open("rb") as f:
            while block := f.read(1 << 20):
                md5.update(block)
                sha256.update(block)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    result = Checksums(md5.hexdigest(), sha256.hexdigest())
    if memory is not None:
        memory(asdict(result))
    return result


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
    state = {"path": str(path), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "what": what}
    name = hashlib.sha256(f"{what}:{path}".encode()).hexdigest()[:32]
    note = cache_folder() / "checksums" / f"{name}.json"
    try:
        saved = json.loads(note.read_text())
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
