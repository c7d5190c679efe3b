"""Results of several seeds of several variants, side by side."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, GREEN, GREY, INK, ORANGE, RED, axes_or_new, new_figure

Groups = Mapping[str, Mapping[str, Sequence[float]]]
"""Values of the seeds by group (a place along the axis) and variant (a colour)."""


def variants_figure(panels: Mapping[str, Groups], *, ylabel: str) -> Figure:
    """A panel for each data set: a dot for every seed, a line at their mean, one colour a variant.

    Raises ShapeError if there is nothing to draw.
    """
    panels = {title: groups for title, groups in panels.items() if groups}
    names = list(dict.fromkeys(name for groups in panels.values() for group in groups.values() for name in group))
    if not names:
        raise ShapeError("there are no results to draw")
    colors = dict(zip(names, cycle((INK, BLUE, ORANGE, GREEN, RED, "#9467bd", "#8c564b"))))
    figure = new_figure(5.2 * len(panels), 3.8)
    for ax, (title, groups) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        _panel(axes_or_new(ax), groups, names, colors)
        ax.set_ylabel(ylabel, fontsize=9)
        ax.set_title(title, fontsize=10)
    handles = [
        figure.axes[0].plot([], [], marker="o", linestyle="", markersize=5, color=colors[name], label=name)[0]
        for name in names
    ]
    figure.legend(
        handles=handles, loc="outside upper left", ncols=min(len(names), 4 * len(panels)), frameon=False, fontsize=8
    )
    return figure


def _panel(ax: Axes, groups: Groups, names: Sequence[str], colors: Mapping[str, str]) -> None:
    width = 0.8 / len(names)
    for at, group in enumerate(groups.values()):
        for i, name in enumerate(names):
            values = np.asarray(group.get(name, ()), dtype=float)
            if not values.size:
                continue
            x = at + (i - (len(names) - 1) / 2) * width
            spread = (np.arange(values.size) - (values.size - 1) / 2) * width * 0.2
            ax.plot(x + spread, values, "o", markersize=4, color=colors[name], alpha=0.8)
            ax.hlines(values.mean(), x - width * 0.4, x + width * 0.4, color=colors[name], linewidth=1.6)
        if at:
            ax.axvline(at - 0.5, color=GREY, linewidth=0.6)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.set_xlim(-0.5, len(groups) - 0.5)
