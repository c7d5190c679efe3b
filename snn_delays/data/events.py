"""One recording as a list of events, checked once when it is made."""

import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.data import camera
from snn_delays.data.numbers import whole_numbers
from snn_delays.errors import DataError


@dataclass(frozen=True, eq=False)
class Events:
    """Spikes of one recording in the order of time, with time 0 at stimulus onset.

    ``t_us`` int64 [event], microseconds, >= 0, ascending (equal times allowed); ``channel`` int64 [event], each in
    ``[0, n_channels)``. Both are copied and become read-only. Integer-valued floats are accepted. ``sensor``: the shape
    in which the channels are laid out, ``(n_channels,)`` where nothing is given. An event camera has
    ``(polarity, height, width)`` and ``channel = (polarity * height + y) * width + x``.

    :meth:`from_camera` makes that out of the fields that cameras give. Raises DataError naming the array and the first
    offending index.
    """

    t_us: NDArray[np.int64]
    channel: NDArray[np.int64]
    n_channels: int
    sensor: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "n_channels", operator.index(self.n_channels))
            object.__setattr__(self, "sensor", tuple(operator.index(size) for size in self.sensor))
        except TypeError:
            raise DataError(
                f"n_channels and sensor are integers, got {self.n_channels!r} and {self.sensor!r}"
            ) from None
        if not self.sensor:
            object.__setattr__(self, "sensor", (self.n_channels,))
        elif math.prod(self.sensor) != self.n_channels:
            raise DataError(f"a sensor of shape {self.sensor} has not {self.n_channels} channels")
        t_us, channel = whole_numbers(self.t_us, "t_us"), whole_numbers(self.channel, "channel")
        if self.n_channels < 1:
            raise DataError(f"n_channels must be at least 1, got {self.n_channels}")
        if t_us.size != channel.size:
            raise DataError(f"t_us has {t_us.size} events and channel {channel.size}; they must be of equal length")
        if t_us.size:
            if t_us.min() < 0:
                i = int((t_us < 0).argmax())
                raise DataError(f"t_us[{i}] is {t_us[i]}; times count from stimulus onset and cannot be negative")
            late = t_us[1:] < t_us[:-1]
            if late.any():
                i = int(late.argmax()) + 1
                raise DataError(f"t_us[{i}] = {t_us[i]} comes before t_us[{i - 1}] = {t_us[i - 1]}; sort the events")
            if channel.min() < 0 or channel.max() >= self.n_channels:
                i = int(((channel < 0) | (channel >= self.n_channels)).argmax())
                raise DataError(f"channel[{i}] is {channel[i]}; expected 0 to {self.n_channels - 1}")
        t_us.setflags(write=False)
        channel.setflags(write=False)
        object.__setattr__(self, "t_us", t_us)
        object.__setattr__(self, "channel", channel)

    @classmethod
    def from_camera(
        cls,
        t: ArrayLike,
        x: ArrayLike | None = None,
        y: ArrayLike | None = None,
        p: ArrayLike | None = None,
        *,
        sensor: Sequence[int],
        unit: camera.TimeUnit = "us",
        origin: float | None = None,
        sort: bool = False,
    ) -> "Events":
        """Events of an event camera, ``channel = (polarity * height + y) * width + x``.

        ``t``, ``x``, ``y``, ``p``: one number an event, integers of any kind (unsigned ones too) or whole-numbered
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
            found = camera.fields_of(array)
            array, x, y, p = (found[field] for field in ("t", "x", "y", "p"))  # type: ignore[assignment]
        if x is None or y is None:
            raise DataError("events of a camera need t, x and y, or a structured array with these fields")
        times = camera.times_us(array, unit, origin)
        sizes = {"t": times.size} | {k: np.size(v) for k, v in (("x", x), ("y", y), ("p", p)) if v is not None}
        if len(set(sizes.values())) > 1:
            raise DataError(f"t, x, y and p must be of equal length, got {sizes}")
        polarities = camera.polarity_numbers(p, sensor[0] if len(sensor) else 0, times.size)
        channel, shape = camera.channels(x, y, polarities, sensor)
        late = times[1:] < times[:-1]
        if late.any():
            if not sort:
                i = int(late.argmax()) + 1
                raise DataError(
                    f"t[{i}] = {array[i]} comes before t[{i - 1}] = {array[i - 1]}; sort the events, or pass sort=True"
                )
            order = np.argsort(times, kind="stable")
            times, channel = times[order], channel[order]
        return cls(times, channel, math.prod(shape), shape)

    def __len__(self) -> int:
        return self.t_us.size

    def __eq__(self, other: object) -> bool:
        """Equal when the sensor, the channels, the times and their order are."""
        if not isinstance(other, Events):
            return NotImplemented
        return (
            self.sensor == other.sensor
            and np.array_equal(self.t_us, other.t_us)
            and np.array_equal(self.channel, other.channel)
        )


@dataclass(frozen=True)
class Sample:
    """One labelled recording: its events, class (0-based) and the number of who made it, -1 where nobody is known."""

    events: Events
    label: int
    speaker: int = -1
