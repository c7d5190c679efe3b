"""N-MNIST simulated: a digit moved by the three published saccades before a model of an event camera.

Not recordings. Motion: Orchard, Jayawant, Cohen and Thakor, "Converting static image datasets to spiking neuromorphic
datasets using saccades", Frontiers in Neuroscience 9:437, 2015. Camera: the pixel of Lichtsteiner, Posch and Delbruck,
IEEE JSSC 43(2):566, 2008, with the imperfections that Hu, Liu and Delbruck, "v2e", CVPR workshops 2021, list.
Equations, comparison with the recordings, and what does not match: docs/nmnist.md.
"""

import math
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.compiling import cached_njit
from snn_delays.data.events import Events
from snn_delays.data.numbers import plain_numbers
from snn_delays.errors import ConfigError, DataError

SENSOR = 34
IMAGE = 28
N_CHANNELS = 2 * SENSOR * SENSOR
DURATION_MS = 310
KNOT_MS = 10
Floats = NDArray[np.float64]
_MARGIN = 8  # px of paper around the sensor; the picture may move by one less

# fmt: off
_X_PX = (
    -2.51, -2.51, -2.64, -2.61, -2.60, -2.44, -1.63, -1.20, -0.87, -0.87, -0.77, -0.66, -0.47, 0.16, 0.98, 1.45,
    1.55, 2.01, 2.24, 2.39, 2.59, 2.80, 2.85, 2.45, 1.56, 0.56, -0.67, -1.63, -1.98, -2.53, -2.31, -2.31,
)
_Y_PX = (
    -1.64, -1.44, -1.11, -0.39, 0.85, 2.18, 3.05, 3.58, 3.61, 3.61, 3.52, 3.47, 3.51, 3.16, 2.25, 0.94,
    -0.23, -1.33, -1.56, -1.58, -1.49, -1.47, -1.52, -1.61, -1.60, -1.69, -1.74, -1.72, -1.84, -1.87, -1.85, -1.73,
)
# fmt: on

PATH_PX: Floats = np.stack([_X_PX, _Y_PX], axis=1)
"""Where the picture is, px to the right and downwards of the middle, [knot, (x, y)], every 10 ms from 0 to 310 ms.

The published triangle as the pan-tilt unit really drove it, fitted to the 1,000 first training recordings.
"""
PATH_PX.setflags(write=False)

TEST_SHIFT_PX = (-0.10, -0.80)
"""How much farther right and down the picture lay in the test recordings: they were made in another session."""

ONSET_JITTER_MS = (0.7, 2.6, 2.1)
"""Standard deviation of the time at which each saccade comes, from recording to recording."""
_JITTER_AT_MS = ((0, 50), (100, 150), (205, 310))  # it passes to the next saccade's while the picture rests


@dataclass(frozen=True)
class EventCamera:
    """An event camera that looks at a page; the defaults make it resemble the one that recorded N-MNIST.

    The ink q in [0, 1] (grey value / 255, blurred by a Gaussian of ``blur_px``) leaves the light ``1 - contrast q``,
    and a pixel follows its logarithm with the time constant ``low_pass_ms``. An event fires when the followed value has
    risen by ``threshold_on``, or fallen by ``threshold_off``, from where the pixel began to compare; it then rests for
    ``refractory_ms`` and begins anew from the value it finds. Below 0, ``contrast`` is light ink on dark paper.

    - ``mismatch``: standard deviation of the logarithm of a pixel's thresholds over the pixels, drawn from
      ``camera_seed``: the same in every recording, as with a real sensor.
    - ``threshold_noise``: the same from event to event of a pixel.
    - ``leak_per_s``: events per second and pixel (ON) that come of themselves, as the reference leaks away;
      ``leak_mismatch``: standard deviation of its logarithm over the pixels.
    - ``stray_off_per_s``: OFF events per second and pixel at random.
    - ``latency_us``: mean of the exponential time by which an event is read out late.

    The defaults are fitted to N-MNIST's training recordings (docs/nmnist.md), but for three: ``threshold_noise`` was
    chosen between what pictures (less) and intervals (more) required; ``leak_mismatch`` and ``latency_us`` are guesses,
    too small to be seen beside the rest.

    Raises ConfigError for numbers that no camera has.
    """

    contrast: float = 0.836
    blur_px: float = 0.5
    threshold_on: float = 0.225
    threshold_off: float = 0.187
    mismatch: float = 0.15
    threshold_noise: float = 0.25
    low_pass_ms: float = 3.3
    refractory_ms: float = 0.7
    leak_per_s: float = 0.37
    leak_mismatch: float = 0.5
    stray_off_per_s: float = 0.012
    latency_us: float = 50.0
    camera_seed: int = 0

    def __post_init__(self) -> None:
        plain_numbers(self)
        for field in fields(self):
            if not math.isfinite(getattr(self, field.name)):
                raise ConfigError(f"{field.name} must be a finite number, got {getattr(self, field.name)}")
            if field.name != "contrast" and getattr(self, field.name) < 0:
                raise ConfigError(f"{field.name} must not be negative, got {getattr(self, field.name)}")
        if not self.contrast < 1:
            raise ConfigError(f"contrast must be below 1 (ink that leaves no light at all), got {self.contrast}")
        for name in ("threshold_on", "threshold_off", "refractory_ms"):
            if getattr(self, name) == 0:
                raise ConfigError(f"{name} must be positive")


def simulate_saccades(
    image: NDArray[np.uint8],
    generator: np.random.Generator,
    camera: EventCamera | None = None,
    path_px: Floats = PATH_PX,
    onset_jitter_ms: tuple[float, float, float] = ONSET_JITTER_MS,
) -> Events:
    """Events of a camera of 34 x 34 pixels before an image uint8 ``[28, 28]`` that moves along ``path_px``.

    ``path_px``: see :func:`along`; by default the three saccades of N-MNIST in 310 ms, each early or late by a normal
    number of the given standard deviation. Channel ``(p * 34 + y) * 34 + x`` with p = 1 for ON, times in microseconds.
    The same state of the generator gives the same events.

    Raises DataError for another image, ConfigError for a path that leaves the page.
    """
    camera = camera or EventCamera()
    image = np.asarray(image)
    if image.shape != (IMAGE, IMAGE) or image.dtype != np.uint8:
        raise DataError(f"an image must be uint8 of shape (28, 28), got {image.dtype} of shape {image.shape}")
    path = along(path_px)
    if not np.abs(path).max() < _MARGIN - 1:
        raise ConfigError(f"the path may move the picture by less than {_MARGIN - 1} px, got {np.abs(path).max():g}")
    path = _late(path, np.array(onset_jitter_ms) * generator.standard_normal(3))
    on, off, leak = _sensor(camera)
    constants = camera.threshold_noise, camera.low_pass_ms, camera.refractory_ms
    times, channels = _watch(_log_light(image, camera), path, on, off, leak, *constants, generator)
    duration_ms = len(path) - 1
    n_stray = generator.poisson(camera.stray_off_per_s * duration_ms / 1000 * SENSOR**2)
    times = np.concatenate([times, generator.uniform(0, duration_ms, n_stray)])
    channels = np.concatenate([channels, generator.integers(0, SENSOR**2, n_stray)])
    t_us = np.floor(1000 * times + camera.latency_us * generator.standard_exponential(times.size)).astype(np.int64)
    order = np.lexsort((channels, t_us))
    order = order[t_us[order] < 1000 * duration_ms]  # what is read out after the recording's end is not in it
    return Events(t_us[order], channels[order], N_CHANNELS, (2, SENSOR, SENSOR))


def session_path_px(split: Literal["Train", "Test"]) -> Floats:
    """``PATH_PX`` where it lay when the recordings of that split of N-MNIST were made."""
    return PATH_PX + (TEST_SHIFT_PX if split == "Test" else 0.0)


def along(path_px: Floats) -> Floats:
    """The path at every millisecond, px from the middle [ms, (x, y)]: a Catmull-Rom spline through knots 10 ms apart.

    Raises ConfigError for another shape, or numbers that are not finite.
    """
    knots = np.asarray(path_px, dtype=np.float64)
    if knots.ndim != 2 or knots.shape[1] != 2 or len(knots) < 2 or not np.isfinite(knots).all():
        raise ConfigError(f"a path is finite numbers [knot, (x, y)], at least two knots; got shape {knots.shape}")
    t = np.arange(KNOT_MS * (len(knots) - 1) + 1) / KNOT_MS
    i = np.minimum(t.astype(np.int64), len(knots) - 2)
    u = (t - i)[:, None]
    a, b = knots[i], knots[i + 1]
    before, after = knots[np.maximum(i - 1, 0)], knots[np.minimum(i + 2, len(knots) - 1)]
    bend = 2 * before - 5 * a + 4 * b - after + u * (3 * (a - b) + after - before)
    return a + 0.5 * u * (b - before + u * bend)


def _late(path: Floats, late_ms: Floats) -> Floats:
    """The path [ms, (x, y)] with its three saccades late by so many ms."""
    t = np.arange(len(path), dtype=np.float64)
    then = t - np.interp(t, np.ravel(_JITTER_AT_MS), np.repeat(late_ms, 2))  # before the start and after the end: rest
    return np.stack([np.interp(then, t, path[:, axis]) for axis in (0, 1)], axis=1)


def _log_light(image: NDArray[np.uint8], camera: EventCamera) -> Floats:
    """Logarithm of the light of the page, [row, column], with the digit in the middle."""
    size = SENSOR + 2 * _MARGIN
    edge = (size - IMAGE) // 2
    page = np.zeros((size, size))
    page[edge : edge + IMAGE, edge : edge + IMAGE] = image / 255.0
    spread = _blur(size, camera.blur_px)
    return np.log1p(-camera.contrast * (spread @ page @ spread))


@lru_cache(maxsize=4)
def _blur(size: int, sigma_px: float) -> Floats:
    """The matrix that blurs a row of so many pixels; symmetric but for the normed edges, where the page is blank."""
    if sigma_px == 0:
        return np.eye(size)
    distance = np.arange(size)[:, None] - np.arange(size)
    weights = np.exp(-(distance**2) / (2 * sigma_px**2))
    return weights / weights[size // 2].sum()


@lru_cache(maxsize=4)
def _sensor(camera: EventCamera) -> tuple[Floats, Floats, Floats]:
    """Thresholds ON and OFF and the leak in log light per ms of every pixel, [y, x]."""
    draws = np.random.Generator(np.random.PCG64(camera.camera_seed)).standard_normal((3, SENSOR, SENSOR))
    on = camera.threshold_on * np.exp(camera.mismatch * draws[0])
    off = camera.threshold_off * np.exp(camera.mismatch * draws[1])
    # exp of a normal number has a mean above 1, which the rate must not have.
    spread = np.exp(camera.leak_mismatch * draws[2] - camera.leak_mismatch**2 / 2)
    return on, off, camera.leak_per_s / 1000 * spread * on


@cached_njit(nogil=True)
def _watch(log_light, path_px, on, off, leak_per_ms, noise, low_pass_ms, refractory_ms, generator):  # type: ignore[no-untyped-def]
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
