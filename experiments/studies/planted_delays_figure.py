"""Planted delays against those that were learned."""

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, GREEN, GREY, INK, ORANGE, RED, array, axes_or_new

_COLORS = (BLUE, ORANGE, GREEN, RED)


def planted_delays(
    planted: ArrayLike,
    learned: ArrayLike,
    weight: ArrayLike,
    *,
    dt_ms: float,
    ax: Axes | None = None,
    title: str | None = None,
) -> Axes:
    """Learned delay against planted delay, both ``[unit, channel]`` in steps; one colour a unit, area by weight.

    All delays of a unit may be longer by the same time without its answer changing, so the median of ``learned -
    planted`` over the unit's strong synapses (at least half its largest weight) is taken off first. Weak synapses are
    drawn hollow. On the line what was planted was found. Above stands how many strong synapses lie within a step of it.

    Raises ShapeError unless all three have that shape.
    """
    truth, found, size = array(planted, 2, "planted delays"), array(learned, 2, "delays"), array(weight, 2, "weights")
    if not truth.shape == found.shape == size.shape:
        raise ShapeError(
            f"planted delays, delays and weights must have one shape, got {truth.shape}, {found.shape}, {size.shape}"
        )
    if (size.max(1) <= 0).any():
        raise ShapeError("every unit needs a weight above 0; without one there is no strong synapse to align by")
    ax = axes_or_new(ax, 4.5, 4.2)
    strong = size >= 0.5 * size.max(1, keepdims=True)
    aligned = np.stack([row - np.median((row - to)[here]) for row, to, here in zip(found, truth, strong)])
    longest = float(truth.max())
    ax.plot([0, longest], [0, longest], color=GREY, linewidth=0.9, linestyle="--", zorder=0)
    places = np.linspace(-0.3, 0.3, len(truth)) if len(truth) > 1 else np.zeros(1)
    for unit, (color, aside) in enumerate(zip(_COLORS * len(truth), places)):
        here, area = strong[unit], 60 * np.maximum(size[unit], 0) / size.max() + 6
        ax.scatter(
            truth[unit, here] + aside,
            aligned[unit, here],
            s=area[here],
            color=color,
            linewidths=0,
            label=f"unit {unit}",
        )
        ax.scatter(
            truth[unit, ~here] + aside, aligned[unit, ~here], s=area[~here], facecolors="none", edgecolors=color,
            linewidths=0.8,
        )  # fmt: skip
    near = np.abs(aligned - truth)[strong] <= 1
    ax.set_title(
        (f"{title}\n" if title else "") + f"{near.sum()} of {strong.sum()} strong synapses within a step; "
        f"{(~strong).sum()} of {strong.size} weak",
        fontsize=8, loc="left", color=INK,
    )  # fmt: skip
    ax.legend(frameon=False, fontsize=7, loc="best")
    ax.set(
        xlabel=f"planted delay (steps of {dt_ms:g} ms)",
        ylabel="learned delay (steps, less the unit's offset)",
    )
    return ax
