"""Results of several seeds of several variants, side by side."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, GREEN, GREY, INK, ORANGE, RED, panels

Groups = Mapping[str, Mapping[str, Sequence[float]]]
"""Values of the seeds by group (a place along the axis) and variant (a colour and a shape)."""

_COLORS = (INK, BLUE, ORANGE, GREEN, RED, "#9467bd", "#8c564b")
_MARKERS = "osD^v"  # one is for as many variants as there are colours


def variants_figure(results: Mapping[str, Groups], *, ylabel: str) -> Figure:
    """A panel for each data set: a dot for every seed, a line at their mean, one colour and shape a variant.

    Raises ShapeError if there is nothing to draw.
    """
    results = {title: groups for title, groups in results.items() if groups}
    names = list(dict.fromkeys(name for groups in results.values() for group in groups.values() for name in group))
    if not names:
        raise ShapeError("there are no results to draw")
    styles: dict[str, dict[str, Any]] = dict(
        zip(names, cycle({"marker": m, "color": c} for m, c in product(_MARKERS, _COLORS)))
    )
    figure, axes = panels(1, len(results), 5.2 * len(results), 3.8)
    for ax, (title, groups) in zip(axes[0], results.items()):
        _panel(ax, groups, styles)
        ax.set_ylabel(ylabel, fontsize=9)
        ax.set_title(title, fontsize=10)
    handles = [
        figure.axes[0].plot([], [], linestyle="", markersize=5, label=name, **style)[0]
        for name, style in styles.items()
    ]
    columns = min(len(names), 2 * len(results))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=8)
    return figure


def _panel(ax: Axes, groups: Groups, styles: Mapping[str, dict[str, Any]]) -> None:
    width = 0.8 / len(styles)
    for at, group in enumerate(groups.values()):
        there = [name for name in styles if len(group.get(name, ()))]
        for i, name in enumerate(there):
            values = np.asarray(group[name], dtype=float)
            x = at + (i - (len(there) - 1) / 2) * width
            spread = (np.arange(values.size) - (values.size - 1) / 2) * width * 0.2
            ax.plot(x + spread, values, linestyle="", markersize=4, alpha=0.8, **styles[name])
            ax.hlines(values.mean(), x - width * 0.4, x + width * 0.4, color=styles[name]["color"], linewidth=1.6)
        if at:
            ax.axvline(at - 0.5, color=GREY, linewidth=0.6)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.set_xlim(-0.5, len(groups) - 0.5)
