"""Cards in TOML, of whatever kind: read, and made into values that refuse what they do not know."""

import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from snn_delays.errors import DataError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """What a card says. Raises DataError if it cannot be read or is no TOML."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the card {path}: {error}") from error


def build(kind: Any, values: dict[str, Any], where: str) -> Any:
    """A dataclass from a table; ``where`` is named in errors. Raises DataError for a key that is unknown or missing."""
    known = {key.name for key in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise DataError(f"{where}: unknown key {unknown[0]!r}; known are {', '.join(sorted(known))}")
    try:
        return kind(**values)
    except TypeError as error:
        raise DataError(f"{where}: {str(error).split('__init__() ')[-1]}") from error
