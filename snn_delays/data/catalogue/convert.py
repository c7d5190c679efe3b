"""Where the files of a data set lie, and archives put there."""

from pathlib import Path

from snn_delays.data.archive import read_archive
from snn_delays.data.catalogue.lookup import (
    UNIDENTIFIED,
    Card,
    SplitFile,
    card,
    cards,
    datasets_folder,
    identify,
    recognise,
)
from snn_delays.data.catalogue.parts import check_parts, find_parts
from snn_delays.data.catalogue.unpack import unpack_archive
from snn_delays.data.files import Progress, checksums, data_folder
from snn_delays.data.formats.shd import write_shd_hdf5
from snn_delays.errors import DataError
from snn_delays.files import cache_folder
from snn_delays.messages import command


def convert_archive(archive_path: Path, out_path: Path | None = None, progress: Progress | None = None) -> Path:
    """Put the archive of a data set where :func:`find_data` looks for it, ready to be read; returns where that is.

    The checksum of the archive says which data set and splits it is. A compact archive of spikes becomes an HDF5 file
    in SHD's layout, ``out_path`` if given, with the empty ``.zip`` beside it that Tonic asks for. A tar or zip archive
    is unpacked, into the folder ``out_path`` if given.

    Raises DataError if the archive is unknown or damaged, or if what was written is not what the card promises.
    """
    archive_path = Path(archive_path)
    found = checksums(archive_path)
    for known in cards().values():
        parts = [
            part
            for part in known.splits.values()
            if found.sha256 == part.archive_sha256 or found.md5 == part.archive_md5
        ]
        if not parts:
            continue
        if str(parts[0].archive).endswith(".npz.xz"):
            target = Path(out_path) if out_path is not None else data_path(known, parts[0])
            return _expand(archive_path, target, known, progress)
        folder = Path(out_path) if out_path is not None else data_folder() / known.folder
        paths = unpack_archive(archive_path, known, parts, folder, progress)
        return paths[0] if len(set(paths)) == 1 else folder
    raise DataError(
        f"{archive_path} has sha256 {found.sha256}, which no card in {datasets_folder()} knows; "
        "it is damaged or another file: fetch it again"
    )


def find_data(name: str | Path, split: str, progress: Progress | None = None) -> Path:
    """The file or folder of a data set and split, ready to be read. A bundled set is expanded on first use.

    A set that is generated has its card for a file. Raises ConfigError for an unknown name or split, DataError saying
    what to place where if the file is missing.
    """
    found = card(name)
    part = found.split(split)
    path = data_path(found, part)
    if part.parts:
        find_parts(found, part)
        return path
    if not part.file:
        return Path(found.own) if found.own else datasets_folder() / f"{found.name}.toml"
    if found.bundled:
        return _expand_bundled(found, part, path, progress)
    if path.exists():
        return path
    origin = f" from {found.source}" if found.source else ""
    if part.remedy is not None:
        remedy = part.remedy
    elif part.archive_sha256 is not None:
        remedy = f"convert it with: {command('data', 'convert', part.archive)} (sha256 {part.archive_sha256})"
    elif part.archive is not None:
        md5 = f" (md5 {part.archive_md5})" if part.archive_md5 else ""
        remedy = f"get {part.archive}{md5}{origin}, place it in {path.parent} and unpack it there"
    else:
        md5 = f" (md5 {part.md5})" if part.md5 else ""
        remedy = f"get it{origin} and place it there unpacked{md5}"
    moved = f"see folder in {found.own}" if found.own else "SNN_DELAYS_DATA moves the folder"
    raise DataError(f"{found.display_name}, split {split}: {path} is missing; {remedy}. {moved}")


def verify(name: str, split: str) -> Path:
    """Take the checksum of a split's file afresh and compare it with the card's; returns the path.

    Raises DataError if it is missing, or is not the one on the card.
    """
    path = find_data(name, split)
    of = card(name)
    if of.split(split).parts:
        check_parts(of, of.split(split), remember=False)
        return path
    found = recognise(path, remember=False)
    if not any((c.name, s) == (name, split) for c, s in found):
        really = f"the split {found[0][1]} of {found[0][0].display_name}" if found else UNIDENTIFIED
        raise DataError(
            f"{path} should be the split {split} of {of.display_name}, but by its checksum it is {really}; fetch or "
            "convert it again"
        )
    return path


def data_path(of: Card, part: SplitFile) -> Path:
    """Where the file or folder of a split belongs."""
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
        write_shd_hdf5(path, samples, len(samples), progress=progress, n_spikes=samples.step.size)
        path.with_name(path.name + ".zip").touch()  # Tonic takes the data as present when an archive lies beside it
    except OSError as error:
        raise DataError(
            f"cannot write {path} ({error}); free some space or choose a folder that can be written"
        ) from error
    if (found := identify(path)) != of.display_name:
        name = "unknown to every card" if found == UNIDENTIFIED else f"that of {found}"
        raise DataError(f"{path} was written, but its checksum is {name}, not that of {of.display_name}; remove it")
    return path
