"""The pixels of the event camera of :mod:`snn_delays.data.encoders.saccades`, compiled."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.compiling import cached_njit

Floats = NDArray[np.float64]


@cached_njit(nogil=True)
def watch(
    log_light: Floats,
    path_px: Floats,
    on: Floats,
    off: Floats,
    leak_per_ms: Floats,
    noise: float,
    low_pass_ms: float,
    refractory_ms: float,
    generator: Any,
) -> Any:
    """Times in ms and channels of the events of every pixel, pixel after pixel.

    ``log_light`` [row, column] is the picture with an equal margin on all sides of the sensor, ``path_px`` [ms, (x, y)]
    where it is at every millisecond; ``on``, ``off`` thresholds and ``leak_per_ms``, in log light, are [y, x].
    """
    height, width = on.shape
    margin = (log_light.shape[0] - height) // 2
    steps = path_px.shape[0] - 1
    # A pixel rests after every event, which bounds their number.
    times = np.empty(height * width * (int(steps / refractory_ms) + 2))
    channels = np.empty(times.size, np.int64)
    count = 0
    follow = 1.0 - np.exp(-1.0 / low_pass_ms) if low_pass_ms > 0 else 1.0
    for y in range(height):
        for x in range(width):
            leak = leak_per_ms[y, x]
            seen = reference = free = 0.0
            up = on[y, x] * np.exp(noise * generator.standard_normal())
            down = off[y, x] * np.exp(noise * generator.standard_normal())
            for k in range(steps + 1):
                row, column = y + margin - path_px[k, 1], x + margin - path_px[k, 0]
                i, j = int(row), int(column)
                u, v = row - i, column - j
                above = log_light[i, j] + v * (log_light[i, j + 1] - log_light[i, j])
                below = log_light[i + 1, j] + v * (log_light[i + 1, j + 1] - log_light[i + 1, j])
                light = above + u * (below - above)
                if k == 0:  # at rest, somewhere between two leak events
                    seen = light
                    reference = seen - generator.random() * up
                    continue
                before, at = seen, k - 1.0
                seen += (light - seen) * follow
                slope = seen - before
                while True:
                    if free > at:  # resting; afterwards the present light is the reference
                        if free >= k:
                            break
                        at = free
                        reference = before + slope * (at - k + 1)
                    rise = slope + leak
                    change = before + slope * (at - k + 1) - reference
                    wait = np.inf
                    if rise > 0:
                        wait = (up - change) / rise
                    elif rise < 0:
                        wait = -(down + change) / rise
                    if at + wait >= k:
                        reference -= leak * (k - at)
                        break
                    at += max(wait, 0.0)  # below 0 by rounding alone
                    polarity = 1 if rise > 0 else 0
                    times[count] = at
                    channels[count] = (polarity * height + y) * width + x
                    count += 1
                    free = at + refractory_ms
                    up = on[y, x] * np.exp(noise * generator.standard_normal())
                    down = off[y, x] * np.exp(noise * generator.standard_normal())
    return times[:count], channels[:count]
