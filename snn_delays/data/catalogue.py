"""What data sets there are, and which of them a file is: one TOML card each, checksums decide."""

import sys
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from snn_delays.data.files import checksums, remembered
from snn_delays.errors import ConfigError, DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

UNIDENTIFIED = "unidentified"


@dataclass(frozen=True)
class SplitFile:
    """One split on disk: its file, and the checksums by which it is known.

    ``md5``, ``sha256``: of the HDF5 file. ``content_sha256``: of what it says (:func:`shd.content_sha256`), which holds
    whichever version of HDF5 wrote it. ``archive``, ``archive_sha256``: the compact file it is converted from.
    """

    file: str
    samples: int
    md5: str | None = None
    sha256: str | None = None
    content_sha256: str | None = None
    archive: str | None = None
    archive_sha256: str | None = None


@dataclass(frozen=True)
class Card:
    """A data set: where it comes from, who made it, what may be done with it, and how its files are known.

    ``folder``: relative to the data folder, or for a bundled set (``bundled``) beside the card. ``finest_dt_ms``: bins
    finer than this resolve nothing, because of how times are stored. ``validation``: the default rule that holds out
    part of the training set.
    """

    name: str
    display_name: str
    title: str
    description: str
    citation: str
    licence: str
    attribution: str
    source: str
    tonic_class: str
    folder: str
    bundled: bool
    n_channels: int
    n_classes: int
    time_unit: str
    finest_dt_ms: float
    validation: dict[str, Any]
    splits: dict[str, SplitFile]

    def split(self, split: str) -> SplitFile:
        """The file of a split. Raises ConfigError for a split that the data set does not have."""
        if split not in self.splits:
            raise ConfigError(f"data set {self.name!r} has no split {split!r}; choose {' or '.join(self.splits)}")
        return self.splits[split]


def datasets_folder() -> Path:
    """The folder of the cards: inside an installed package, else at the root of the repository."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_bundled" / "datasets", package.parent / "datasets"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"no folder of data set cards in {package / '_bundled'} or beside {package}; install the package again"
    )


def read_card(path: Path) -> Card:
    """Read one card. Raises DataError naming the file and the key that is missing, unknown or of the wrong type."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the card {path}: {error}") from error
    splits = content.pop("splits", {})
    made = {name: _build(SplitFile, values, f"{path}: splits.{name}") for name, values in splits.items()}
    card: Card = _build(Card, {**content, "splits": made}, str(path))
    return card


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    known = {field.name for field in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise DataError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise DataError(f"{where}: {str(error).split('__init__() ')[-1]}") from error


@lru_cache(maxsize=4)
def _cards(folder: Path) -> dict[str, Card]:
    found = sorted((read_card(path) for path in folder.glob("*.toml")), key=lambda card: card.name)
    return {card.name: card for card in found}


def cards() -> dict[str, Card]:
    """All data sets by name."""
    return dict(_cards(datasets_folder()))


def card(name: str) -> Card:
    """The card of a data set. Raises ConfigError for a name that is not in the catalogue."""
    known = cards()
    if name not in known:
        raise ConfigError(f"unknown data set {name!r}; the catalogue has {', '.join(known)}")
    return known[name]


def identify(path: Path, *, remember: bool = True) -> str:
    """Which data set a HDF5 file is, as its display name, decided by checksum alone; ``"unidentified"`` if none.

    First by the checksums of the file, then by that of its content, as another version of HDF5 may lay out the same
    data in other bytes. Raises DataError if the file is missing; a damaged one is unidentified.
    """
    known = [(card, part) for card in cards().values() for part in card.splits.values()]
    found = checksums(path, remember=remember)
    for card, part in known:
        if found.sha256 == part.sha256 or found.md5 == part.md5:
            return card.display_name
    try:
        content = remembered(path, "content", lambda: _content(path)) if remember else _content(path)
    except DataError:
        return UNIDENTIFIED
    for card, part in known:
        if content == part.content_sha256:
            return card.display_name
    return UNIDENTIFIED


def _content(path: Path) -> str:
    from snn_delays.data.shd import content_sha256

    return content_sha256(path)
