"""Counting events into steps and channels, one pass over the events, in Numba."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.compiling import cached_njit

Numbers = NDArray[np.int64]


@cached_njit(nogil=True)
def count_fixed(t_us: Numbers, place: Numbers, channel: Numbers, dt_us: int, counts: NDArray[np.uint8]) -> Any:
    """Add each event to ``counts[t_us // dt_us, place[channel]]``; the first event that does not fit in, or -1."""
    step, edge = 0, dt_us
    for i in range(t_us.size):
        if t_us[i] >= edge:  # times ascend, so most events need no division
            step = t_us[i] // dt_us
            edge = (step + 1) * dt_us
        p = place[channel[i]]
        if counts[step, p] == 255:
            return i
        counts[step, p] += 1
    return -1


@cached_njit(nogil=True)
def count_anchored(t_us: Numbers, place: Numbers, channel: Numbers, dt_us: int, counts: NDArray[np.uint8]) -> Any:
    """As :func:`count_fixed`, with a frame opening at the first event that the one before left."""
    frame, last = 0, t_us[0] + dt_us
    for i in range(t_us.size):
        if t_us[i] > last:
            frame, last = frame + 1, t_us[i] + dt_us
        p = place[channel[i]]
        if counts[frame, p] == 255:
            return i
        counts[frame, p] += 1
    return -1


@cached_njit(nogil=True)
def anchored_frames(t_us: Numbers, dt_us: int) -> Any:
    """Number of frames of :func:`count_anchored`."""
    frames, last = 1, t_us[0] + dt_us
    for t in t_us:
        if t > last:
            frames, last = frames + 1, t + dt_us
    return frames
