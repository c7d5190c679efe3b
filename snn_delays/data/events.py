"""One recording as a list of events, checked once when it is made, also out of the fields that cameras give."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.data.numbers import first_fall, first_true, integer_array
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


@dataclass(frozen=True, eq=False)
class Events:
    """Spikes of one recording in the order of time, with time 0 at stimulus onset.

    ``t_us`` int64 [event], microseconds, >= 0, ascending (equal times allowed); ``channel`` int64 [event], each in
    ``[0, n_channels)``. Both are copied and become read-only. Integer-valued floats are accepted. ``sensor``: the shape
    in which the channels are laid out, ``(n_channels,)`` where nothing is given. An event camera has
    ``(polarity, height, width)`` and ``channel = (polarity * height + y) * width + x``; see :meth:`from_camera`.

    Raises DataError naming the array and the first offending index.
    """

    t_us: NDArray[np.int64]
    channel: NDArray[np.int64]
    n_channels: int
    sensor: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        try:
            n_channels = operator.index(self.n_channels)
            sensor = tuple(operator.index(size) for size in self.sensor) or (n_channels,)
        except TypeError:
            raise DataError(
                f"n_channels and sensor are integers, got {self.n_channels!r} and {self.sensor!r}"
            ) from None
        if math.prod(sensor) != n_channels:
            raise DataError(f"a sensor of shape {sensor} has not {n_channels} channels")
        t_us, channel = integer_array(self.t_us, "t_us"), integer_array(self.channel, "channel")
        if n_channels < 1:
            raise DataError(f"n_channels must be at least 1, got {n_channels}")
        if t_us.size != channel.size:
            raise DataError(f"t_us has {t_us.size} events and channel {channel.size}; they must be of equal length")
        if (i := first_true(t_us < 0)) is not None:
            raise DataError(f"t_us[{i}] is {t_us[i]}; times count from stimulus onset and cannot be negative")
        if (i := first_fall(t_us)) is not None:
            raise DataError(f"t_us[{i}] = {t_us[i]} comes before t_us[{i - 1}] = {t_us[i - 1]}; sort the events")
        if (i := first_true((channel < 0) | (channel >= n_channels))) is not None:
            raise DataError(f"channel[{i}] is {channel[i]}; expected 0 to {n_channels - 1}")
        t_us.setflags(write=False)
        channel.setflags(write=False)
        self.__dict__.update(t_us=t_us, channel=channel, n_channels=n_channels, sensor=sensor)

    @classmethod
    def sorted(
        cls, t_us: NDArray[Any], channel: NDArray[Any], n_channels: int, sensor: tuple[int, ...] = ()
    ) -> "Events":
        """Events in any order, put in the order of time; those of equal times stay in theirs."""
        if (t_us[1:] < t_us[:-1]).any():
            order = np.argsort(t_us, kind="stable")
            t_us, channel = t_us[order], channel[order]
        return cls(t_us, channel, n_channels, sensor)

    @classmethod
    def from_camera(
        cls,
        t: ArrayLike,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
        p: ArrayLike | None = None,
        *,
        sensor: Sequence[int],
        unit: TimeUnit = "us",
        origin: float | None = None,
        sort: bool = False,
    ) -> "Events":
        """Events of an event camera, ``channel = (polarity * height + y) * width + x``.

        ``t``, ``x``, ``y``, ``p``: one number an event, integers of any kind (unsigned ones too) or integer-valued
        floats; or ``t`` alone is a structured array with these fields, as Tonic and expelliarmus give it.
        ``sensor``: (polarities, height, width). ``p``: 0 and 1, -1 and 1, or bool; may be left out where there is one
        polarity. ``unit`` of ``t``: ``"s"``, ``"ms"``, ``"us"`` or ``"ns"``. ``origin``: the time, in ``unit``, that
        becomes 0; by default the earliest event, so that any clock will do. ``sort``: put events in the order of time,
        those of equal times staying as they were; without it a time that falls is an error.

        Raises DataError naming the first event that is impossible.
        """
        array = np.asarray(t)
        if array.dtype.names is not None:
            if not (x is None and y is None and p is None):
                raise DataError("a structured array holds t, x, y and p; give it alone")
            array, x, y, p = camera_fields(array).values()  # type: ignore[assignment]
        if x is None or y is None:
            raise DataError("events of a camera need t, x and y, or a structured array with these fields")
        times = _times_us(array, unit, origin)
        sizes = {"t": times.size} | {k: np.size(v) for k, v in (("x", x), ("y", y), ("p", p)) if v is not None}
        if len(set(sizes.values())) > 1:
            raise DataError(f"t, x, y and p must be of equal length, got {sizes}")
        channel, shape = _channels(x, y, p, sensor)
        if not sort and (i := first_fall(times)) is not None:
            raise DataError(
                f"t[{i}] = {array[i]} comes before t[{i - 1}] = {array[i - 1]}; sort the events, or pass sort=True"
            )
        return cls.sorted(times, channel, math.prod(shape), shape)

    def __len__(self) -> int:
        return self.t_us.size

    def __eq__(self, other: object) -> bool:
        """Equal when the sensor, the channels, the times and their order are."""
        if not isinstance(other, Events):
            return NotImplemented
        same = np.array_equal(self.t_us, other.t_us) and np.array_equal(self.channel, other.channel)
        return self.sensor == other.sensor and same


@dataclass(frozen=True)
class Sample:
    """One labelled recording: its events, class (0-based) and the number of who made it, -1 where nobody is known."""

    events: Events
    label: int
    speaker: int = -1


def camera_fields(events: NDArray[Any], needed: Sequence[str] = ("t", "x", "y")) -> dict[str, NDArray[Any] | None]:
    """Times, columns, rows and polarities of a structured array, under whichever usual names; None for what it lacks.

    Raises DataError for a field that is needed and missing.
    """
    names = events.dtype.names or ()
    fields = {field: next((name for name in known if name in names), None) for field, known in _NAMES.items()}
    if missing := [field for field in needed if fields[field] is None]:
        raise DataError(f"a structured array of events needs the fields t, x, y, p; {missing[0]} is not in {names}")
    return {field: None if name is None else events[name] for field, name in fields.items()}


def _times_us(times: NDArray[Any], unit: TimeUnit, origin: float | None) -> NDArray[np.int64]:
    """Times in integer microseconds after ``origin``, or after the earliest where it is None; int64 ``[event]``.

    The origin is taken off before anything is multiplied or rounded, so that an epoch clock loses nothing. Fractions of
    a microsecond are rounded to the nearest; only ``unit="us"`` has none, and refuses them.
    """
    if unit not in (*_US_IN, "ns"):
        raise DataError(f"unknown unit of time {unit!r}; choose s, ms, us or ns")
    if times.ndim != 1:
        raise DataError(f"t must have one axis [event], got shape {times.shape}")
    if times.size == 0:
        return np.zeros(0, dtype=np.int64)
    if times.dtype.kind not in "iuf":
        raise DataError(f"t must hold numbers, got dtype {times.dtype}; convert it to integers of a unit first")
    if times.dtype.kind == "f":
        if (i := first_true(~np.isfinite(times))) is not None:
            raise DataError(f"t[{i}] is {times[i]}; every event needs a finite number")
        after = times.astype(np.float64)
        after = after - (after.min() if origin is None else float(origin))
        after = after / _NS_IN_A_US if unit == "ns" else after * _US_IN[unit]
        rounded = np.rint(after)
        if unit == "us" and (i := first_true(rounded != after)) is not None:
            raise DataError(f"t[{i}] is {times[i]} us, not an integer; is it in seconds? Then unit='s'")
        if (i := first_true(np.abs(rounded) >= 2.0**63)) is not None:
            raise DataError(f"t[{i}] does not fit in 64 bits of microseconds")
        return rounded.astype(np.int64)
    try:
        first = int(times.min()) if origin is None else operator.index(origin)  # type: ignore[arg-type]
    except TypeError:
        raise DataError(f"times are integers, so their origin must be one, got {origin!r}") from None
    if int(times.max()) - first >= 1 << 63 or int(times.min()) - first < -(1 << 63):
        raise DataError(f"t from {times.min()} to {times.max()} does not fit in 64 bits after the origin {first}")
    # Modulo 2**64 the difference of the numbers as they are is exact, signed or unsigned.
    exact = (times.astype(np.uint64) - np.uint64(first % (1 << 64))).astype(np.int64)
    if unit == "ns":
        return (exact + _NS_IN_A_US // 2) // _NS_IN_A_US
    if int(np.abs(exact).max()) * _US_IN[unit] >= 1 << 63:
        raise DataError(f"t up to {times.max()} {unit} does not fit in 64 bits of microseconds")
    return exact * _US_IN[unit]


def _polarities(p: ArrayLike | None, polarities: int, n_events: int) -> NDArray[np.int64]:
    """Polarities 0, 1, ... of a sensor that has so many, out of 0/1, -1/1 or bool; None where there is only one."""
    if p is None:
        if polarities != 1:
            raise DataError(f"the sensor has {polarities} polarities, but no p says which an event has")
        return np.zeros(n_events, dtype=np.int64)
    values = np.asarray(p)
    numbers = integer_array(values.astype(np.int64) if values.dtype == np.bool_ else values, "p")
    if polarities != 2 or not (numbers == -1).any():
        return numbers
    if (i := first_true(np.abs(numbers) != 1)) is not None:
        raise DataError(f"p[{i}] is {numbers[i]} beside others of -1; polarities are -1 and 1, 0 and 1, or bool")
    return (numbers + 1) // 2


def _channels(
    x: ArrayLike, y: ArrayLike, p: ArrayLike | None, sensor: Sequence[int]
) -> tuple[NDArray[np.int64], tuple[int, int, int]]:
    """``(p * height + y) * width + x`` in 64 bits, every coordinate checked, and the sensor as three integers."""
    try:
        polarities, height, width = (operator.index(size) for size in sensor)
    except (TypeError, ValueError):
        raise DataError(f"sensor must be (polarities, height, width), got {sensor!r}") from None
    p, y, x = _polarities(p, polarities, np.size(x)), integer_array(y, "y"), integer_array(x, "x")
    for name, values, size in (("p", p, polarities), ("y", y, height), ("x", x, width)):
        if (i := first_true((values < 0) | (values >= size))) is not None:
            swapped = name != "p" and height != width and int(y.max()) < width and int(x.max()) < height
            hint = "; are height and width swapped?" if swapped else ""
            raise DataError(f"event {i} has {name} = {values[i]}; the sensor has {name} from 0 to {size - 1}{hint}")
    return (p * height + y) * width + x, (polarities, height, width)
