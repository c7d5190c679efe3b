"""Which data set a file or folder is, decided by checksums alone."""

from pathlib import Path

from snn_delays.data.card import UNIDENTIFIED, Card, SplitFile
from snn_delays.data.catalogue import lookup
from snn_delays.data.catalogue.unpack import holds
from snn_delays.data.files import checksums, remembered
from snn_delays.data.formats.hdf5 import trust
from snn_delays.data.formats.shd import content_sha256
from snn_delays.errors import DataError

Known = list[tuple[Card, str]]


def identify(path: Path, *, remember: bool = True) -> str:
    """The display name of the data set that a file or folder belongs to; ``"unidentified"`` if no card knows it."""
    found = recognise(path, remember=remember)
    return found[0][0].display_name if found else UNIDENTIFIED


def recognise(path: Path, *, remember: bool = True) -> Known:
    """The data sets and splits that a file or folder is, by checksum; several where they share their files.

    In this order: by its own checksums; by the archive beside it, whose checksum a card knows and whose content it
    equals; by the content of an HDF5 file, as another version of HDF5 may store the same data in other bytes. Raises
    DataError if it is missing; a damaged file is none.
    """
    found = checksums(path, remember=remember)
    parts = [(card, name, part) for card in lookup.cards().values() for name, part in card.splits.items()]
    known = [(c, name) for c, name, part in parts if found.sha256 == part.sha256 or found.md5 == part.md5]
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
        content = remembered(path, "content", lambda: content_sha256(path)) if remember else content_sha256(path)
    except DataError:
        return []
    return [(c, name) for c, name, part in parts if content == part.content_sha256]


def _is_unpacked(path: Path, archive: Path, part: SplitFile, remember: bool) -> bool:
    """Whether a folder or file is what the archive beside it contains under that name."""
    if checksums(archive, remember=remember).md5 != part.archive_md5:
        return False

    def compared() -> str:
        return "yes" if holds(archive, path) else "no"

    return (remembered(path, f"unpacked from {part.archive_md5}", compared) if remember else compared()) == "yes"
