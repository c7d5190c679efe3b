"""Events of a camera in the fields that its programs give: any origin and unit of time, any code of the polarity."""

import operator
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.data.numbers import whole_numbers
from snn_delays.errors import DataError

TimeUnit = Literal["s", "ms", "us", "ns"]
_US_IN = {"s": 1_000_000, "ms": 1_000, "us": 1}
_NS_IN_A_US = 1_000
_NAMES = {
    "t": ("t", "timestamp", "timestamps", "time", "ts"),
    "x": ("x",),
    "y": ("y",),
    "p": ("p", "polarity", "polarities", "pol"),
}


def fields_of(events: NDArray[Any], needed: Sequence[str] = ("t", "x", "y")) -> dict[str, NDArray[Any] | None]:
    """Times, columns, rows and polarities of a structured array, under whichever usual names; None for what it lacks.

    Raises DataError for a field that is needed and missing.
    """
    names = events.dtype.names or ()
    found = {field: next((name for name in known if name in names), None) for field, known in _NAMES.items()}
    if missing := [field for field in needed if found[field] is None]:
        raise DataError(f"a structured array of events needs the fields t, x, y, p; {missing[0]} is not in {names}")
    return {field: None if name is None else events[name] for field, name in found.items()}


def times_us(t: ArrayLike, unit: TimeUnit, origin: float | None) -> NDArray[np.int64]:
    """Times in whole microseconds after ``origin``, which is the earliest of them where it is None; int64 ``[event]``.

    The origin is taken off before anything is multiplied or rounded, so that an epoch clock loses nothing. Fractions of
    a microsecond are rounded to the nearest; only ``unit="us"`` has none, and refuses them.
    """
    if unit not in (*_US_IN, "ns"):
        raise DataError(f"unknown unit of time {unit!r}; choose s, ms, us or ns")
    times = np.asarray(t)
    if times.ndim != 1:
        raise DataError(f"t must have one axis [event], got shape {times.shape}")
    if times.size == 0:
        return np.zeros(0, dtype=np.int64)
    if times.dtype.kind not in "iuf":
        raise DataError(f"t must hold numbers, got dtype {times.dtype}; convert it to integers of a unit first")
    if times.dtype.kind == "f":
        if not (finite := np.isfinite(times)).all():
            i = int((~finite).argmax())
            raise DataError(f"t[{i}] is {times[i]}; every event needs a finite number")
        times = times.astype(np.float64)
        times = times - (times.min() if origin is None else float(origin))
        times = times / _NS_IN_A_US if unit == "ns" else times * _US_IN[unit]
        whole = np.rint(times)
        if unit == "us" and (uneven := whole != times).any():
            i = int(uneven.argmax())
            raise DataError(f"t[{i}] is {np.asarray(t)[i]} us, not an integer; is it in seconds? Then unit='s'")
        if np.abs(whole).max() >= 2.0**63:
            raise DataError(f"t[{int(np.abs(whole).argmax())}] does not fit in 64 bits of microseconds")
        return whole.astype(np.int64)
    first = int(times.min()) if origin is None else _whole(origin)
    if int(times.max()) - first >= 1 << 63 or int(times.min()) - first < -(1 << 63):
        raise DataError(f"t from {times.min()} to {times.max()} does not fit in 64 bits after the origin {first}")
    # Modulo 2**64 the difference of the numbers as they are is exact, signed or unsigned.
    after = (times.astype(np.uint64) - np.uint64(first % (1 << 64))).astype(np.int64)
    if unit == "ns":
        return (after + _NS_IN_A_US // 2) // _NS_IN_A_US
    if int(np.abs(after).max()) * _US_IN[unit] >= 1 << 63:
        raise DataError(f"t up to {times.max()} {unit} does not fit in 64 bits of microseconds")
    return after * _US_IN[unit]


def polarity_numbers(p: ArrayLike | None, polarities: int, n_events: int) -> NDArray[np.int64]:
    """Polarities 0, 1, ... of a sensor that has so many, out of 0/1, -1/1 or bool; None where there is only one."""
    if p is None:
        if polarities != 1:
            raise DataError(f"the sensor has {polarities} polarities, but no p says which an event has")
        return np.zeros(n_events, dtype=np.int64)
    values = np.asarray(p)
    if values.dtype == np.bool_:
        values = values.astype(np.int64)
    numbers = whole_numbers(values, "p")
    if (numbers == -1).any() and polarities == 2:
        if (odd := np.abs(numbers) != 1).any():
            i = int(odd.argmax())
            raise DataError(f"p[{i}] is {numbers[i]} beside others of -1; polarities are -1 and 1, 0 and 1, or bool")
        numbers = (numbers + 1) // 2
    return numbers


def channels(
    x: ArrayLike, y: ArrayLike, p: NDArray[np.int64], sensor: Sequence[int]
) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """``(p * height + y) * width + x`` in 64 bits, every coordinate checked, and the sensor as three integers."""
    try:
        polarities, height, width = (operator.index(size) for size in sensor)
    except (TypeError, ValueError):
        raise DataError(f"sensor must be (polarities, height, width), got {sensor!r}") from None
    found = {"p": p, "y": whole_numbers(y, "y"), "x": whole_numbers(x, "x")}
    for (name, values), size in zip(found.items(), (polarities, height, width)):
        outside = (values < 0) | (values >= size)
        if outside.any():
            i = int(outside.argmax())
            swapped = (
                name != "p" and height != width and int(found["y"].max()) < width and int(found["x"].max()) < height
            )
            hint = "; are height and width swapped?" if swapped else ""
            raise DataError(f"event {i} has {name} = {values[i]}; the sensor has {name} from 0 to {size - 1}{hint}")
    return (p * height + found["y"]) * width + found["x"], (polarities, height, width)


def _whole(origin: Any) -> int:
    try:
        return operator.index(origin)
    except TypeError:
        raise DataError(f"times are integers, so their origin must be one, got {origin!r}") from None
