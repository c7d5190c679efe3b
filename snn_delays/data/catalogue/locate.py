"""Where the files of a data set are, what to do if they are missing, and archives unpacked there."""

import lzma
from pathlib import Path

from snn_delays.data.card import UNIDENTIFIED, Card, SplitFile, datasets_folder
from snn_delays.data.catalogue import lookup
from snn_delays.data.catalogue.identity import check_parts, find_parts, identify, recognise
from snn_delays.data.catalogue.unpack import unpack_archive
from snn_delays.data.files import Progress, checksums, data_folder
from snn_delays.errors import DataError
from snn_delays.files import atomic_path, cache_folder
from snn_delays.messages import command
from snn_delays.reading import as_data_error, open_regular


def find_data(of: Card, split: str, progress: Progress | None = None) -> Path:
    """The file or folder of a split, ready to be read. A bundled data set is expanded on first use.

    The file of a generated data set is its card. Raises ConfigError for an unknown split, DataError saying what to
    place where if the file is missing.
    """
    part = of.split(split)
    path = data_path(of, part)
    if part.parts:
        find_parts(of, part)
        return path
    if of.bundled and part.file:
        return _expanded(of, part, path, progress)
    if path.exists() or not part.file:
        return path
    if part.remedy is not None:
        remedy = part.remedy
    elif part.archive is not None:
        md5 = f" (md5 {part.archive_md5})" if part.archive_md5 else ""
        run = command("data", "unpack", part.archive)
        remedy = f"get {part.archive}{md5}{of.origin}, place it in {path.parent} and unpack it there, or run: {run}"
    else:
        md5 = f" (md5 {part.md5})" if part.md5 else ""
        remedy = f"get it{of.origin} and place it there unpacked{md5}"
    moved = f"see folder in {of.own}" if of.own else "SNN_DELAYS_DATA moves the folder"
    raise DataError(f"{of.display_name}, split {split}: {path} is missing; {remedy}. {moved}")


def data_path(of: Card, part: SplitFile) -> Path:
    """Where the file or folder of a split belongs, whether or not it is there."""
    if not part.file and not part.parts:
        return Path(of.own) if of.own else datasets_folder() / f"{of.name}.toml"
    if not of.bundled:
        return data_folder() / of.folder / part.file
    # The name of the folder has the archive's checksum: a new release never meets the expansion of an old one.
    return cache_folder() / "expanded" / f"{of.name}-{(part.archive_sha256 or '')[:12]}" / "SHD" / part.file


def verify(of: Card, split: str) -> Path:
    """Compute the checksum of a split's file anew and compare it with the card's; returns the path.

    Raises DataError if the file is missing, or is not that on the card.
    """
    path, part = find_data(of, split), of.split(split)
    if part.parts:
        check_parts(of, part, remember=False)
        return path
    known = recognise(path, remember=False)
    if not any((c.name, s) == (of.name, split) for c, s in known):
        really = f"the split {known[0][1]} of {known[0][0].display_name}" if known else UNIDENTIFIED
        raise DataError(
            f"{path} should be the split {split} of {of.display_name}, but by its checksum it is {really}; fetch or "
            "unpack it again"
        )
    return path


def unpack(archive_path: Path, out_path: Path | None = None, progress: Progress | None = None) -> Path:
    """Unpack the tar or zip archive of a data set to where :func:`find_data` looks for it; returns where that is.

    The checksum of the archive decides which data set and splits it contains. ``out_path``: another folder.

    Raises DataError if the archive is unknown or damaged, or if what was unpacked is not what the card promises.
    """
    archive_path = Path(archive_path)
    sums = checksums(archive_path)
    for card in lookup.cards().values():
        parts = [p for p in card.splits.values() if sums.sha256 == p.archive_sha256 or sums.md5 == p.archive_md5]
        if parts and not card.bundled:
            folder = Path(out_path) if out_path is not None else data_folder() / card.folder
            paths = unpack_archive(archive_path, card, parts, folder, progress)
            return paths[0] if len(set(paths)) == 1 else folder
    raise DataError(
        f"{archive_path} has sha256 {sums.sha256}, which no card in {datasets_folder()} knows; "
        "it is damaged or another file: fetch it again"
    )


def _expanded(of: Card, part: SplitFile, path: Path, progress: Progress | None) -> Path:
    """The file of a bundled split, decompressed into the cache unless it is there and whole."""
    if path.exists() and identify(path) == of.display_name:
        return path
    archive = datasets_folder() / of.folder / str(part.archive)
    if not archive.exists():
        raise DataError(f"{archive} is missing, though it comes with the package; install the package again")
    if (sha256 := checksums(archive).sha256) != part.archive_sha256:
        raise DataError(
            f"{archive} has sha256 {sha256}, expected {part.archive_sha256}; it is damaged: install the package again"
        )
    size = archive.stat().st_size
    with (
        as_data_error(f"cannot write {path}", "free some space or choose a folder that can be written"),
        open_regular(archive) as packed,
        lzma.open(packed) as content,
        atomic_path(path) as temporary,
        temporary.open("wb") as file,
    ):
        while block := content.read(1 << 20):
            file.write(block)
            if progress is not None:
                progress(min(packed.tell(), size - 1), size)
    if (name := identify(path)) != of.display_name:
        raise DataError(f"{path} was written, but its checksum is {name}, not that of {of.display_name}; remove it")
    if progress is not None:
        progress(size, size)
    return path
