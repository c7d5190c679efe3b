"""Splits of several files in one folder, each of which may be gzipped."""

import gzip
import hashlib
import zlib
from pathlib import Path

from snn_delays.data.card import Card, SplitFile
from snn_delays.data.files import data_folder, remembered
from snn_delays.errors import DataError


def find_parts(of: Card, part: SplitFile) -> dict[str, Path]:
    """The files of a split by the names on the card, as they are or with ``.gz``.

    Raises DataError saying which file to place where, and its md5.
    """
    folder, found = data_folder() / of.folder, {}
    for name, md5 in part.parts.items():
        path = next((path for path in (folder / name, folder / f"{name}.gz") if path.is_file()), None)
        if path is None:
            origin = f" from {of.source}" if of.source else ""
            raise DataError(
                f"{of.display_name}: {folder / name} is missing, with and without .gz; get it{origin} and "
                f"place it there (md5 {md5} when unpacked). SNN_DELAYS_DATA moves the folder"
            )
        found[name] = path
    return found


def check_parts(of: Card, part: SplitFile, *, remember: bool = True) -> None:
    """Compare what each file holds with the md5 on the card. Raises DataError naming the first that differs."""
    for name, path in find_parts(of, part).items():
        md5 = remembered(path, "content md5", lambda path=path: _md5(path)) if remember else _md5(path)  # type: ignore[misc]
        if md5 != part.parts[name]:
            raise DataError(
                f"{path} should be {name} of {of.display_name}, with md5 {part.parts[name]} when unpacked, but it has "
                f"{md5}; get it again from {of.source}"
            )


def _md5(path: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with path.open("rb") as file:
            packed = file.read(2) == b"\x1f\x8b"
        with gzip.open(path) if packed else path.open("rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read to its end ({error}); get it again") from error
    return digest.hexdigest()
