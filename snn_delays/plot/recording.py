"""One recording of a data set: spikes of channels, frames of an event camera, or features."""

import math

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, GREY, INK, array, colorbar, panels

_SLICES = 6


def events_figure(t_us: ArrayLike, channel: ArrayLike, sensor: tuple[int, ...], *, title: str = "") -> Figure:
    """Events of one recording. ``t_us``, ``channel`` ``[event]`` and ``sensor`` as in :class:`snn_delays.data.Events`.

    One line of channels: a dot an event, and beside it the events of each channel. An event camera: for each polarity
    the events a pixel had in six equal slices of time. Raises ShapeError unless there are as many times as channels, at
    least one, and all on the sensor.
    """
    times, channels = array(t_us, 1, "times"), array(channel, 1, "channels").astype(np.int64)
    if times.shape != channels.shape:
        raise ShapeError(f"{times.size} times and {channels.size} channels; every event needs both")
    if len(sensor) not in (1, 3):
        raise ShapeError(f"a sensor is (channels,) or (polarity, height, width), got {sensor}")
    if channels.min() < 0 or channels.max() >= math.prod(sensor) or times.min() < 0:
        raise ShapeError(
            f"channels must lie in 0..{math.prod(sensor) - 1} and times at 0 or later, got channels "
            f"{channels.min()}..{channels.max()} and times from {times.min():g} us"
        )
    return _raster(times, channels, sensor[0], title) if len(sensor) == 1 else _slices(times, channels, sensor, title)


def features_figure(frames: ArrayLike, *, frame_ms: float, title: str = "", unit: str = "dB") -> Figure:
    """Features ``[time, channel]`` as a picture: time across, channels upwards. Raises ShapeError for another shape."""
    values = array(frames, 2, "features")
    figure, axes = panels(1, 1, 7.0, 3.6, title=title)
    ax = axes[0, 0]
    # A frame is centred on its time.
    extent = (-frame_ms / 2, (len(values) - 0.5) * frame_ms, -0.5, values.shape[1] - 0.5)
    image = ax.imshow(values.T, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
    ax.set(xlabel="time (ms)", ylabel="channel")
    colorbar(ax, image, unit)
    return figure


def _raster(t_us: NDArray[np.float64], channel: NDArray[np.int64], n_channels: int, title: str) -> Figure:
    figure, axes = panels(1, 2, 8.0, 4.0, title=title, sharey=True, width_ratios=[5, 1])
    ax, beside = axes[0]
    size = float(np.clip(6000 / t_us.size, 0.4, 8))
    ax.scatter(t_us / 1000, channel, s=size, c=INK, linewidths=0)
    ax.set(xlim=(0, t_us.max() / 1000 * 1.02 or 1), ylim=(-0.5, n_channels - 0.5))
    ax.set(xlabel="time (ms)", ylabel="channel")
    ax.set_title(f"{t_us.size:,} events", loc="right", fontsize=7)
    counts = np.bincount(channel, minlength=n_channels)
    edges = np.arange(n_channels + 1) - 0.5  # every channel is a whole step, the outermost too
    beside.stairs(counts, edges.tolist(), orientation="horizontal", fill=True, color=BLUE)
    beside.set(xlabel="events", xlim=(0, None))
    return figure


def _slices(t_us: NDArray[np.float64], channel: NDArray[np.int64], sensor: tuple[int, ...], title: str) -> Figure:
    polarities, height, width = sensor
    end = t_us.max() + 1
    which = np.minimum((t_us * _SLICES / end).astype(np.int64), _SLICES - 1)
    frames = np.bincount(which * math.prod(sensor) + channel, minlength=_SLICES * math.prod(sensor))
    frames = frames.reshape(_SLICES, *sensor)
    # A few hot pixels would leave all others white.
    brightest = max(float(np.percentile(frames[frames > 0], 99)), 1.0)
    figure, axes = panels(polarities, _SLICES, 1.45 * _SLICES, 0.7 + 1.4 * polarities * height / width, title=title)
    names = ("off", "on") if polarities == 2 else tuple(f"polarity {p}" for p in range(polarities))
    for (p, k), ax in zip(np.ndindex(polarities, _SLICES), axes.flat):
        ax.imshow(frames[k, p], cmap="Blues" if p else "Oranges", vmin=0, vmax=brightest, interpolation="nearest")
        ax.set(xticks=[], yticks=[])
        ax.spines[:].set(visible=True, color=GREY)
        if p == 0:
            ax.set_title(f"{k * end / _SLICES / 1000:.0f} to {(k + 1) * end / _SLICES / 1000:.0f} ms", fontsize=7)
        if k == 0:
            ax.set_ylabel(f"{names[p]}\n{frames[:, p].sum():,} events", fontsize=8)
    return figure
