"""Reading recipes from TOML files, their bases and changes included, and writing them."""

import re
from functools import reduce
from pathlib import Path
from typing import Any, get_args

import tomli_w
from pydantic import BaseModel, ValidationError

from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.reading import parse_toml, read_text
from snn_delays.recipes.keys import without_overruled
from snn_delays.recipes.recurrent import TAGS
from snn_delays.recipes.registry import recipe_class
from snn_delays.recipes.strict import BaseRecipe


def load_recipe(path: Path | str, *changes: tuple[str, ...], alone: bool = False) -> Any:
    """Read a recipe of the task that it names (:mod:`snn_delays.recipes.registry`), of events if it names none.

    ``base = "other.toml"`` in it names a recipe beside it that it changes. What a recipe or a change makes idle of what
    it changes is left out: see :mod:`snn_delays.recipes.keys`.

    Args:
        path: a file, or the name of a recipe that comes with the package.
        changes: ``"section.key=value"`` with values in TOML; a bare word is text. Each tuple changes those before it.
        alone: refuse a base, as in the folder of a run, whose recipe is written in full.

    Raises ConfigError naming file and key, with the nearest known key for one that does not exist.
    """
    try:
        levels = _read(find_recipe(path), alone=alone)
        table = reduce(_merge, levels)
        for level in changes:
            levels.append({})
            for change in level:
                for target in (table, levels[-1]):
                    _apply(target, change)
        kept = without_overruled(table, parse_recipe(table, str(path)), levels)
        return parse_recipe(kept, str(path))
    except RecursionError:
        raise ConfigError(f"{path}: its tables are nested too deeply, or its bases are too many") from None


def find_recipe(path: Path | str) -> Path:
    """Path of a recipe given as a file, or by the name of one that comes with the package."""
    path = Path(path)
    bundled = recipes_folder() / f"{path.name}.toml"
    return bundled if not path.exists() and path.suffix != ".toml" and bundled.exists() else path


def recipes_folder() -> Path:
    """The folder of the recipes: inside an installed package, else at the root of the repository."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_bundled" / "experiments"
    return installed if installed.is_dir() else package.parent / "experiments"


def parse_recipe(table: dict[str, Any], where: str) -> Any:
    """Validate a recipe given as a table; ``where`` is named in errors."""
    kind = recipe_class(table.get("task", "events"), where)
    try:
        return kind.model_validate(table)
    except ValidationError as error:
        issues = "; ".join(explained(issue, kind) for issue in error.errors())
        raise ConfigError(f"{where}: {issues}") from None


def explained(issue: Any, kind: type[BaseModel]) -> str:
    """An error of pydantic's as a sentence with its key, and the nearest known key for an unknown one."""
    location = tuple(part for part in issue["loc"] if part not in TAGS)
    key = ".".join(str(part) for part in location)
    if issue["type"] == "extra_forbidden":
        known = _known_keys(location[:-1], kind)
        return f"unknown key {key!r}; {did_you_mean(location[-1], known)}known here: {', '.join(known)}"
    if issue["type"] == "missing":
        return f"key {key!r} is missing"
    message = issue["msg"].removeprefix("Value error, ")
    where = f"{key}: " if key else ""
    return f"{where}{message}" + (f", got {_shown(issue['input'])}" if not isinstance(issue["input"], dict) else "")


def _shown(value: Any) -> str:
    """A value as it was given, unless it is too long to be read."""
    try:
        text = repr(value)
    except ValueError:  # an integer of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _known_keys(location: tuple[Any, ...], kind: type[BaseModel]) -> list[str]:
    model: Any = kind
    for part in location:
        if part in model.model_fields:  # else the key of a dictionary of models
            annotation = model.model_fields[part].annotation
            kinds = [one for kind in get_args(annotation) for one in (kind, *get_args(kind))]
            model = next((kind for kind in kinds if hasattr(kind, "model_fields")), annotation)
    return list(model.model_fields)


def recipe_from_toml(text: str, where: str) -> Any:
    """Validate a recipe given as TOML with nothing left out, as :func:`to_toml` writes it."""
    try:
        table = parse_toml(text)
    except ValueError as error:
        raise ConfigError(f"{where}: its recipe is not valid TOML: {error}") from None
    return parse_recipe(table, where)


def _read(path: Path, seen: tuple[Path, ...] = (), *, alone: bool = False) -> list[dict[str, Any]]:
    """The tables of a recipe and its bases, the lowest first."""
    try:
        table = parse_toml(read_text(path))
    except FileNotFoundError:
        raise ConfigError(f"no recipe at {path}; {_recipes_there_are(path)}") from None
    except ValueError as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"cannot read the recipe {path}: {error.strerror}") from None
    if path.resolve() in seen:
        raise ConfigError(f"{path}: the recipe is its own base")
    base = table.pop("base", None)
    if not isinstance(base, str | None):
        raise ConfigError(f"{path}: base must be the name of a recipe file in quotes, got {base!r}")
    if base is not None and alone:
        raise ConfigError(f"{path}: base = {base!r}; a run's recipe is written in full: put the run's own back")
    return [*([] if base is None else _read(path.parent / base, (*seen, path.resolve()))), table]


def _recipes_there_are(path: Path) -> str:
    """The recipes that may have been meant: those in the folder of a path, and of the package for a mere name."""
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    beside = sorted(p.name if path.suffix else p.stem for p in path.parent.glob("*.toml"))
    bundled = sorted(p.stem for p in recipes_folder().glob("*.toml")) if path.parent == Path() else []
    there = [f"{path.parent} has {', '.join(beside)}"] if beside else []
    there += [f"the package has {', '.join(bundled)}"] if bundled else []
    return did_you_mean(path.name, [*beside, *bundled]) + ("; ".join(there) or f"{path.parent} has none")


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(below.get(key), dict)
        merged[key] = _merge(below[key], value) if nested else value
    return merged


def _apply(table: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    if not equals or not re.fullmatch(r"[a-z_]+(\.[a-z_]+)*", key.strip()):
        raise ConfigError(f"--set takes section.key=value, got {change!r}")
    try:
        value = parse_toml(f"value = {text}")["value"]
    except ValueError:
        value = text.strip()
    *sections, last = key.strip().split(".")
    for section in sections:
        table = table.setdefault(section, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {change}: {section!r} is a value, not a section")
    table[last] = value


def to_toml(recipe: BaseRecipe) -> str:
    """The recipe in full, every default written out, as TOML."""
    return tomli_w.dumps(recipe.model_dump(mode="json", exclude_none=True))
