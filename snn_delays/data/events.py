"""One recording as a list of events, checked once when it is made."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import DataError


def _whole_numbers(values: ArrayLike, name: str) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise DataError(f"{name} must have one axis [event], got shape {array.shape}")
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind == "f":
        bad = ~np.isfinite(array)
        if bad.any():
            i = int(bad.argmax())
            raise DataError(f"{name}[{i}] is {array[i]}; every event needs a finite number")
        bad = array != np.floor(array)
        if bad.any():
            i = int(bad.argmax())
            raise DataError(f"{name}[{i}] is {array[i]}, not a whole number; convert to integers first")
    elif array.dtype.kind not in "iu":
        raise DataError(f"{name} must hold integers, got dtype {array.dtype}")
    if array.dtype.kind in "fu" and array.max() > np.iinfo(np.int64).max:
        raise DataError(f"{name}[{int(array.argmax())}] does not fit in 64 bits")
    return array.astype(np.int64)


@dataclass(frozen=True, eq=False)
class Events:
    """Spikes of one recording in the order of time, with time 0 at stimulus onset.

    ``t_us`` int64 [event], microseconds, >= 0, ascending (equal times allowed); ``channel`` int64 [event], each in
    ``[0, n_channels)``. Both are copied and become read-only. Whole-numbered floats are accepted. ``sensor``: the shape
    in which the channels are laid out, ``(n_channels,)`` where nothing is given. An event camera has
    ``(polarity, height, width)`` and ``channel = (polarity * height + y) * width + x``.

    Raises DataError naming the array and the first offending index.
    """

    t_us: NDArray[np.int64]
    channel: NDArray[np.int64]
    n_channels: int
    sensor: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.sensor:
            object.__setattr__(self, "sensor", (self.n_channels,))
        elif math.prod(self.sensor) != self.n_channels:
            raise DataError(f"a sensor of shape {self.sensor} has not {self.n_channels} channels")
        t_us, channel = _whole_numbers(self.t_us, "t_us"), _whole_numbers(self.channel, "channel")
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
