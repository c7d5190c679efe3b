"""Numbers given as arguments: integers are integers, NumPy's scalars are numbers, anything else is refused by name."""

import math
import numbers
import operator
from collections.abc import Iterable
from typing import Any

from snn_delays.errors import ConfigError

SHOWN = 60  # characters of a value in a message


def integer(name: str, value: Any, least: int | None = None, most: int | None = None) -> int:
    """An int, or what counts as one (``operator.index``: NumPy's integers), within bounds.

    Raises ConfigError for anything else: 24.0, which a division of milliseconds gives, ``"8"``, True, a tensor.
    """
    try:
        number: int = value if value.__class__ is int else _unless_odd(value, operator.index)
    except TypeError:
        integral = isinstance(value, float) and value.is_integer()
        remedy = f"; write {name}={int(value)}, or int(...) around what it comes from" if integral else ""
        raise ConfigError(f"{name} must be an integer, got {shown(value)}{remedy}") from None
    if least is not None and number < least:
        raise ConfigError(f"{name} must be at least {least}, got {shown(number)}")
    if most is not None and number > most:
        raise ConfigError(f"{name} must be at most {most:,}, got {shown(number)}; is it in another unit?")
    return number


def real(name: str, value: Any, *, least: float | None = None, above: float | None = None, unit: str = "") -> float:
    """A float, from any real number (int, NumPy's scalars); with a bound, a finite one at least or above it.

    Raises ConfigError for anything else: text, True, None, a tensor. Without a bound, NaN and infinity are left to the
    caller.
    """
    try:
        number = float(_unless_odd(value, _float))
    except (TypeError, OverflowError):
        raise ConfigError(f"{name} must be a number, got {shown(value)}") from None
    if least is not None and not least <= number < math.inf:
        raise ConfigError(f"{name} must be a finite number{unit} >= {least:g}, got {value}")
    if above is not None and not above < number < math.inf:
        kind = f"a finite number{unit} > {above:g}" if above else f"a positive number{unit}"
        raise ConfigError(f"{name} must be {kind}, got {number}")
    return number


def choice(name: str, value: Any, choices: Iterable[str]) -> Any:
    """The value, one of the choices. Raises ConfigError for any other."""
    if value not in (choices := tuple(choices)):
        raise ConfigError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
    return value


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and short."""
    if hasattr(value, "shape") and getattr(value, "shape", ()) != ():
        return f"a {type(value).__name__} of shape {tuple(value.shape)}"
    try:
        text = " ".join(repr(value).split())
    except ValueError:  # an integer of more digits than Python writes
        return "an integer of thousands of digits"
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def _unless_odd(value: Any, convert: Any) -> Any:
    """True is no number of neurons, and a tensor no constant: it may carry a gradient, or lie on an accelerator."""
    if isinstance(value, bool) or hasattr(value, "requires_grad"):
        raise TypeError
    return convert(value)


def _float(value: Any) -> float:
    if not isinstance(value, numbers.Real):
        raise TypeError
    return float(value)
