"""Files of text on disk, plain or compressed, and whether they are what their card says."""

import bz2
import gzip
import hashlib
import io
import lzma
import os
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import BinaryIO

from snn_delays.data.text.cards import TextCard
from snn_delays.errors import DataError
from snn_delays.reading import Readable, open_regular, read_at_most, read_member, room_for

_SUFFIXES = (".xz", ".bz2", ".gz", ".zip")
_STREAMS: dict[str, Callable[[BinaryIO], Readable]] = {
    ".xz": lzma.LZMAFile, ".bz2": bz2.BZ2File, ".gz": lambda file: gzip.GzipFile(fileobj=file),
}  # fmt: skip
_DAMAGE = (OSError, EOFError, ValueError, RuntimeError, lzma.LZMAError, zlib.error, zipfile.BadZipFile)


def unpacked(path: Path) -> bytes:
    """The content of a file, unpacked if it is an xz, bz2, gzip or zip file by its name or by its first bytes.

    Raises DataError naming the file if it cannot be read, is no regular file, is damaged, unpacks to more than a
    hundred times its size, or is a zip file of several files.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    with file:
        room = room_for(os.fstat(file.fileno()).st_size)
        suffix = path.suffix.lower() if path.suffix.lower() in _SUFFIXES else _by_first_bytes(file.read(10))
        file.seek(0)
        try:
            if suffix != ".zip":
                return read_at_most(_STREAMS[suffix](file) if suffix else file, room)
            with zipfile.ZipFile(file) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                if len(members) == 1:
                    return read_member(archive, members[0], room)
        except _DAMAGE as error:
            kind = suffix or "readable"
            raise DataError(f"{path} is cut short, damaged or not a {kind} file ({error}); fetch it again") from error
    raise DataError(f"{path} holds {len(members)} files, not one text; unpack it and give the file you mean")


def _by_first_bytes(content: bytes) -> str:
    if content[:3] == b"BZh" and content[4:10] == b"1AY&SY":
        return ".bz2"
    starts = {b"\xfd7zXZ\0": ".xz", b"\x1f\x8b\x08": ".gz", b"PK\x03\x04": ".zip"}
    return next((suffix for start, suffix in starts.items() if content.startswith(start)), "")


def read_files(card: TextCard) -> dict[str, tuple[Path, bytes]]:
    """The path and the content of each file of a set, decompressed and verified.

    Files are taken from the card's folder, plain or compressed, else out of the card's archive, whose path is then
    given. Raises DataError naming what is missing, where it belongs and where to get it, or what differs from the card.
    """
    files: dict[str, tuple[Path, bytes]] = {}
    archive, members = card.place / card.archive, cache(_members)
    remedy = f"{card.remedy or 'install the package again'}; source: {card.source}"
    for split, part in card.files.items():
        what = card.display_name if split == "all" else f"{card.display_name} ({split})"
        beside = (card.place / f"{part.file}{suffix}" for suffix in ("", *_SUFFIXES))
        path = next((path for path in beside if path.is_file()), archive)
        if path != archive:
            named, content = str(path), unpacked(path)
        elif not (card.archive and archive.is_file()):
            inside = f", nor {card.archive} that holds it" if card.archive else ""
            raise DataError(
                f"{what} is missing: there is no {part.file}, plain or with {', '.join(_SUFFIXES)}{inside}, in "
                f"{card.place}; {remedy}"
            )
        elif part.file not in members(archive):
            raise DataError(f"{archive} has no file {part.file}; {remedy}")
        else:
            named, content = f"{part.file} in {archive}", members(archive)[part.file]
        checks: list[tuple[str, object, object]] = [
            ("bytes unpacked", part.bytes, len(content)),
            ("lines", part.lines, content.count(b"\n")),
            ("md5 unpacked", part.md5, part.md5 and hashlib.md5(content, usedforsecurity=False).hexdigest()),
        ]
        for name, expected, got in checks:
            if expected and got != expected:
                raise DataError(
                    f"{named} is not {what}: {name} {_shown(got)}, its card says {_shown(expected)}; {remedy}"
                )
        files[split] = path, content
    return files


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _members(archive: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked(archive)), mode="r:") as tar:
            # A sparse file may say that it is as long as it likes.
            streams = {m.name: tar.extractfile(m) for m in tar.getmembers() if m.isfile() and not m.issparse()}
            return {name.removeprefix("./"): stream.read() for name, stream in streams.items() if stream}
    except tarfile.TarError as error:
        raise DataError(f"{archive} is cut short, damaged or not a tar file ({error}); fetch it again") from error


def origin(files: Mapping[str, tuple[Path, bytes]]) -> tuple[str, str]:
    """Path of the one file or archive, else of the folder; and the sha256 of the contents one after the other."""
    paths = [path for path, _ in files.values()]
    source = paths[0] if len(set(paths)) == 1 else paths[0].parent
    return str(source), hashlib.sha256(b"".join(content for _, content in files.values())).hexdigest()
