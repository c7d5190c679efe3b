"""Whole-or-nothing writing, where readers see the old file or the new one, never a part; and the cache folder."""

import ctypes
import errno
import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from snn_delays.errors import CheckpointError, DataError

try:
    import fcntl
except ImportError:  # not on Windows
    fcntl = None  # type: ignore[assignment]

_LISTED = "written by snn_delays:"


def cache_folder() -> Path:
    """Where what can be made again is kept: ``SNN_DELAYS_CACHE``, else ``XDG_CACHE_HOME/snn_delays``, else ~/.cache.

    A user without a home, as in containers, has a folder among the temporary ones.
    """
    if chosen := os.environ.get("SNN_DELAYS_CACHE"):
        return Path(chosen)
    if shared := os.environ.get("XDG_CACHE_HOME"):
        return Path(shared) / "snn_delays"
    try:
        return Path.home() / ".cache" / "snn_delays"
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"snn_delays-{os.getuid()}"


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path`` that takes its place when the block ends well, and is removed otherwise.

    Two processes may write at once, the last one stays. A process killed outright leaves a ``.tmp`` file, which
    nothing ever reads.
    """
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        sync(temporary)
        temporary.chmod(0o666 & ~_umask())  # mkstemp makes files private; ours may be shared
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path, mark: str) -> Iterator[Path]:
    """A temporary folder beside ``folder`` that takes its place when the block ends well, and is removed otherwise.

    A list of its files is written into it under the name ``mark``. A folder that is there is replaced only if it is
    empty or has such a list; else OSError. Files in it that are not on its list, as somebody's results, are kept. The
    two folders change places in one step where the system can; elsewhere a process killed between two steps leaves the
    old one as ``.NAME.*.old``, which the next call puts back first.
    """
    _put_back(folder)
    before = _listed(folder, mark)
    missing = [parent for parent in folder.parents if not parent.exists()]
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        yield temporary
        listed = sorted(path.relative_to(temporary) for path in temporary.rglob("*") if path.is_file())
        (temporary / mark).write_text("\n".join([_LISTED, *map(str, listed)]) + "\n", encoding="utf-8")
        for path in sorted(folder.rglob("*")) if folder.exists() else ():
            kept = temporary / path.relative_to(folder)
            if path.is_file() and str(path.relative_to(folder)) not in before and not kept.exists():
                kept.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, kept)
        for path in temporary.rglob("*"):
            sync(path)
        temporary.chmod(0o777 & ~_umask())  # mkdtemp makes folders private; ours may be shared
        if not folder.exists():
            os.replace(temporary, folder)
        elif not _exchange(temporary, folder):
            _replace_in_two_steps(temporary, folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        _remove_empty(missing)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _exchange(source: Path, target: Path) -> bool:
    """Have two folders change places in one step; False where the system or the file system cannot."""
    try:
        rename = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError, TypeError):  # Linux alone has it
        return False
    here, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    names = [ctypes.c_char_p(os.fsencode(path)) for path in (source, target)]
    return bool(rename(here, names[0], here, names[1], exchange) == 0)


def _replace_in_two_steps(temporary: Path, folder: Path) -> None:
    aside = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".old"))
    try:
        os.replace(folder, aside)
    except BaseException:
        aside.rmdir()
        raise
    try:
        os.replace(temporary, folder)
    except BaseException:
        os.replace(aside, folder)
        raise
    shutil.rmtree(aside, ignore_errors=True)


def _put_back(folder: Path) -> None:
    """Put the newest old folder back that a killed process had moved aside, where nothing has taken its place."""
    if os.path.lexists(folder) or not folder.parent.is_dir():
        return
    start = f".{folder.name}."
    aside = [p for p in folder.parent.iterdir() if p.name.startswith(start) and p.suffix == ".old" and any(p.iterdir())]
    if aside:
        os.replace(max(aside, key=lambda path: path.stat().st_mtime_ns), folder)


def _listed(folder: Path, mark: str) -> set[str]:
    """The files that an earlier :func:`atomic_folder` wrote, its list too; OSError if it did not make the folder."""
    if folder.is_symlink():
        raise OSError(errno.EEXIST, "is a symbolic link; name the folder that it leads to", str(folder))
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return set()
    try:
        head, *names = (folder / mark).read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        head, names = "", []
    if head != _LISTED:
        raise OSError(
            errno.EEXIST, f"is there already and was not made by this program (no list in {mark})", str(folder)
        )
    return {mark, *names}


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


_held: dict[tuple[int, int, int], int] = {}  # folders that this process is alone in, and how many blocks deep


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep every other process that calls this out of a folder until the block ends, or this process does.

    The folder is made if need be, and removed again if it is empty in the end. A block inside another one of the same
    folder changes nothing. Where the system has no such locks, nobody is kept out.

    Raises CheckpointError if another process is in it, or it cannot be made.
    """
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder, os.O_RDONLY) if fcntl is not None else None
    except OSError as error:
        raise CheckpointError(
            f"cannot write into {folder}: {error.strerror}; choose another place with --out"
        ) from error
    key = (os.getpid(), folder.stat().st_dev, folder.stat().st_ino)  # a forked process is another one
    try:
        if handle is not None and not _held.get(key) and not _flock(handle, wait=False):
            raise CheckpointError(
                f"another process is training in {folder}; wait until it has ended, or name another folder with --out"
            )
        _held[key] = _held.get(key, 0) + 1
        try:
            yield
        finally:
            _held[key] -= 1
    finally:
        if handle is not None:
            os.close(handle)
        _remove_empty(missing)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have a file to oneself, from reading it to replacing it; waits for a process that has it.

    The file is made, empty, if it is not there. It is itself what is locked: whoever waits for it while it is replaced
    goes on to the new one.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "is no regular file", str(path))
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            if fcntl is not None:
                _flock(handle, wait=True)
            try:
                same = os.path.samestat(os.fstat(handle), path.stat())
            except FileNotFoundError:
                same = False
            if same or fcntl is None:
                yield
                return
        finally:
            os.close(handle)


def _flock(handle: int, *, wait: bool) -> bool:
    """Lock an open file or folder; False if another process has it. A file system without locks lets everybody in."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        pass
    return True


def _remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders that have nothing in them, the innermost first."""
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def write_between_markers(document: Path, name: str, text: str) -> None:
    """Put text between the lines ``<!-- name -->`` and ``<!-- /name -->`` of a document.

    Raises DataError if the document cannot be read or has no such place.
    """
    try:
        before, start, rest = document.read_text(encoding="utf-8").partition(f"<!-- {name} -->\n")
    except OSError as error:
        raise DataError(f"cannot read {document}: {error.strerror}") from error
    _, end, after = rest.partition(f"<!-- /{name} -->")
    if not (start and end):
        raise DataError(f"{document} has no lines <!-- {name} --> and <!-- /{name} --> to write between")
    write_text(document, before + start + text + end + after)


def sync(path: Path) -> None:
    """Have the system put a file or a folder's entries on the disk before going on."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
