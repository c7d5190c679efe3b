"""Reading cards from TOML; unknown and missing keys are errors."""

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

from snn_delays.data.card import Card, SplitFile
from snn_delays.errors import DataError
from snn_delays.messages import did_you_mean
from snn_delays.reading import parse_toml, read_text


def read_toml(path: Path) -> dict[str, Any]:
    """The content of a card. Raises DataError if it cannot be read or is no TOML."""
    try:
        return parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the card {path}: {error}") from error


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


# What a card of the user's own need not say.
_OWN: dict[str, Any] = {
    "description": "", "citation": "", "licence": "", "attribution": "", "source": "", "tonic_class": "",
    "reader": "shd", "folder": ".", "bundled": False, "time_unit": "float16 seconds", "finest_dt_ms": 1.0,
    "validation": {"rule": "fraction"},
}  # fmt: skip


def own_card(values: dict[str, Any], path: str) -> Card:
    """The card of a user's own data set at ``path``; only name, sensor, n_classes and splits are required.

    Raises DataError for a key that is unknown or missing.
    """
    name = values.get("name", "")
    if not (isinstance(name, str) and re.fullmatch(r"[\w.-]+", name)):
        raise DataError(f"{path}: the name of a data set has letters, digits, '.', '_' and '-', got {name!r}")
    known: Card = build(Card, {**_OWN, "display_name": name, "title": name, **values, "own": path}, path)
    return known


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
    """Read a card of the user's own; its ``folder`` is relative to the card's.

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
    return own_card({**content, "folder": str(folder)}, str(path))


def _content_of(path: Path) -> dict[str, Any]:
    content = read_toml(path)
    splits = content.get("splits", {})
    if not (isinstance(splits, dict) and all(isinstance(values, dict) for values in splits.values())):
        raise DataError(f"{path}: splits must be tables, as [splits.train]")
    made = {name: build(SplitFile, values, f"{path}: splits.{name}") for name, values in splits.items()}
    return {**content, "splits": made}
