"""Reading files that others wrote: regular files only, of bounded size, and nothing unpacked beyond what it can be."""

import codecs
import errno
import json
import os
import stat
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from snn_delays.errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NOTE_BYTES = 1 << 26
"""Most that a recipe, a record in JSON or a table may have."""
_BLOCK = 1 << 20
LEAST_ROOM, RATIO = 1 << 26, 100  # no real data or text packs by more; a bomb does by thousands


@contextmanager
def as_data_error(what: str, remedy: str, *damage: type[Exception]) -> Iterator[None]:
    """Raise DataError ``what (why); remedy`` in the place of an OSError or an error in ``damage``.

    A DataError, which says already what is wrong, passes as it is.
    """
    kinds: tuple[type[Exception], ...] = (OSError, *damage)
    try:
        yield
    except DataError:
        raise
    except kinds as error:
        why = getattr(error, "strerror", None) or error
        raise DataError(f"{what} ({why}); {remedy}") from error


def open_regular(path: Path | str) -> BinaryIO:
    """A file opened for reading. Raises OSError, also for a device, which may never end, and a FIFO, which waits."""
    name = os.fspath(path)
    if "\0" in name:
        raise OSError(errno.EINVAL, "its name holds a NUL character", name)
    _check_regular(os.stat(path), name)
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    try:
        _check_regular(os.fstat(handle), name)  # what was looked at before may have changed places
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def _check_regular(status: os.stat_result, name: str) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), name)
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", name)


def read_bytes(path: Path | str, at_most: int) -> bytes:
    """The content of a regular file. Raises OSError, also if it has more than ``at_most`` bytes."""
    with open_regular(path) as file:
        fits = os.fstat(file.fileno()).st_size <= at_most
        content = file.read(at_most + 1) if fits else b""  # some that say 0, as those in /proc, have more
    if not fits or len(content) > at_most:
        raise OSError(errno.EFBIG, f"is larger than {at_most:,} bytes", os.fspath(path))
    return content


def read_text(path: Path | str, at_most: int = NOTE_BYTES) -> str:
    """The text of a regular file, without the byte-order mark that some editors put before it.

    Raises OSError as :func:`read_bytes`, ValueError for what is no UTF-8.
    """
    content = read_bytes(path, at_most)
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise ValueError("it is UTF-16, by its byte-order mark; save it as UTF-8")
    return content.decode("utf-8-sig").replace("\r\n", "\n")


def parse_json(text: str | bytes) -> Any:
    """What a JSON text says. Raises ValueError for whatever is none, nested too deeply or has endless digits."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json(path: Path | str) -> Any:
    """What a JSON file says. Raises OSError as :func:`read_bytes`, ValueError as :func:`parse_json`."""
    return parse_json(read_text(path))


def parse_toml(text: str) -> dict[str, Any]:
    """What a TOML text says. Raises ValueError as :func:`parse_json`."""
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class Readable(Protocol):
    """What bytes are read from, as files and the streams that unpack them."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes, none at the end."""


def room_for(packed: int, ratio: int = RATIO) -> int:
    """The most bytes that a file of ``packed`` bytes is let unpack to: ``ratio`` times as many, at least 64 MiB."""
    return LEAST_ROOM + ratio * packed


def read_at_most(stream: Readable, at_most: int) -> bytes:
    """A stream to its end, in blocks, so that no bound is allocated. Raises ValueError beyond ``at_most`` bytes."""
    content = bytearray()
    while block := stream.read(min(_BLOCK, at_most + 1 - len(content))):
        content += block
        if len(content) > at_most:
            raise ValueError(f"it unpacks to more than {at_most:,} bytes")
    return bytes(content)


def read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo | str, at_most: int) -> bytes:
    """A file in a zip archive. Raises ValueError if it has, or says it has, more than ``at_most`` bytes."""
    info = archive.getinfo(member) if isinstance(member, str) else member
    if info.file_size > at_most:
        raise ValueError(f"{info.filename} in it unpacks to {info.file_size:,} bytes, more than {at_most:,}")
    with archive.open(info) as stream:
        return read_at_most(stream, at_most)
