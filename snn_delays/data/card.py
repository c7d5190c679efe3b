"""The card of a data set, what is known about it and its files, and how it is read from TOML."""

import re
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from snn_delays.errors import ConfigError, DataError
from snn_delays.messages import did_you_mean
from snn_delays.reading import as_data_error, parse_toml, read_text

UNIDENTIFIED = "unidentified"
"""The display name of files that no card knows."""


@dataclass(frozen=True)
class SplitFile:
    """One split on disk: its file or folder, and the checksums by which it is known.

    ``file``: relative to the card's folder; empty for a set that is generated. ``md5``, ``sha256``: of the file, or of
    the folder (:func:`files.checksums`). ``content_sha256``: of the content of a file in SHD's layout
    (:func:`shd.content_sha256`), whichever version of HDF5 wrote it. ``archive``, ``archive_md5``, ``archive_sha256``:
    what it is unpacked from. ``parts``: for a split of several files in the card's folder, the md5 of each by name; a
    file may be gzipped, the md5 is of its content. ``remedy``: how to get a missing file, where it is not unpacked from
    an archive.
    """

    file: str
    samples: int
    md5: str | None = None
    sha256: str | None = None
    content_sha256: str | None = None
    archive: str | None = None
    archive_md5: str | None = None
    archive_sha256: str | None = None
    parts: dict[str, str] = field(default_factory=dict)
    remedy: str | None = None

    @property
    def made_here(self) -> bool:
        """Whether the split is made on the user's machine, so that its checksum cannot be known in advance."""
        return not (self.md5 or self.sha256 or self.content_sha256 or self.archive_md5 or self.parts)


@dataclass(frozen=True)
class Card:
    """A data set: source, citation, licence, splits, and the checksums that identify its files.

    ``reader``: one of :data:`opening.READERS`. ``folder``: relative to the data folder, or for a bundled set
    (``bundled``) beside the card. ``sensor``: ``[channels]``, or ``[polarity, height, width]`` of an event camera.
    ``time_unit``: how times are stored; bins finer than ``finest_dt_ms`` resolve nothing because of it. ``validation``:
    the default rule for the validation set. ``settings``: further arguments of the reader, such as the seed of a
    generated set. ``own``: path of the card or the files of a user's own data set, empty for the catalogue's;
    ``missing_split``: the remedy for a split that it does not have.
    """

    name: str
    display_name: str
    title: str
    description: str
    citation: str
    licence: str
    attribution: str
    source: str
    reader: str
    tonic_class: str
    folder: str
    bundled: bool
    sensor: list[int]
    n_classes: int
    time_unit: str
    finest_dt_ms: float
    validation: dict[str, Any]
    splits: dict[str, SplitFile]
    settings: dict[str, Any] = field(default_factory=dict)
    own: str = ""
    missing_split: str = ""

    @property
    def origin(self) -> str:
        """Where to get the files, as the words after "get it"."""
        return f" from {self.source}" if self.source else ""

    def split(self, split: str) -> SplitFile:
        """The file of a split. Raises ConfigError for a split that the data set does not have."""
        if split not in self.splits:
            remedy = f"; {self.missing_split}" if self.missing_split else ""
            raise ConfigError(
                f"data set {self.name!r} has no split {split!r}; choose {' or '.join(self.splits)}{remedy}"
            )
        return self.splits[split]


# What a card of the user's own need not say.
_OPTIONAL: dict[str, Any] = {
    **dict.fromkeys(("description", "citation", "licence", "attribution", "source", "tonic_class"), ""),
    **{"reader": "shd", "folder": ".", "bundled": False, "time_unit": "float16 seconds", "finest_dt_ms": 1.0},
    "validation": {"rule": "fraction"},
}


def datasets_folder() -> Path:
    """The folder of the cards: inside an installed package, else at the root of the repository."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_bundled" / "datasets", package.parent / "datasets"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"no folder of data set cards in {package / '_bundled'} or beside {package}; install the package again"
    )


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a card. Raises DataError if it cannot be read or is no TOML."""
    with as_data_error(f"cannot read the card {path}", "correct it", ValueError):
        return parse_toml(read_text(path))


def build(kind: Any, values: dict[str, Any], where: str) -> Any:
    """A dataclass from a table; ``where`` is named in errors. Raises DataError for a key that is unknown or missing."""
    known = {key.name for key in fields(kind)}
    if unknown := sorted(set(values) - known):
        hint = did_you_mean(unknown[0], sorted(known))
        raise DataError(f"{where}: unknown key {unknown[0]!r}; {hint}known are {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise DataError(f"{where}: {str(error).split('__init__() ')[-1]}") from error


def read_card(path: Path) -> Card:
    """Read a card of the catalogue. Raises DataError naming the file and the key that is missing or unknown."""
    card: Card = build(Card, _content_of(path), str(path))
    return card


def read_own_card(path: Path) -> Card:
    """Read a card of the user's own, as :func:`own_card`; its ``folder`` is relative to the card's."""
    if not path.is_file():
        raise DataError(f"there is no card {path}; give the path of a .toml file")
    content = _content_of(path)
    for key in ("own", "missing_split", "bundled"):
        if key in content:
            raise DataError(f"{path}: key {key!r} is not for cards of one's own; remove it")
    folder = (path.parent / content.get("folder", ".")).resolve()
    return own_card({**content, "folder": str(folder)}, str(path))


def own_card(values: dict[str, Any], path: str) -> Card:
    """The card of a user's own data set at ``path``; only name, sensor, n_classes and splits are required.

    Raises DataError for a key that is unknown or missing.
    """
    name = values.get("name", "")
    if not (isinstance(name, str) and re.fullmatch(r"[\w.-]+", name)):
        raise DataError(f"{path}: the name of a data set has letters, digits, '.', '_' and '-', got {name!r}")
    card: Card = build(Card, {**_OPTIONAL, "display_name": name, "title": name, **values, "own": path}, path)
    return card


def _content_of(path: Path) -> dict[str, Any]:
    content = read_toml(path)
    splits = content.get("splits", {})
    if not (isinstance(splits, dict) and all(isinstance(values, dict) for values in splits.values())):
        raise DataError(f"{path}: splits must be tables, as [splits.train]")
    files = {name: build(SplitFile, values, f"{path}: splits.{name}") for name, values in splits.items()}
    return {**content, "splits": files}
