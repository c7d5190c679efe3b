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
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from snn_delays.data.text.cards import TextCard, TextFile
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
        size = os.fstat(file.fileno()).st_size
        suffix = path.suffix.lower() if path.suffix.lower() in _SUFFIXES else _by_first_bytes(file.read(10))
        file.seek(0)
        try:
            if suffix == ".zip":
                return _only_member(path, file, room_for(size))
            return read_at_most(_STREAMS[suffix](file) if suffix else file, room_for(size))
        except DataError:
            raise
        except _DAMAGE as error:
            kind = suffix or "readable"
            raise DataError(f"{path} is cut short, damaged or not a {kind} file ({error}); fetch it again") from error


def _by_first_bytes(content: bytes) -> str:
    if content[:3] == b"BZh" and content[4:10] == b"1AY&SY":
        return ".bz2"
    starts = {b"\xfd7zXZ\0": ".xz", b"\x1f\x8b\x08": ".gz", b"PK\x03\x04": ".zip"}
    return next((suffix for start, suffix in starts.items() if content.startswith(start)), "")


def _only_member(path: Path, file: BinaryIO, room: int) -> bytes:
    with zipfile.ZipFile(file) as archive:
        members = [member for member in archive.infolist() if not member.is_dir()]
        if len(members) != 1:
            raise DataError(f"{path} holds {len(members)} files, not one text; unpack it and give the file you mean")
        return read_member(archive, members[0], room)


def read_files(card: TextCard) -> dict[str, tuple[Path, bytes]]:
    """The path and the content of each file of a set, decompressed and verified.

    A file is taken from the card's folder, plain or compressed, or else out of the card's archive, whose path is then
    given. Raises DataError naming what is missing, where it is looked for and where to get it, or what differs from the
    card.
    """
    found: dict[str, tuple[Path, bytes]] = {}
    members: dict[str, bytes] | None = None
    archive = card.place / card.archive
    for split, part in card.files.items():
        path = _beside(card.place, part.file)
        if path is not None:
            content = unpacked(path)
        elif card.archive and archive.is_file():
            members = _members(archive) if members is None else members
            if part.file not in members:
                raise DataError(f"{archive} has no file {part.file}; {_remedy(card)}")
            path, content = archive, members[part.file]
        else:
            raise DataError(_missing(card, split, part))
        _verify(card, split, part, path, content)
        found[split] = path, content
    return found


def _beside(folder: Path, name: str) -> Path | None:
    paths = (folder / f"{name}{suffix}" for suffix in ("", *_SUFFIXES))
    return next((path for path in paths if path.is_file()), None)


def _members(archive: Path) -> dict[str, bytes]:
    try:
        with tarfile.open(fileobj=io.BytesIO(unpacked(archive)), mode="r:") as tar:
            # A sparse file may say that it is as long as it likes.
            files = [member for member in tar.getmembers() if member.isfile() and not member.issparse()]
            return {member.name.removeprefix("./"): _read(tar, member) for member in files}
    except tarfile.TarError as error:
        raise DataError(f"{archive} is cut short, damaged or not a tar file ({error}); fetch it again") from error


def _read(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = tar.extractfile(member)
    return stream.read() if stream else b""


def _missing(card: TextCard, split: str, part: TextFile) -> str:
    what = card.display_name if split == "all" else f"{card.display_name} ({split})"
    inside = f", nor {card.archive} that holds it" if card.archive else ""
    return (
        f"{what} is missing: there is no {part.file}, plain or with {', '.join(_SUFFIXES)}{inside}, in {card.place}; "
        f"{_remedy(card)}"
    )


def _remedy(card: TextCard) -> str:
    return f"{card.remedy or 'install the package again'}; source: {card.source}"


def _verify(card: TextCard, split: str, part: TextFile, path: Path, content: bytes) -> None:
    what = card.display_name if split == "all" else f"{card.display_name} ({split})"
    checks: list[tuple[str, object, object]] = [
        ("bytes unpacked", part.bytes, len(content)),
        ("lines", part.lines, content.count(b"\n")),
        ("md5 unpacked", part.md5, hashlib.md5(content, usedforsecurity=False).hexdigest() if part.md5 else ""),
    ]
    for name, expected, got in checks:
        if expected and got != expected:
            named = path if path.name.startswith(Path(part.file).name) else f"{part.file} in {path}"
            raise DataError(
                f"{named} is not {what}: {name} {_shown(got)}, its card says {_shown(expected)}; {_remedy(card)}"
            )


def _shown(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)
