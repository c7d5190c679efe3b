"""Fetching a data set through Tonic, which knows the addresses, into the folder where both look for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from snn_delays.data.card import Card, SplitFile
from snn_delays.data.catalogue.locate import data_path, find_data, verify
from snn_delays.data.files import checksums, data_folder
from snn_delays.data.formats.tonic import tonic_refuses
from snn_delays.errors import BackendUnavailableError, ConfigError, DataError

_BY_NAME = ("SSC",)  # classes of Tonic that take split=; the others take train=True or False
_WHOLE = ("CIFAR10DVS",)  # classes that have one part only


def download(of: Card, callback: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Fetch the splits of a data set that are missing, compare all checksums, and return the paths.

    An archive that an earlier download left unfinished, which Tonic would take
    for the whole, is renamed and fetched again. ``callback`` receives a line for each step.

    Raises ConfigError for a set that Tonic does not have in the form we read, BackendUnavailableError without Tonic,
    DataError naming what to place where by hand if fetching fails, or if what came is not what the card promises.
    """
    if not of.tonic_class or of.bundled or of.folder not in (of.tonic_class, ""):
        by_hand = next(filter(None, (_missing(of, split) for split in of.splits)), "its files are all there")
        raise ConfigError(f"{of.display_name} is not fetched: {by_hand}")
    if refusal := tonic_refuses():
        raise BackendUnavailableError(refusal)
    paths = []
    for split, part in of.splits.items():
        if missing := _missing(of, split):
            _set_aside(of, part, callback)
            callback(f"fetching {of.display_name}, {split}, through Tonic's {of.tonic_class}")
            try:
                import tonic.datasets

                fetch = getattr(tonic.datasets, of.tonic_class)
                fetch(save_to=str(data_folder()), **_split_argument(of.tonic_class, split))
            except Exception as error:  # Tonic lets through whatever the network, the disk or the server throws
                raise DataError(f"Tonic could not fetch {of.display_name} ({error}). By hand: {missing}") from error
        paths.append(verify(of, split))
    return paths


def _missing(of: Card, split: str) -> str:
    """What to place where for a split whose files are missing; empty if they are there."""
    try:
        find_data(of, split)
    except DataError as error:
        return str(error)
    return ""


def _set_aside(of: Card, part: SplitFile, callback: Callable[[str], None]) -> None:
    archive = data_path(of, part).parent / str(part.archive)
    if part.archive and part.archive_md5 and archive.is_file() and checksums(archive).md5 != part.archive_md5:
        aside = archive.with_name(f"{archive.name}.unfinished")
        archive.replace(aside)
        callback(f"{archive} is not whole: now {aside.name}")


def _split_argument(tonic_class: str, split: str) -> dict[str, Any]:
    if tonic_class in _WHOLE:
        return {}
    return {"split": split} if tonic_class in _BY_NAME else {"train": split == "train"}
