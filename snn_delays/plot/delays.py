"""Learned delays: where they lie, and how they moved."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, StrMethodFormatter
from numpy.typing import ArrayLike

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.plot.style import BLUE, GREY, ORANGE, array, axes_or_new, colorbar, panels


def delay_histogram(
    delay_steps: ArrayLike,
    *,
    max_delay_steps: int,
    dt_ms: float,
    initial: ArrayLike | None = None,
    ax: Axes | None = None,
) -> Axes:
    """How many delays round to each step, learned and initial (outline); steps below, milliseconds above.

    Raises ConfigError for delays outside ``0..max_delay_steps``.
    """
    ax = axes_or_new(ax)
    edges = np.arange(max_delay_steps + 2) - 0.5
    ax.hist(_delays(delay_steps, max_delay_steps, "delays"), edges.tolist(), color=BLUE, rwidth=0.85, label="learned")
    if initial is not None:
        counts, _ = np.histogram(_delays(initial, max_delay_steps, "initial delays"), edges)
        ax.stairs(counts, edges, color=ORANGE, linewidth=1.4, label="initial")
        ax.legend(frameon=False, fontsize=8, loc="upper center", ncols=2)
        ax.margins(y=0.15)
    ax.set(xlim=(edges[0], edges[-1]), xlabel="delay (steps)", ylabel="synapses")
    above = ax.secondary_xaxis(
        "top", functions=(lambda steps: np.multiply(steps, dt_ms), lambda ms: np.divide(ms, dt_ms))
    )
    above.set_xlabel("delay (ms)", fontsize=9)
    above.tick_params(labelsize=8)
    return ax


def delay_movement(
    initial: ArrayLike,
    final: ArrayLike,
    *,
    dt_ms: float,
    min_delay_steps: int = 0,
    max_delay_steps: int | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Learned against initial delay of every synapse, as a density; on the diagonal nothing moved.

    Raises ShapeError if there are not as many of both.
    """
    before, after = array(initial, 1, "initial delays"), array(final, 1, "delays")
    if before.shape != after.shape:
        raise ShapeError(f"{before.size} initial delays but {after.size} in the end")
    longest = max(before.max(), after.max()) if max_delay_steps is None else max_delay_steps
    ax = axes_or_new(ax, 4.0, 3.5)
    bins = np.linspace(0, longest, 49)
    drawn = ax.hist2d(before, after, bins=[bins, bins], norm=LogNorm(), cmap="viridis")[3]
    ax.plot([0, longest], [0, longest], color=GREY, linewidth=0.8, linestyle="--")
    ticks = LogLocator(subs=(1, 2, 5))  # layers with few synapses span less than a decade
    colorbar(ax, drawn, "synapses", ticks=ticks, format=StrMethodFormatter("{x:g}")).ax.minorticks_off()
    moved = np.abs(after - before)
    at_ends = np.mean((after <= min_delay_steps) | (after >= longest))
    ax.set_title(
        f"moved {moved.mean():.2f} steps ({moved.mean() * dt_ms:.0f} ms) on average;\n"
        f"{np.mean(moved > 1):.0%} by more than a step; {at_ends:.0%} at the ends",
        fontsize=8,
        loc="left",
    )
    ax.set(xlabel="initial delay (steps)", ylabel="learned delay (steps)", aspect="equal")
    return ax


def delays_figure(layers: Mapping[str, tuple[ArrayLike, ArrayLike, int, int]], *, dt_ms: float) -> Figure:
    """Histogram and movement of every layer's ``(initial, final, min_delay_steps, max_delay_steps)``.

    Raises ShapeError if there is no layer.
    """
    if not layers:
        raise ShapeError("there is no layer with delays to draw")
    figure, rows = panels(len(layers), 2, 9.0, 3.3 * len(layers), width_ratios=[1.5, 1])
    for (left, right), (name, (initial, final, shortest, longest)) in zip(rows, layers.items()):
        delay_histogram(final, max_delay_steps=longest, dt_ms=dt_ms, initial=initial, ax=left)
        left.set_title(name, loc="left", fontsize=10)
        delay_movement(initial, final, dt_ms=dt_ms, min_delay_steps=shortest, max_delay_steps=longest, ax=right)
    return figure


def _delays(values: ArrayLike, longest: int, what: str) -> np.ndarray:
    delays = array(values, 1, what)
    if delays.min() < 0 or delays.max() > longest:
        raise ConfigError(f"{what} must lie in 0..{longest} steps, got {delays.min():g}..{delays.max():g}")
    return delays
