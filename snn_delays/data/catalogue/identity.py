"""Which data set a file or folder is, decided by checksums alone."""

import gzip
import hashlib
import zlib
from functools import partial
from pathlib import Path

from snn_delays.data.card import UNIDENTIFIED, Card, SplitFile
from snn_delays.data.catalogue import lookup
from snn_delays.data.catalogue.unpack import holds
from snn_delays.data.files import checksums, data_folder, remembered
from snn_delays.data.formats.hdf5 import trust
from snn_delays.data.formats.shd import content_sha256
from snn_delays.errors import DataError
from snn_delays.reading import as_data_error

Known = list[tuple[Card, str]]


def identify(path: Path, *, remember: bool = True) -> str:
    """The display name of the data set that a file or folder belongs to; ``"unidentified"`` if no card knows it."""
    known = recognise(path, remember=remember)
    return known[0][0].display_name if known else UNIDENTIFIED


def recognise(path: Path, *, remember: bool = True) -> Known:
    """The data sets and splits that a file or folder is, by checksum; several where they share their files.

    In this order: by its own checksums; by the archive beside it, whose checksum a card knows and whose content it
    equals; by the content of an HDF5 file, as another version of HDF5 may store the same data in other bytes. Raises
    DataError if it is missing; a damaged file is none.
    """
    sums = checksums(path, remember=remember)
    parts = [(card, name, part) for card in lookup.cards().values() for name, part in card.splits.items()]
    known = [(c, name) for c, name, part in parts if sums.sha256 == part.sha256 or sums.md5 == part.md5]
    if not known:
        unpacked: dict[Path, bool] = {}
        for c, name, part in parts:
            archive = path.parent / str(part.archive)
            if part.archive_md5 and path.name == Path(part.file).name and archive.is_file():
                if archive not in unpacked:
                    unpacked[archive] = _is_unpacked(path, archive, part, remember)
                known += [(c, name)] * unpacked[archive]
    if path.is_dir():
        return known
    if known:
        if remember:
            trust(path)
        return known
    try:
        content = remembered(path, "content", lambda: content_sha256(path), remember=remember)
    except DataError:
        return []
    return [(c, name) for c, name, part in parts if content == part.content_sha256]


def _is_unpacked(path: Path, archive: Path, part: SplitFile, remember: bool) -> bool:
    """Whether a folder or file is what the archive beside it contains under that name."""
    if checksums(archive, remember=remember).md5 != part.archive_md5:
        return False
    what = f"unpacked from {part.archive_md5}"
    return remembered(path, what, lambda: "yes" if holds(archive, path) else "no", remember=remember) == "yes"


def find_parts(of: Card, part: SplitFile) -> dict[str, Path]:
    """The files of a split of several files by the names on the card, as they are or with ``.gz``.

    Raises DataError saying which file to place where, and its md5.
    """
    folder, paths = data_folder() / of.folder, {}
    for name, md5 in part.parts.items():
        path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
        if path is None:
            raise DataError(
                f"{of.display_name}: {folder / name} is missing, with and without .gz; get it{of.origin} and "
                f"place it there (md5 {md5} when unpacked). SNN_DELAYS_DATA moves the folder"
            )
        paths[name] = path
    return paths


def check_parts(of: Card, part: SplitFile, *, remember: bool = True) -> None:
    """Compare what each file holds with the md5 on the card. Raises DataError naming the first that differs."""
    for name, path in find_parts(of, part).items():
        md5 = remembered(path, "content md5", partial(_md5, path), remember=remember)
        if md5 != part.parts[name]:
            raise DataError(
                f"{path} should be {name} of {of.display_name}, with md5 {part.parts[name]} when unpacked, but it has "
                f"{md5}; get it again from {of.source}"
            )


def _md5(path: Path) -> str:
    """md5 of what a file holds, which may be gzipped."""
    digest = hashlib.md5(usedforsecurity=False)
    with as_data_error(f"{path} cannot be read to its end", "get it again", EOFError, zlib.error):
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
