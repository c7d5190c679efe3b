"""What is wrong with a recipe, in a sentence for each key."""

from types import NoneType
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from snn_delays.messages import did_you_mean


def explained(error: ValidationError, kind: type[BaseModel]) -> str:
    """The errors of a recipe of a class in one line: each with its key, and the nearest known key for an unknown."""
    return "; ".join(_explain(issue, kind) for issue in error.errors())


def _explain(issue: Any, kind: type[BaseModel]) -> str:
    location = issue["loc"]
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
    except ValueError:  # a whole number of thousands of digits
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."


def _known_keys(location: tuple[Any, ...], kind: type[BaseModel]) -> list[str]:
    model: Any = kind
    for part in location:
        annotation = model.model_fields[part].annotation
        model = next((kind for kind in get_args(annotation) if kind is not NoneType), annotation)
    return list(model.model_fields)
