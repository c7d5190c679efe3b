"""Spikes before and after a network was discretised."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, GREY, RED, array, axes_or_new, panels


def changed_spikes(
    before: ArrayLike, after: ArrayLike, *, dt_ms: float, ax: Axes | None = None, title: str | None = None
) -> Axes:
    """Spikes ``[time, neuron]`` that were kept (grey), lost (red) and new (blue); the legend counts them.

    Raises ShapeError if the two are not rasters of one shape.
    """
    one, other = array(before, 2, "the raster before") > 0, array(after, 2, "the raster after") > 0
    if one.shape != other.shape:
        raise ShapeError(f"the rasters before and after have shapes {one.shape} and {other.shape}")
    ax = axes_or_new(ax)
    steps, neurons = one.shape
    size = float(np.clip(4000 / (neurons * steps) ** 0.75, 0.8, 9))
    kinds = (
        ("kept", one & other, GREY, size),
        ("lost", one & ~other, RED, 2 * size),
        ("new", other & ~one, BLUE, 2 * size),
    )
    for name, which, color, dots in kinds:
        time, neuron = np.nonzero(which)
        ax.scatter((time + 0.5) * dt_ms, neuron, s=dots, c=color, linewidths=0, label=f"{name} {len(time):,}")
    ax.legend(
        loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False, fontsize=7, markerscale=2, borderaxespad=0
    )
    ax.set(xlim=(0, steps * dt_ms), ylim=(-0.5, neurons - 0.5), xlabel="time (ms)", ylabel="neuron")
    if title:
        ax.set_title(title, loc="left", fontsize=9)
    return ax


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
