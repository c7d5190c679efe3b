"""Compact archives to HDF5 files in SHD's layout; finding the HDF5 file of a data set."""

from pathlib import Path

from snn_delays.data.archive import read_archive
from snn_delays.data.catalogue import UNIDENTIFIED, Card, SplitFile, card, cards, datasets_folder, identify
from snn_delays.data.files import Progress, checksums, data_folder
from snn_delays.data.shd import write_shd_hdf5
from snn_delays.errors import DataError
from snn_delays.files import cache_folder


def convert_archive(archive_path: Path, out_path: Path | None = None, progress: Progress | None = None) -> Path:
    """Turn a compact archive of a data set into the HDF5 file that SHD's readers read; returns its path.

    The checksum of the archive says which data set and split it is. Without ``out_path`` the file goes where
    :func:`find_hdf5` looks for it, with the empty ``.zip`` beside it that Tonic asks for.

    Raises DataError if the archive is unknown or damaged, or if what was written is not what the card promises.
    """
    archive_path = Path(archive_path)
    found = checksums(archive_path).sha256
    for known in cards().values():
        for part in known.splits.values():
            if part.archive_sha256 == found:
                target = Path(out_path) if out_path is not None else hdf5_path(known, part)
                return _expand(archive_path, target, known, progress)
    raise DataError(
        f"{archive_path} has sha256 {found}, which no card in {datasets_folder()} knows; "
        "it is damaged or another file: fetch it again"
    )


def find_hdf5(name: str, split: str, progress: Progress | None = None) -> Path:
    """The HDF5 file of a data set and split, ready to be read. A bundled set is expanded on first use.

    Raises ConfigError for an unknown name or split; DataError saying what to place where if the file is missing.
    """
    found = card(name)
    part = found.split(split)
    path = hdf5_path(found, part)
    if found.bundled:
        return _expand_bundled(found, part, path, progress)
    if path.exists():
        return path
    if part.archive is not None:
        remedy = f"convert it with: snn-delays data convert {part.archive} (sha256 {part.archive_sha256})"
    else:
        remedy = f"get it from {found.source} and place it there unpacked (md5 {part.md5})"
    raise DataError(
        f"{found.display_name}, split {split}: {path} is missing; {remedy}. SNN_DELAYS_DATA moves the folder"
    )


def verify(name: str, split: str) -> Path:
    """Take the checksum of a split's file afresh and compare it with the card's; returns the path.

    Raises DataError if the file is missing, or is not the one on the card.
    """
    path = find_hdf5(name, split)
    expected = card(name).display_name
    if (found := identify(path, remember=False)) != expected:
        raise DataError(f"{path} should be {expected}, but by its checksum it is {found}; fetch or convert it again")
    return path


def hdf5_path(of: Card, part: SplitFile) -> Path:
    """Where the HDF5 file of a split belongs."""
    if not of.bundled:
        return data_folder() / of.folder / part.file
    # The name of the folder carries the archive's checksum: a new release of the data never meets an old expansion.
    return cache_folder() / "expanded" / f"{of.name}-{(part.archive_sha256 or '')[:12]}" / "SHD" / part.file


def _expand_bundled(of: Card, part: SplitFile, path: Path, progress: Progress | None) -> Path:
    if path.exists() and identify(path) == of.display_name:
        return path
    archive = datasets_folder() / of.folder / str(part.archive)
    if not archive.exists():
        raise DataError(f"{archive} is missing, though it travels with the package; install the package again")
    found = checksums(archive).sha256
    if found != part.archive_sha256:
        raise DataError(
            f"{archive} has sha256 {found}, expected {part.archive_sha256}; it is damaged: install the package again"
        )
    return _expand(archive, path, of, progress)


def _expand(archive: Path, path: Path, of: Card, progress: Progress | None) -> Path:
    samples = read_archive(archive)
    try:
        write_shd_hdf5(path, samples, len(samples), progress=progress)
        path.with_name(path.name + ".zip").touch()  # Tonic takes the data as present when an archive lies beside it
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error}); free some space or choose a folder that can be written"
        ) from error
    if (found := identify(path)) != of.display_name:
        name = "unknown to every card" if found == UNIDENTIFIED else f"that of {found}"
        raise DataError(f"{path} was written, but its checksum is {name}, not that of {of.display_name}; remove it")
    return path
