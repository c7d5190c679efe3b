"""Events to counts ``[time, channel]``: the two named rules by which time is cut."""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.events import Events
from snn_delays.errors import ConfigError, DataError

_RULES = ("fixed", "event_anchored_v2023")


@dataclass(frozen=True)
class Binning:
    """How events become counts.

    ``rule="fixed"``: step k holds the events with ``k dt <= t < (k+1) dt``, time 0 being stimulus onset; the last step
    is that of the last event. Latency and silences are kept.

    ``rule="event_anchored_v2023"``: a frame opens at the next event, at ``t_l``, and takes every event with
    ``t - t_l <= dt`` (the end is included); silences between frames vanish. This is how the SpikingJelly of 2023 cut
    SHD for the published results of Hammouamri et al. (ICLR 2024); see docs/data.md for what differs.

    ``dt_ms``: milliseconds, a whole number of microseconds. ``channel_group``: so many neighbouring channels are summed
    into one (700 to 140 by 5, as in the paper). Raises ConfigError on anything else.
    """

    rule: Literal["fixed", "event_anchored_v2023"] = "fixed"
    dt_ms: float = 10.0
    channel_group: int = 5

    def __post_init__(self) -> None:
        if self.rule not in _RULES:
            raise ConfigError(f"unknown binning rule {self.rule!r}; choose one of {', '.join(_RULES)}")
        if not (math.isfinite(self.dt_ms) and self.dt_ms > 0):
            raise ConfigError(f"dt_ms must be a positive number of milliseconds, got {self.dt_ms}")
        if abs(self.dt_ms * 1000 - round(self.dt_ms * 1000)) > 1e-6:
            raise ConfigError(f"dt_ms must be a whole number of microseconds, got {self.dt_ms} ms")
        if not (isinstance(self.channel_group, int) and self.channel_group >= 1):
            raise ConfigError(f"channel_group must be a whole number >= 1, got {self.channel_group}")

    @property
    def dt_us(self) -> int:
        """The width of a step in microseconds."""
        return round(self.dt_ms * 1000)


def bin_events(events: Events, binning: Binning) -> NDArray[np.uint8]:
    """Counts of events per step and group of channels, uint8 ``[time, n_channels / channel_group]``.

    The counts sum to the number of events. Without events there are no steps: shape ``[0, channels]``.

    Raises ConfigError if the groups do not divide the channels, DataError if a count exceeds 255.
    """
    if events.n_channels % binning.channel_group:
        raise ConfigError(
            f"channel_group {binning.channel_group} does not divide the {events.n_channels} channels of the events"
        )
    n_channels = events.n_channels // binning.channel_group
    if len(events) == 0:
        return np.zeros((0, n_channels), dtype=np.uint8)
    step = events.t_us // binning.dt_us if binning.rule == "fixed" else _anchored_steps(events.t_us, binning.dt_us)
    n_steps = int(step[-1]) + 1
    flat = step * n_channels + events.channel // binning.channel_group
    counts = np.bincount(flat, minlength=n_steps * n_channels)
    if counts.max() > 255:
        where = divmod(int(counts.argmax()), n_channels)
        raise DataError(
            f"{int(counts.max())} events fall into step {where[0]}, channel {where[1]}; a count holds at most 255: "
            "use a smaller dt_ms or channel_group"
        )
    return counts.astype(np.uint8).reshape(n_steps, n_channels)


def _anchored_steps(t_us: NDArray[np.int64], dt_us: int) -> NDArray[np.int64]:
    """Frame number of each event when every frame opens at the first event that the previous one left."""
    step = np.zeros(t_us.size, dtype=np.int64)
    start = 0
    frame = 0
    while start < t_us.size:
        end = int(np.searchsorted(t_us, t_us[start] + dt_us, side="right"))
        step[start:end] = frame
        start, frame = end, frame + 1
    return step
