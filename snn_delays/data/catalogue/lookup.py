"""What data sets there are, and which of them a file is: one TOML card each, checksums decide."""

import hashlib
import os
import re
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from snn_delays.data.catalogue.toml_cards import build, read_toml
from snn_delays.data.files import checksums, remembered
from snn_delays.errors import ConfigError, DataError
from snn_delays.messages import did_you_mean

UNIDENTIFIED = "unidentified"


@dataclass(frozen=True)
class SplitFile:
    """One split on disk: its file or folder, and the checksums by which it is known.

    ``file``: relative to the card's folder; empty for a set that is generated. ``md5``, ``sha256``: of the file, or of
    the folder (:func:`files.checksums`). ``content_sha256``: of what a file in SHD's layout says
    (:func:`shd.content_sha256`), which holds whichever version of HDF5 wrote it. ``archive``, ``archive_md5``,
    ``archive_sha256``: what it is unpacked or converted from. ``parts``: of a split that is several files in the card's
    folder, the md5 of each by name; any of them may lie there gzipped, and the md5 is of what was packed. ``remedy``:
    how to come by a missing file, where that is not the usual way.
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
        """Whether the split is made on the user's machine, so that nobody can know its checksum beforehand."""
        return not (self.md5 or self.sha256 or self.content_sha256 or self.archive_md5 or self.parts)


@dataclass(frozen=True)
class Card:
    """A data set: where it comes from, who made it, what may be done with it, and how its files are known.

    ``reader``: one of :data:`recordings.READERS`. ``folder``: relative to the data folder, or for a bundled set
    (``bundled``) beside the card. ``sensor``: ``[channels]``, or ``[polarity, height, width]`` of an event camera.
    ``time_unit``: how times are stored. ``finest_dt_ms``: bins finer than this resolve nothing because of it.
    ``validation``: the default rule that holds out part of the training set. ``settings``: what a reader needs to know
    besides, such as the seed of a generated set. ``own``: path of the card or the files of a data set of the user's
    own, empty for the catalogue's; ``missing_split``: what to do about a split that it does not have.
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

    def split(self, split: str) -> SplitFile:
        """The file of a split. Raises ConfigError for a split that the data set does not have."""
        if split not in self.splits:
            remedy = f"; {self.missing_split}" if self.missing_split else ""
            raise ConfigError(
                f"data set {self.name!r} has no split {split!r}; choose {' or '.join(self.splits)}{remedy}"
            )
        return self.splits[split]

    @staticmethod
    def of_own(values: dict[str, Any], path: str) -> "Card":
        """The card of a data set of the user's own at ``path``: what nobody but a publisher knows may be left out.

        Raises DataError for a key that is unknown or missing.
        """
        name = values.get("name", "")
        if not (isinstance(name, str) and re.fullmatch(r"[\w.-]+", name)):
            raise DataError(f"{path}: the name of a data set has letters, digits, '.', '_' and '-', got {name!r}")
        known: Card = build(Card, {**_OWN, "display_name": name, "title": name, **values, "own": path}, path)
        return known


# What a card of the user's own need not say.
_OWN: dict[str, Any] = {
    "description": "", "citation": "", "licence": "", "attribution": "", "source": "", "tonic_class": "",
    "reader": "shd", "folder": ".", "bundled": False, "time_unit": "float16 seconds", "finest_dt_ms": 1.0,
    "validation": {"rule": "fraction"},
}  # fmt: skip


def datasets_folder() -> Path:
    """The folder of the cards: inside an installed package, else at the root of the repository."""
    package = Path(__file__).resolve().parents[2]
    for folder in (package / "_bundled" / "datasets", package.parent / "datasets"):
        if folder.is_dir():
            return folder
    raise DataError(
        f"no folder of data set cards in {package / '_bundled'} or beside {package}; install the package again"
    )


def read_card(path: Path) -> Card:
    """Read one card. Raises DataError naming the file and the key that is missing, unknown or of the wrong type."""
    card: Card = build(Card, _content_of(path), str(path))
    return card


def read_own_card(path: Path) -> Card:
    """Read a card of the user's own; its ``folder`` is relative to the folder that the card lies in.

    ``name``, ``sensor``, ``n_classes`` and ``splits`` are needed, all else of a :class:`Card` may be left out. Raises
    DataError as :func:`read_card` does, or if there is no such file.
    """
    if not path.is_file():
        raise DataError(f"there is no card {path}; give the path of a .toml file")
    content = _content_of(path)
    for key in ("own", "missing_split", "bundled"):
        if key in content:
            raise DataError(f"{path}: key {key!r} is not for cards of one's own; remove it")
    folder = (path.parent / content.get("folder", ".")).resolve()
    return Card.of_own({**content, "folder": str(folder)}, str(path))


def _content_of(path: Path) -> dict[str, Any]:
    content = read_toml(path)
    splits = content.get("splits", {})
    if not (isinstance(splits, dict) and all(isinstance(values, dict) for values in splits.values())):
        raise DataError(f"{path}: splits must be tables, as [splits.train]")
    made = {name: build(SplitFile, values, f"{path}: splits.{name}") for name, values in splits.items()}
    return {**content, "splits": made}


@lru_cache(maxsize=4)
def _cards(folder: Path) -> dict[str, Card]:
    found = sorted((read_card(path) for path in folder.glob("*.toml")), key=lambda card: card.name)
    return {card.name: card for card in found}


def cards() -> dict[str, Card]:
    """All data sets by name: the catalogue's, and those whose cards lie in the folders ``SNN_DELAYS_CARDS``.

    Several folders are set apart as in ``PATH``. Raises DataError for a folder that is not there, a card that cannot be
    read, or a name that is taken, for display too.
    """
    found = dict(_cards(datasets_folder()))
    for folder in filter(None, os.environ.get("SNN_DELAYS_CARDS", "").split(os.pathsep)):
        if not Path(folder).is_dir():
            raise DataError(f"SNN_DELAYS_CARDS names the folder {folder}, which is not there")
        for path in sorted(Path(folder).glob("*.toml")):
            own = read_own_card(path)
            for known in found.values():
                if own.name == known.name or own.display_name == known.display_name:
                    raise DataError(f"{path}: there is a data set {known.name!r} already; give it another name")
            found[own.name] = own
    return found


def card(name: str | Path) -> Card:
    """The card of a data set: by its name in the catalogue, or by the path of one's own (:func:`own.card_at`).

    Raises ConfigError for a name that is neither.
    """
    from snn_delays.data.catalogue.own import card_at, is_path

    name, known = str(name), cards()
    if name in known:
        return known[name]
    if is_path(name):
        return card_at(Path(name).expanduser())
    raise ConfigError(f"unknown data set {name!r}; {_names_there_are(name)}")


def lasting_name(name: str | Path) -> str:
    """The name of a data set as it holds wherever a program is started: a path becomes absolute.

    Whether anything is there is seen when it is opened. Raises ConfigError for what is neither a name nor a path.
    """
    from snn_delays.data.catalogue.own import is_path

    name = str(name)
    if name in cards():
        return name
    if is_path(name):
        return str(Path(os.path.abspath(Path(name).expanduser())))
    raise ConfigError(f"there is no such data set; {_names_there_are(name)}")


def _names_there_are(name: str) -> str:
    return f"{did_you_mean(name, cards())}the catalogue has {', '.join(cards())}, and a path may name one's own"


def file_name_of(name: str) -> str:
    """A data set's name as a part of a file's: that of a path is its last part and a digest of the whole."""
    if name in cards():
        return name
    from snn_delays.data.catalogue.own import slug

    path = lasting_name(name)
    return f"{slug(Path(path).stem)}-{hashlib.sha256(path.encode(errors='surrogateescape')).hexdigest()[:8]}"


def identify(path: Path, *, remember: bool = True, first: str = "") -> str:
    """Which data set a file or folder is, as its display name, decided by checksum alone; ``"unidentified"`` if none.

    Of data sets that share their files, it is the one named ``first``. See :func:`recognise`.
    """
    found = recognise(path, remember=remember)
    return min(found, key=lambda pair: pair[0].name != first)[0].display_name if found else UNIDENTIFIED


def recognise(path: Path, *, remember: bool = True) -> list[tuple[Card, str]]:
    """The data sets and splits that a file or folder is, by checksum; several where they share their files.

    First by its own checksums, then by the archive beside it, whose checksum a card knows and whose content it equals,
    then by the content of a HDF5 file, as another version of HDF5 may lay out the same data in other bytes. Raises
    DataError if it is missing; a damaged one is none.
    """
    found = known_by_checksum(path, remember=remember)
    if found or path.is_dir():
        return found
    try:
        content = remembered(path, "content", lambda: _content(path)) if remember else _content(path)
    except DataError:
        return []
    return [(c, name) for c, name, part in _parts() if content == part.content_sha256]


def known_by_checksum(path: Path, *, remember: bool = True) -> list[tuple[Card, str]]:
    """The same without opening the file: by its own checksums, or by the archive beside it."""
    found = checksums(path, remember=remember)
    of_file = [(c, name) for c, name, part in _parts() if found.sha256 == part.sha256 or found.md5 == part.md5]
    return of_file or [(c, name) for c, name, part in _parts() if _unpacked(path, part, remember)]


def _parts() -> list[tuple[Card, str, SplitFile]]:
    return [(card, name, part) for card in cards().values() for name, part in card.splits.items()]


def _unpacked(path: Path, part: SplitFile, remember: bool) -> bool:
    """Whether a folder or file is what its archive, which lies beside it, holds under that name."""
    archive = path.parent / str(part.archive)
    if not part.archive_md5 or path.name != Path(part.file).name or not archive.is_file():
        return False
    if checksums(archive, remember=remember).md5 != part.archive_md5:
        return False
    from snn_delays.data.catalogue.unpack import holds

    def compared() -> str:
        return "yes" if holds(archive, path) else "no"

    return (remembered(path, f"unpacked from {part.archive_md5}", compared) if remember else compared()) == "yes"


def _content(path: Path) -> str:
    from snn_delays.data.formats.shd import content_sha256

    return content_sha256(path)
