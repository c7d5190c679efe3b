"""Changes made to a recording at random, before it is binned: pure functions, every draw from the generator passed in.

Each takes :class:`Events` and returns new ones, sorted by time, the order of equal times kept; those given stay as they
were. Spikes that leave the recording (before time 0, from ``end_us`` on where that is given, beyond the sensor) are
dropped, never moved to its edge; how many did is the difference of the lengths. For changes to whole batches after
binning see :mod:`snn_delays.data.augment`.
"""

import math
from dataclasses import replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.arguments import integer
from snn_delays.data.events import Events
from snn_delays.errors import ConfigError


def jitter(events: Events, sigma_us: float, generator: np.random.Generator, end_us: int | None = None) -> Events:
    """Move every spike on its own: ``t' = round(t + e)``, ``e ~ N(0, sigma_us)``.

    Without ``end_us`` a recording may grow at its end. Raises ConfigError unless ``sigma_us`` is a number >= 0.
    """
    _check_amount("sigma_us", sigma_us)
    moved = np.rint(events.t_us + generator.normal(0.0, sigma_us, len(events))).astype(np.int64)
    return _retimed(events, moved, end_us)


def time_shift(
    events: Events, low_us: int, high_us: int, generator: np.random.Generator, end_us: int | None = None
) -> Events:
    """Move the whole recording: ``t' = t + k``, k drawn once from ``low_us..high_us``, both included; below 0: earlier.

    With ``low_us >= 0`` and no ``end_us`` no spike is lost. Raises ConfigError if ``low_us > high_us``.
    """
    low_us, high_us = integer("low_us", low_us), integer("high_us", high_us)
    if low_us > high_us:
        raise ConfigError(f"low_us must not exceed high_us, got {low_us} and {high_us}")
    return _retimed(events, events.t_us + generator.integers(low_us, high_us, endpoint=True), end_us)


def time_scale(
    events: Events, low: float, high: float, generator: np.random.Generator, end_us: int | None = None
) -> Events:
    """Stretch the whole recording: ``t' = round(a t)``, ``a ~ U(low, high)``, drawn once.

    Raises ConfigError unless ``0 < low <= high``.
    """
    if not (0 < low <= high < math.inf):
        raise ConfigError(f"factors of time must be 0 < low <= high, got {low} and {high}")
    return _retimed(events, np.rint(events.t_us * generator.uniform(low, high)).astype(np.int64), end_us)


def channel_shift(events: Events, max_shift: int, generator: np.random.Generator) -> Events:
    """Move the recording along the channels: ``c' = c + k``, k drawn once from ``-max_shift..max_shift``, both in.

    Nothing wraps around. Raises ConfigError unless ``0 <= max_shift < channels``, or for a sensor in two dimensions,
    where the next number is not the next place: see :func:`spatial_shift`. Source: Meszaros, Knight and Nowotny, Nature
    Communications 2025 (SHD: 40 of 700).
    """
    if len(events.sensor) != 1:
        raise ConfigError(f"channel_shift needs channels in a row, the sensor is {events.sensor}; use spatial_shift")
    max_shift = integer("max_shift", max_shift)
    if not 0 <= max_shift < events.n_channels:
        raise ConfigError(f"max_shift must lie in 0 to {events.n_channels - 1} channels, got {max_shift}")
    channel = events.channel + generator.integers(-max_shift, max_shift, endpoint=True)
    inside = (channel >= 0) & (channel < events.n_channels)
    return replace(events, t_us=events.t_us[inside], channel=channel[inside])


def spike_drop(events: Events, probability: float, generator: np.random.Generator) -> Events:
    """Drop every spike with ``probability``, each on its own. Raises ConfigError for one outside [0, 1]."""
    check_probability(probability)
    kept = generator.random(len(events)) >= probability
    return replace(events, t_us=events.t_us[kept], channel=events.channel[kept])


def poisson_noise(events: Events, rate_hz: float, duration_us: int, generator: np.random.Generator) -> Events:
    """Add Poisson spikes to every channel: their number ``~ Poisson(rate_hz duration)``, times uniform below it.

    Raises ConfigError unless ``rate_hz`` is a number >= 0 and ``duration_us`` >= 1.
    """
    _check_amount("rate_hz", rate_hz)
    count = generator.poisson(rate_hz * duration_us / 1e6 * events.n_channels) if duration_us >= 1 else 0
    return uniform_noise(events, int(count), duration_us, generator)


def uniform_noise(events: Events, spikes: int, duration_us: int, generator: np.random.Generator) -> Events:
    """Add exactly so many spikes, each at a time ``0..duration_us - 1`` and in a channel drawn uniformly.

    Raises ConfigError unless ``spikes >= 0`` and ``duration_us >= 1``.
    """
    spikes, duration_us = integer("spikes", spikes), integer("duration_us", duration_us)
    if spikes < 0 or duration_us < 1:
        raise ConfigError(f"noise needs spikes >= 0 and duration_us >= 1, got {spikes} and {duration_us}")
    t_us = np.concatenate([events.t_us, generator.integers(duration_us, size=spikes)])
    channel = np.concatenate([events.channel, generator.integers(events.n_channels, size=spikes)])
    return Events.sorted(t_us, channel, events.n_channels, events.sensor)


def polarity_flip(events: Events, probability: float, generator: np.random.Generator) -> Events:
    """With ``probability``, reverse the polarities of the whole recording: ``p' = P - 1 - p``.

    Raises ConfigError for a probability outside [0, 1] or a sensor that is not (polarity, height, width).
    """
    return _mirrored(events, 0, probability, generator)


def spatial_flip(
    events: Events, probability: float, generator: np.random.Generator, axis: Literal["x", "y"] = "x"
) -> Events:
    """With ``probability``, mirror the whole recording: ``x' = width - 1 - x``, or ``y' = height - 1 - y``.

    Raises ConfigError for a probability outside [0, 1], another axis, or a sensor that is not (polarity, height,
    width).
    """
    if axis not in ("x", "y"):
        raise ConfigError(f"axis must be 'x' or 'y', got {axis!r}")
    return _mirrored(events, 2 if axis == "x" else 1, probability, generator)


def spatial_shift(events: Events, max_shift: int, generator: np.random.Generator) -> Events:
    """Move the recording on its sensor by ``-max_shift..max_shift`` pixels, both included, drawn for x and for y.

    Raises ConfigError unless ``0 <= max_shift`` < width and height, or for a sensor that is not (polarity, height,
    width).
    """
    _, height, width = _camera(events)
    max_shift = integer("max_shift", max_shift)
    if not 0 <= max_shift < min(height, width):
        raise ConfigError(f"max_shift must lie in 0 to {min(height, width) - 1} pixels, got {max_shift}")
    dy, dx = generator.integers(-max_shift, max_shift, endpoint=True, size=2)
    return _window(events, -int(dy), -int(dx), height, width)


def crop(events: Events, height: int, width: int, generator: np.random.Generator) -> Events:
    """A window of ``height`` by ``width`` pixels, its place drawn from all where it fits; the sensor becomes as small.

    Raises ConfigError for a window that does not fit, or a sensor that is not (polarity, height, width).
    """
    _, full_height, full_width = _camera(events)
    height, width = integer("height", height), integer("width", width)
    if not (1 <= height <= full_height and 1 <= width <= full_width):
        raise ConfigError(f"a window of {height} x {width} does not fit {full_height} x {full_width} pixels")
    top = generator.integers(full_height - height, endpoint=True)
    left = generator.integers(full_width - width, endpoint=True)
    return _window(events, int(top), int(left), height, width)


def _retimed(events: Events, t_us: NDArray[np.int64], end_us: int | None) -> Events:
    if end_us is not None and end_us < 1:
        raise ConfigError(f"end_us must be at least 1, got {end_us}")
    inside = t_us >= 0 if end_us is None else (t_us >= 0) & (t_us < end_us)
    return Events.sorted(t_us[inside], events.channel[inside], events.n_channels, events.sensor)


def _camera(events: Events) -> tuple[int, int, int]:
    if len(events.sensor) != 3:
        raise ConfigError(f"this needs a sensor of (polarity, height, width), the recording's is {events.sensor}")
    polarities, height, width = events.sensor
    return polarities, height, width


def _mirrored(events: Events, axis: int, probability: float, generator: np.random.Generator) -> Events:
    check_probability(probability)
    sensor = _camera(events)
    if generator.random() >= probability:
        return events
    place = list(np.unravel_index(events.channel, sensor))
    place[axis] = sensor[axis] - 1 - place[axis]
    return replace(events, channel=np.ravel_multi_index(tuple(place), sensor))


def _window(events: Events, top: int, left: int, height: int, width: int) -> Events:
    """What a window sees that begins at (top, left), which may lie outside; its pixels count from its own corner."""
    polarities = events.sensor[0]
    polarity, y, x = np.unravel_index(events.channel, events.sensor)
    y, x = y - top, x - left
    inside = (y >= 0) & (y < height) & (x >= 0) & (x < width)
    channel = ((polarity * height + y) * width + x)[inside]
    return Events(events.t_us[inside], channel, polarities * height * width, (polarities, height, width))


def check_probability(probability: float) -> None:
    """Raise ConfigError unless it lies in [0, 1]."""
    if not 0 <= probability <= 1:
        raise ConfigError(f"probability must lie in [0, 1], got {probability}")


def _check_amount(name: str, value: float) -> None:
    if not (math.isfinite(value) and value >= 0):
        raise ConfigError(f"{name} must be a number >= 0, got {value}")
