"""Archives of a data set unpacked into the place where it is looked for."""

import lzma
import os
import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import IO

from snn_delays.data.card import Card, SplitFile
from snn_delays.data.files import Progress, checksums, files_in
from snn_delays.errors import DataError
from snn_delays.reading import as_data_error, open_regular, room_for

_BLOCK = 1 << 20
_DAMAGE = (tarfile.TarError, zipfile.BadZipFile, lzma.LZMAError, zlib.error, EOFError)


def unpack_archive(
    archive: Path, of: Card, parts: Sequence[SplitFile], folder: Path, progress: Progress | None = None
) -> list[Path]:
    """Unpack a tar or zip archive into ``folder``, each of its parts whole or not at all; returns their paths.

    A part is the file or folder of that name in the archive, or all that is in it where nothing has the name. Zip files
    inside are unpacked too. A part without a checksum of its own on the card is identified by its archive, which is
    therefore kept beside it. ``progress``: in bytes of the archive. Raises DataError as :func:`locate.unpack`, and if a
    path in the archive leads out of it or something else is in the way.
    """
    by_path = {folder / part.file: part for part in parts}
    remedy = "free some space or choose a folder that can be written"
    with as_data_error(f"cannot unpack {archive} into {folder}", remedy):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".unpacking-") as temporary:
            content = Path(temporary, "content")
            content.mkdir()
            _extract(archive, content, progress)
            for inner in sorted(content.glob("*.zip")):
                _extract(inner, content, None)
                inner.unlink()
            if progress is not None:
                size = archive.stat().st_size
                progress(size, size)
            for path, part in by_path.items():
                named = sorted(content.rglob(path.name), key=lambda path: len(path.parts))
                _place(named[0] if named else content, path, part, f"{archive}, an archive of {of.display_name},")
        for path, part in by_path.items():
            _keep(archive, part, path)
    return list(by_path)


def holds(archive: Path, path: Path) -> bool:
    """Whether a file or folder is, byte for byte, what a tar or zip archive holds under its name (CRC-32 of each file).

    Hidden files do not count. False for an archive that cannot be read.
    """
    try:
        with open_regular(archive) as raw:
            inside = dict(_checksums(raw, archive))
        if path.is_file():
            return [_crc_of(path)] == [crc for name, crc in inside.items() if name.name == path.name]
        named = {_below(name, path.name): crc for name, crc in inside.items() if path.name in name.parts}
        expected = {name: crc for name, crc in (named or inside).items() if not name.name.startswith(".")}
        there = {PurePosixPath(file.relative_to(path).as_posix()): file for file in files_in(path)}
        return expected.keys() == there.keys() and all(_crc_of(there[name]) == expected[name] for name in there)
    except (OSError, ValueError, DataError, *_DAMAGE):
        return False


def _checksums(raw: IO[bytes], archive: Path) -> Iterator[tuple[PurePosixPath, int]]:
    """Path and CRC-32 of every file in an archive, and of those in zips inside."""
    for name, content, _ in _files(raw, archive):
        if name.endswith(".zip"):
            yield from _checksums(content, archive)
        else:
            yield PurePosixPath(name), _crc(content)


def _files(raw: IO[bytes], archive: Path) -> Iterator[tuple[str, IO[bytes], int]]:
    """Name and content of every file in a tar or zip archive, and how many of its bytes come before its end."""
    if zipfile.is_zipfile(raw):
        with zipfile.ZipFile(raw) as packed:
            done = 0
            for info in packed.infolist():
                if not info.is_dir():
                    done += info.compress_size
                    with packed.open(info) as content:
                        yield info.filename, content, done
        return
    raw.seek(0)
    with tarfile.open(fileobj=raw, mode="r|*") as tar:
        for member in tar:
            inside = tar.extractfile(member) if member.isfile() else None
            if inside is not None:
                yield member.name, inside, raw.tell()
            elif not member.isdir():
                raise DataError(f"{archive}: {member.name} is a link or a device; expected files and folders")


def _below(name: PurePosixPath, folder: str) -> PurePosixPath:
    return PurePosixPath(*name.parts[name.parts.index(folder) + 1 :])


def _crc_of(file: Path) -> int:
    with file.open("rb") as content:
        return _crc(content)


def _crc(content: IO[bytes]) -> int:
    crc = 0
    while block := content.read(_BLOCK):
        crc = zlib.crc32(block, crc)
    return crc


def _place(unpacked: Path, path: Path, part: SplitFile, what: str) -> None:
    if part.sha256 and (sha256 := checksums(unpacked, remember=False).sha256) != part.sha256:
        raise DataError(f"{what} holds a {path.name} with sha256 {sha256}, expected {part.sha256}; fetch it again")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(unpacked, path)
    elif checksums(unpacked, remember=False) != checksums(path, remember=False):
        raise DataError(f"{path} is there already and differs from what {what} holds; move it away")


def _keep(archive: Path, part: SplitFile, path: Path) -> None:
    beside = path.parent / str(part.archive)
    if part.archive_md5 and not (part.md5 or part.sha256) and not beside.exists():
        try:
            os.link(archive, beside)
        except OSError:  # on another disk, or where there are no links
            shutil.copy2(archive, beside)


def _extract(archive: Path, folder: Path, progress: Progress | None) -> None:
    try:
        with open_regular(archive) as raw:
            size = os.fstat(raw.fileno()).st_size
            room = room_for(size)
            for name, content, done in _files(raw, archive):
                path = PurePosixPath(name)
                if path.is_absolute() or ".." in path.parts or "\\" in name or name[1:2] == ":":
                    raise DataError(f"{archive} holds the path {name!r}, which leads out of it; it is not unpacked")
                room = _write(content, folder.joinpath(*path.parts), room)
                if progress is not None:
                    progress(min(done, size - 1), size)
    except _DAMAGE as error:
        raise DataError(f"{archive} is damaged or no tar or zip archive ({error}); fetch it again") from error


def _write(content: IO[bytes], target: Path, room: int) -> int:
    """Write a file of at most ``room`` bytes; returns what is left. A file may say to be longer than all disks."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        while block := content.read(_BLOCK):
            if (room := room - len(block)) < 0:
                raise DataError(f"{target.name} unpacks to far more than an archive of its size holds; fetch it again")
            file.write(block)
    return room
