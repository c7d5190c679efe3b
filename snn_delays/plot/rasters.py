"""Spike rasters."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.style import BLUE, GREY, INK, array, axes_or_new, panels


def raster(
    spikes: ArrayLike,
    *,
    dt_ms: float,
    ax: Axes | None = None,
    length: int | None = None,
    title: str | None = None,
    color: str = INK,
) -> Axes:
    """Spikes ``[time, neuron]`` (0/1 or counts) as dots: time in ms across, neurons upwards; dots grow up to 4.

    ``length`` greys the steps from there on, the silence after a recording's end. The title's right says how many
    spikes a neuron fires in a step on average, before that end. Raises ShapeError for another shape or values below
    zero.
    """
    counts = array(spikes, 2, "a raster")
    if counts.min() < 0:
        raise ShapeError(f"a raster holds spikes, got values down to {counts.min():g}")
    steps, neurons = counts.shape
    end = steps if length is None else length
    if not 0 < end <= steps:
        raise ConfigError(f"length must lie in 1..{steps} steps, got {end}")
    ax = axes_or_new(ax)
    time, neuron = np.nonzero(counts)
    if time.size:
        crowding = np.clip(4000 / (neurons * steps) ** 0.75, 0.6, 9)
        ax.scatter(
            (time + 0.5) * dt_ms,
            neuron,
            s=crowding * np.minimum(counts[time, neuron], 4) ** 0.5,
            c=color,
            marker="o",
            linewidths=0,
        )
        rate = counts[:end].mean()
        ax.set_title(f"{rate:.3f} spikes per neuron and step", loc="right", fontsize=7)
    else:
        ax.text(0.5, 0.5, "no spikes", transform=ax.transAxes, ha="center", va="center", color=GREY)
    if end < steps:
        ax.axvspan(end * dt_ms, steps * dt_ms, color=GREY, alpha=0.25, linewidth=0)
    ax.set(xlim=(0, steps * dt_ms), ylim=(-0.5, neurons - 0.5), xlabel="time (ms)", ylabel="neuron")
    if title:
        ax.set_title(title, loc="left", fontsize=9)
    return ax


def raster_figure(
    layers: Mapping[str, ArrayLike], *, dt_ms: float, length: int | None = None, title: str = ""
) -> Figure:
    """Rasters of several layers over one time axis, the input first. Raises ShapeError if there is none."""
    if not layers:
        raise ShapeError("there is no layer to draw")
    sizes = [np.asarray(spikes).shape[-1] for spikes in layers.values()]
    heights = [max(size, max(sizes) / 3) for size in sizes]
    height = 1.2 + 2.0 * sum(heights) / max(heights)
    figure, axes = panels(len(layers), 1, 7.5, height, title=title, sharex=True, height_ratios=heights)
    for i, (ax, (name, spikes)) in enumerate(zip(axes[:, 0], layers.items())):
        raster(spikes, dt_ms=dt_ms, ax=ax, length=length, title=name, color=BLUE if i == 0 else INK)
        ax.set_ylabel("channel" if i == 0 else "neuron")
        ax.label_outer()
    return figure
