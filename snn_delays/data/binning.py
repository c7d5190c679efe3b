"""Events to counts ``[time, channel]`` or ``[time, polarity, y, x]``: the two named rules by which time is cut."""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.events import Events
from snn_delays.data.numbers import plain_numbers
from snn_delays.errors import ConfigError, DataError

FEATURES = ("log_mel", "values")  # of recordings that are no events
_RULES = ("fixed", "event_anchored_v2023", *FEATURES)
_LONGEST_DT_MS = 1e9
# Beyond these one damaged time would fill the memory. A camera of many pixels has many events to pay for its counts.
_MOST_STEPS, _MOST_COUNTS = 1 << 20, 1 << 31
_SPARSE_COUNTS, _COUNTS_AN_EVENT = 1 << 28, 1 << 12


@dataclass(frozen=True)
class Binning:
    """How events become counts.

    ``rule="fixed"``: step k holds the events with ``k dt <= t < (k+1) dt``, time 0 being stimulus onset; the last step
    is that of the last event. Latency and silences are kept.

    ``rule="event_anchored_v2023"``: a frame opens at the next event, at ``t_l``, and takes every event with
    ``t - t_l <= dt`` (the end is included); silences between frames vanish. This is how the SpikingJelly of 2023 cut
    SHD for the published results of Hammouamri et al. (ICLR 2024); see docs/data.md for what differs.

    ``rule="log_mel"``: of recordings that are sound, features in place of counts (:class:`log_mel.LogMel`); ``dt_ms``
    is the time between their frames, and channels are not grouped. ``rule="values"``: likewise of recordings that are
    a row of numbers, as the grey values of :class:`snn_delays.data.encoders.sequential_mnist.PixelValues`.

    Args:
        rule: one of these.
        dt_ms: length of a step in milliseconds, an integer number of microseconds, up to 1e9.
        channel_group: this many neighbouring channels are summed into one (700 to 140 by 5, as in the paper); on an
            event camera, squares of pixels.

    Raises ConfigError on anything else.
    """

    rule: Literal["fixed", "event_anchored_v2023", "log_mel", "values"] = "fixed"
    dt_ms: float = 10.0
    channel_group: int = 5

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise ConfigError(f"unknown binning rule {self.rule!r}; choose one of {', '.join(_RULES)}")
        plain_numbers(self)
        if not 0 < self.dt_ms <= _LONGEST_DT_MS:
            raise ConfigError(
                f"dt_ms must be a positive number of milliseconds, {_LONGEST_DT_MS:g} at most, got {self.dt_ms}"
            )
        if abs(self.dt_ms * 1000 - round(self.dt_ms * 1000)) > 1e-6:
            raise ConfigError(f"dt_ms must be an integer number of microseconds, got {self.dt_ms} ms")
        if self.channel_group < 1:
            raise ConfigError(f"channel_group must be an integer >= 1, got {self.channel_group}")
        if self.rule in FEATURES and self.channel_group != 1:
            raise ConfigError(f"binning rule {self.rule!r} needs channel_group 1, got {self.channel_group}")

    @property
    def dt_us(self) -> int:
        """The width of a step in microseconds."""
        return round(self.dt_ms * 1000)


def bin_events(events: Events, binning: Binning) -> NDArray[np.uint8]:
    """Counts of events per step and group of channels, uint8 ``[time, *binned_sensor(events.sensor, binning)]``.

    The counts sum to the number of events. Without events there are no steps: shape ``[0, ...]``.

    Raises ConfigError if the groups do not divide the sensor, DataError if a count exceeds 255 or if the last event is
    so late that there would be more than 2**20 steps, 2**31 counts, or 2**28 counts and 4,096 for each event.
    """
    if binning.rule in FEATURES:
        what = "sound" if binning.rule == "log_mel" else "numbers"
        raise ConfigError(
            f"binning rule {binning.rule!r} is for {what}; events are binned by 'fixed' or 'event_anchored_v2023'"
        )
    from snn_delays.data.binning_kernel import anchored_frames, count_anchored, count_fixed

    sensor, place = _places(events.sensor, binning.channel_group)
    if len(events) == 0:
        return np.zeros((0, *sensor), dtype=np.uint8)
    fixed = binning.rule == "fixed"
    n_steps = int(events.t_us[-1]) // binning.dt_us + 1 if fixed else anchored_frames(events.t_us, binning.dt_us)
    n_counts, most = n_steps * math.prod(sensor), max(_SPARSE_COUNTS, _COUNTS_AN_EVENT * len(events))
    if n_steps > _MOST_STEPS or n_counts > min(most, _MOST_COUNTS):
        raise DataError(
            f"the last event is at {events.t_us[-1] / 1e6:g} s, which makes {n_steps:,} steps of {math.prod(sensor):,} "
            f"counts for {len(events):,} events; expected a recording of seconds: it is damaged, or dt_ms is too "
            "small, or it is to be cut into shorter ones"
        )
    counts = np.zeros((n_steps, math.prod(sensor)), dtype=np.uint8)
    count = count_fixed if fixed else count_anchored
    overflow = count(events.t_us, place, events.channel, binning.dt_us, counts)
    if overflow >= 0:
        raise DataError(
            f"more than 255 events fall into the step of event {overflow} (t_us = {events.t_us[overflow]}), channel "
            f"{place[events.channel[overflow]]} after grouping; a count holds at most 255: use a smaller dt_ms or "
            "channel_group"
        )
    return counts.reshape(n_steps, *sensor)


def bin_recording(events: Events, binning: Binning, where: str) -> NDArray[np.uint8]:
    """:func:`bin_events` of a recording to be classified; ``where`` is named in errors, as where it has no events."""
    if len(events) == 0:
        raise DataError(f"{where} has no events; a recording without spikes cannot be classified")
    try:
        return bin_events(events, binning)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error


def binned_sensor(sensor: tuple[int, ...], channel_group: int) -> tuple[int, ...]:
    """Shape of one step after grouping: ``(n / g,)``, or ``(polarity, height / g, width / g)`` of an event camera.

    Raises ConfigError if the groups do not divide the sensor.
    """
    axes = min(len(sensor), 2)  # polarities stay apart
    kept, grouped = sensor[:-axes], sensor[-axes:]
    if any(size % channel_group for size in grouped):
        what = f"{grouped[0]} channels" if axes == 1 else f"{grouped[0]} x {grouped[1]} pixels"
        raise ConfigError(f"channel_group {channel_group} does not divide the {what} of the events")
    return (*kept, *(size // channel_group for size in grouped))


@lru_cache(maxsize=8)
def _places(sensor: tuple[int, ...], channel_group: int) -> tuple[tuple[int, ...], NDArray[np.int64]]:
    """Shape after grouping, and where in it, flattened, each channel of the sensor goes."""
    shape = binned_sensor(sensor, channel_group)
    at = list(np.unravel_index(np.arange(math.prod(sensor)), sensor))
    for axis in range(-min(len(sensor), 2), 0):
        at[axis] = at[axis] // channel_group
    place = np.ravel_multi_index(tuple(at), shape).astype(np.int64)
    place.setflags(write=False)
    return shape, place
