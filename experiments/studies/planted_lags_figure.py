"""Delays that were learned on a stream of tokens against its planted lag, and what each kind of shift came to."""

from collections.abc import Mapping, Sequence
from itertools import cycle

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator
from numpy.typing import ArrayLike

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, GREEN, GREY, INK, ORANGE, RED, array, axes_or_new, new_figure

_COLORS = (BLUE, ORANGE, GREEN, RED)
Accuracies = Mapping[str, Mapping[str, Sequence[float]]]  # by task and kind of shift, one for every seed


def planted_lags_figure(
    shares: Mapping[str, ArrayLike],
    planted: Mapping[str, Sequence[int]],
    accuracy: Mapping[str, Accuracies],
    optimum: Mapping[str, float],
    *,
    chance: float,
    begun: Mapping[str, ArrayLike] | None = None,
) -> Figure:
    """Left, for every task, where the weight of the learned delays lies; right, for every network, the accuracy.

    Args:
        shares: by task, share of the |weight| by delay, ``[seed, delay]``, in the first network; drawn as the mean.
        planted: by task, the lags that help, in steps; the first is the planted one.
        accuracy: by network, task and kind of shift, one for every seed: each a dot.
        optimum: by task, the highest accuracy possible.
        chance: accuracy of guessing.
        begun: by task, share of the points by delay before training, ``[delay]``: a grey line.

    Raises ShapeError where tasks or shapes do not fit each other.
    """
    if not shares or not accuracy or planted.keys() != shares.keys() or (begun and begun.keys() != shares.keys()):
        raise ShapeError(f"planted lags of {', '.join(planted)} but learned delays of {', '.join(shares) or 'no task'}")
    if missing := {task for tasks in accuracy.values() for task in tasks} - optimum.keys():
        raise ShapeError(f"accuracies of {', '.join(sorted(missing))}, whose optimum is not given")
    figure = new_figure(10.5, max(4.8, 0.4 + 0.88 * len(shares)))
    left, right = figure.subfigures(1, 2, squeeze=False, width_ratios=(1, 1.1)).ravel()
    rows = [axes_or_new(ax) for ax in left.subplots(len(shares), 1, squeeze=False, sharex=True, sharey=True).ravel()]
    for ax, (task, share) in zip(rows, shares.items()):
        _learned(ax, array(share, 2, f"shares of {task}"), planted[task], None if begun is None else begun[task], task)
    rows[0].set_title(f"{next(iter(accuracy))}: learned delays, mean over seeds", loc="left", fontsize=9, pad=9)
    rows[-1].set_xlabel("delay (steps)")
    left.supylabel("share of the learned delays' |weight|", fontsize=9)
    left.legend(
        handles=[
            Patch(color=BLUE, label="learned"),
            Line2D([], [], color=GREY, drawstyle="steps-mid", label="where the delays began"),
            _marker("v", RED, "planted lag"),
            _marker("v", "none", "one that helps as much", RED),
        ],
        frameon=False, fontsize=7, loc="outside upper center", ncols=4, columnspacing=1.2, handletextpad=0.5,
    )  # fmt: skip
    kinds = list(dict.fromkeys(kind for tasks in accuracy.values() for row in tasks.values() for kind in row))
    colors = dict(zip(kinds, cycle(_COLORS)))
    panels = [axes_or_new(ax) for ax in right.subplots(len(accuracy), 1, squeeze=False, sharey=True).ravel()]
    for ax, (network, tasks) in zip(panels, accuracy.items()):
        _accuracies(ax, tasks, optimum, chance, colors)
        ax.set_title(network, loc="left", fontsize=9)
    right.supylabel("accuracy (%)", fontsize=9)
    keys = [_marker("o", color, kind) for kind, color in colors.items()]
    keys += [Line2D([], [], color=INK, linewidth=1.2, label="optimum")]
    keys += [Line2D([], [], color=GREY, linewidth=0.9, linestyle="--", label="chance")]
    right.legend(
        handles=keys, frameon=False, fontsize=7, loc="outside upper center", ncols=len(keys), columnspacing=1.2
    )
    return figure


def _learned(ax: Axes, share: np.ndarray, planted: Sequence[int], begun: ArrayLike | None, task: str) -> None:
    if not planted:
        raise ShapeError(f"{task} has no planted lag")
    steps = np.arange(share.shape[1])
    ax.bar(steps, share.mean(0), 0.8, color=BLUE)
    if begun is not None:
        drawn = array(begun, 1, f"first delays of {task}")
        if drawn.shape != steps.shape:
            raise ShapeError(f"{task} has {len(steps)} delays but had {len(drawn)} before")
        ax.step(steps, drawn, where="mid", color=GREY, linewidth=0.9)
    for lag in planted:
        inside = RED if lag == planted[0] else "none"
        ax.plot(lag, 1.05, "v", markersize=5, markerfacecolor=inside, markeredgecolor=RED, clip_on=False)
    ax.text(1.03, 0.5, task.replace(", ", "\n"), transform=ax.transAxes, fontsize=8, color=INK, va="center")
    ax.set(xlim=(-0.7, len(steps) - 0.3), ylim=(0, 1.1))
    ax.set_yticks((0, 0.5, 1), ("0", "50 %", "100 %"))
    ax.xaxis.set_major_locator(MaxNLocator(9, integer=True))


def _accuracies(
    ax: Axes, tasks: Mapping[str, Mapping[str, Sequence[float]]], optimum: Mapping[str, float], chance: float,
    colors: Mapping[str, str],
) -> None:  # fmt: skip
    width = 0.8 / len(colors)
    for i, (task, by_kind) in enumerate(tasks.items()):
        ax.hlines(100 * optimum[task], i - 0.42, i + 0.42, color=INK, linewidth=1.2, zorder=1)
        for j, (kind, color) in enumerate(colors.items()):
            values = 100 * np.asarray(by_kind.get(kind, ()), dtype=np.float64)
            middle = i - 0.4 + (j + 0.5) * width
            aside = np.linspace(-0.22, 0.22, len(values)) * width if len(values) > 1 else np.zeros(len(values))
            ax.scatter(middle + aside, values, s=18, color=color, linewidths=0, zorder=2)
    ax.axhline(100 * chance, color=GREY, linewidth=0.9, linestyle="--", zorder=0)
    ax.set_xticks(range(len(tasks)), [task.replace(", ", "\n") for task in tasks])
    ax.set(ylim=(0, 104), xlim=(-0.55, len(tasks) - 0.45))
    for i in range(1, len(tasks)):
        ax.axvline(i - 0.5, color=GREY, linewidth=0.4, zorder=0)


def _marker(shape: str, color: str, label: str, edge: str | None = None) -> Line2D:
    return Line2D(
        [], [], linestyle="none", marker=shape, markersize=5, markerfacecolor=color, markeredgecolor=edge or color,
        label=label,
    )  # fmt: skip
