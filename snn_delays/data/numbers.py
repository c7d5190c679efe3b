"""Checks of numbers in options and arrays: NumPy's become Python's, anything else is an error that names it."""

from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.arguments import integer, real
from snn_delays.errors import DataError


def plain_numbers(of: Any) -> None:
    """Make the fields of a frozen dataclass that are declared ``int`` or ``float`` so, in its ``__post_init__``.

    Options then are equal, hash alike and are the same JSON, whichever library their numbers came from.
    """
    for field in fields(of):
        value = getattr(of, field.name)
        if field.type is int:
            object.__setattr__(of, field.name, integer(field.name, value))
        elif field.type is float:
            object.__setattr__(of, field.name, real(field.name, value))


def first_true(mask: NDArray[np.bool_]) -> int | None:
    """The first index that is true, or None."""
    return int(mask.argmax()) if mask.any() else None


def first_fall(times: NDArray[Any]) -> int | None:
    """The index of the first time that lies before its predecessor, or None."""
    i = first_true(times[1:] < times[:-1])
    return None if i is None else i + 1


def integer_array(values: ArrayLike, name: str) -> NDArray[np.int64]:
    """Integers of any kind, or integer-valued floats, as int64 ``[event]``, copied.

    Raises DataError naming the first index that is none.
    """
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{name} must have one axis [event], got shape {array.shape}")
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "iuf":
        raise DataError(f"{name} must hold integers, got dtype {array.dtype}")
    if array.dtype.kind == "f":
        if (i := first_true(~np.isfinite(array))) is not None:
            raise DataError(f"{name}[{i}] is {array[i]}; every event needs a finite number")
        if (i := first_true(array != np.floor(array))) is not None:
            raise DataError(f"{name}[{i}] is {array[i]}, not an integer; convert to integers first")
    if array.dtype.kind in "fu" and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"{name}[{int(array.argmax())}] does not fit in 64 bits")
    return array.astype(np.int64)
