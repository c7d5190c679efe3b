"""What layers do on a sample: spikes, spikes that a change moved, membranes of the readout."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.style import BLUE, GREY, INK, RED, array, axes_or_new, panels


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
    end = len(counts) if length is None else length
    if not 0 < end <= len(counts):
        raise ConfigError(f"length must lie in 1..{len(counts)} steps, got {end}")
    ax = axes_or_new(ax)
    time, neuron = np.nonzero(counts)
    if time.size:
        sizes = _dot_size(counts, 0.6) * np.minimum(counts[time, neuron], 4) ** 0.5
        ax.scatter((time + 0.5) * dt_ms, neuron, s=sizes, c=color, marker="o", linewidths=0)
        ax.set_title(f"{counts[:end].mean():.3f} spikes per neuron and step", loc="right", fontsize=7)
    else:
        ax.text(0.5, 0.5, "no spikes", transform=ax.transAxes, ha="center", va="center", color=GREY)
    _time_axis(ax, counts, dt_ms, end)
    return _neuron_axis(ax, counts, title)


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


def changed_spikes(
    before: ArrayLike, after: ArrayLike, *, dt_ms: float, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Spikes ``[time, neuron]`` that were kept (grey), lost (red) and new (blue); the legend counts them.

    Raises ShapeError if the two are not rasters of one shape.
    """
    old, new = array(before, 2, "the raster before") > 0, array(after, 2, "the raster after") > 0
    if old.shape != new.shape:
        raise ShapeError(f"the rasters before and after have shapes {old.shape} and {new.shape}")
    ax = axes_or_new(ax)
    size = _dot_size(old, 0.8)
    kinds = {"kept": (old & new, GREY, size), "lost": (old & ~new, RED, 2 * size), "new": (new & ~old, BLUE, 2 * size)}
    for name, (spikes, color, dots) in kinds.items():
        time, neuron = np.nonzero(spikes)
        ax.scatter((time + 0.5) * dt_ms, neuron, s=dots, c=color, linewidths=0, label=f"{name} {len(time):,}")
    ax.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=7, markerscale=2, borderaxespad=0
    )
    _time_axis(ax, old, dt_ms)
    return _neuron_axis(ax, old, title)


def changed_spikes_figure(
    before: Mapping[str, ArrayLike], after: Mapping[str, ArrayLike], *, dt_ms: float, title: str = ""
) -> Figure:
    """One :func:`changed_spikes` for each layer, over one time axis. Raises ShapeError for other layers."""
    if not before or list(before) != list(after):
        raise ShapeError(
            f"the layers before are {list(before)}, after {list(after)}; they must be the same, at least one"
        )
    figure, axes = panels(len(before), 1, 7.5, 0.8 + 2.2 * len(before), title=title, sharex=True)
    for ax, name in zip(axes[:, 0], before):
        changed_spikes(before[name], after[name], dt_ms=dt_ms, ax=ax, title=name).label_outer()
    return figure


def membrane_traces(
    v: ArrayLike,
    *,
    dt_ms: float,
    label: int,
    prediction: int,
    class_names: Sequence[str],
    ax: Axes | None = None,
    length: int | None = None,
) -> Axes:
    """Readout membranes ``[time, class]`` of one sample; the true class and the predicted one stand out.

    ``length`` greys the steps after the recording's end. Raises ShapeError for another shape, ConfigError for a class
    that is not there.
    """
    traces = array(v, 2, "readout membranes")
    steps, classes = traces.shape
    for what, number in (("label", label), ("prediction", prediction)):
        if not 0 <= number < classes:
            raise ConfigError(f"{what} {number} is none of the {classes} classes")
    if len(class_names) != classes:
        raise ConfigError(f"{classes} classes need as many names, got {len(class_names)}")
    ax = axes_or_new(ax, 7.5, 3.2)
    time = (np.arange(steps) + 1) * dt_ms
    ax.plot(time, np.delete(traces, [label, prediction], 1), color=GREY, linewidth=0.6)
    right = prediction == label
    if not right:
        ax.plot(time, traces[:, prediction], color=RED, linewidth=1.6, label=f"predicted: {class_names[prediction]}")
    name = f"{'true and predicted' if right else 'true'}: {class_names[label]}"
    ax.plot(time, traces[:, label], color=BLUE, linewidth=1.6, label=name)
    _time_axis(ax, traces, dt_ms, length)
    ax.set_ylabel("membrane of the readout")
    ax.legend(frameon=False, fontsize=8, loc="upper right")
    return ax


def _dot_size(spikes: Any, least: float) -> float:
    return float(np.clip(4000 / spikes.size**0.75, least, 9))


def _time_axis(ax: Axes, values: Any, dt_ms: float, length: int | None = None) -> None:
    """Time in ms along ``values``, grey from step ``length`` on."""
    steps = len(values)
    if length is not None and length < steps:
        ax.axvspan(length * dt_ms, steps * dt_ms, color=GREY, alpha=0.25, linewidth=0)
    ax.set(xlim=(0, steps * dt_ms), xlabel="time (ms)")


def _neuron_axis(ax: Axes, spikes: Any, title: str | None) -> Axes:
    ax.set(ylim=(-0.5, spikes.shape[1] - 0.5), ylabel="neuron")
    if title:
        ax.set_title(title, loc="left", fontsize=9)
    return ax
