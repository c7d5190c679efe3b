"""Fetching a data set through Tonic, which knows the addresses, into the folder where both look for it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from snn_delays.data.catalogue.convert import data_path, find_data, verify
from snn_delays.data.catalogue.lookup import Card, SplitFile, card
from snn_delays.data.files import checksums, data_folder
from snn_delays.data.formats.tonic import tonic_refuses
from snn_delays.errors import BackendUnavailableError, ConfigError, DataError

_BY_NAME = ("SSC",)  # classes of Tonic whose split is named; others are told whether it is the training split
_WHOLE = ("CIFAR10DVS",)  # classes that have one part only


def download(name: str, said: Callable[[str], None] = lambda line: None) -> list[Path]:
    """Fetch every split of a data set that is not there, compare its checksum, and return where they lie.

    What is there is left alone, and its checksum compared. An archive that an earlier download left unfinished, which
    Tonic would take for the whole, is renamed and fetched again. ``said`` is told what is being done.

    Raises ConfigError for a set that Tonic does not have in the form we read, BackendUnavailableError without Tonic,
    DataError naming what to place where by hand if fetching fails, or if what came is not what the card promises.
    """
    found = card(name)
    if not found.tonic_class or found.bundled or found.folder not in (found.tonic_class, ""):
        raise ConfigError(f"{found.display_name} is not fetched: {_by_hand(found) or 'its files are all there'}")
    if refusal := tonic_refuses():
        raise BackendUnavailableError(refusal)
    paths = []
    for split, part in found.splits.items():
        try:
            find_data(name, split)
        except DataError as error:
            missing = str(error)
        else:
            paths.append(verify(name, split))
            continue
        _set_aside(found, part, said)
        said(f"fetching {found.display_name}, {split}, through Tonic's {found.tonic_class}")
        try:
            _fetch(found.tonic_class, split)
        except Exception as error:  # Tonic lets through whatever the network, the disk or the server throws
            raise DataError(f"Tonic could not fetch {found.display_name} ({error}). By hand: {missing}") from error
        paths.append(verify(name, split))
    return paths


def _by_hand(of: Card) -> str:
    for split in of.splits:
        try:
            find_data(of.name, split)
        except DataError as error:
            return str(error)
    return ""


def _set_aside(of: Card, part: SplitFile, said: Callable[[str], None]) -> None:
    archive = data_path(of, part).parent / str(part.archive)
    if part.archive and part.archive_md5 and archive.is_file() and checksums(archive).md5 != part.archive_md5:
        aside = archive.with_name(f"{archive.name}.unfinished")
        archive.replace(aside)
        said(f"{archive} is not whole: now {aside.name}")


def _fetch(tonic_class: str, split: str) -> None:
    import tonic.datasets

    arguments: dict[str, Any] = {"save_to": str(data_folder())}
    if tonic_class in _BY_NAME:
        arguments["split"] = split
    elif tonic_class not in _WHOLE:
        arguments["train"] = split == "train"
    getattr(tonic.datasets, tonic_class)(**arguments)
