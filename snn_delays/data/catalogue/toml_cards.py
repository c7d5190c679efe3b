"""Cards in TOML, of whatever kind: read, and made into values that refuse what they do not know."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from snn_delays.errors import DataError
from snn_delays.messages import did_you_mean
from snn_delays.reading import parse_toml, read_text


def read_toml(path: Path) -> dict[str, Any]:
    """What a card says. Raises DataError if it cannot be read or is no TOML."""
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
