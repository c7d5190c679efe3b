"""Many runs in one picture: learning curves with bands, what a search found, and what perturbing a network costs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, COLORS, GREY, INK, array, panels

_LINES = ("-", "--", ":", "-.")


def bands_figure(curves: Mapping[str, Mapping[str, ArrayLike]]) -> Figure:
    """Learning curves of several variants: the mean over seeds, and a band of one sample standard deviation about it.

    ``curves``: by what is measured, a panel each, and by variant, values ``[seed, epoch]``; of a single seed there is
    no band. Raises ShapeError if there is nothing to draw.
    """
    if not any(curves.values()):
        raise ShapeError("there are no curves to draw")
    labels = list(dict.fromkeys(label for of in curves.values() for label in of))
    figure, axes = panels(1, len(curves), 4.2 * len(curves), 3.4)
    for ax, (name, variants) in zip(axes[0], curves.items()):
        for label, values in variants.items():
            points, i = array(values, 2, f"{name} of {label}"), labels.index(label)
            epochs, mean = np.arange(1, points.shape[1] + 1), points.mean(0)
            color, line = COLORS[i % len(COLORS)], _LINES[i // len(COLORS) % len(_LINES)]
            ax.plot(epochs, mean, color=color, linestyle=line, linewidth=1.4, marker="." if len(epochs) < 3 else "")
            if len(points) > 1:
                std = points.std(0, ddof=1)
                ax.fill_between(epochs, mean - std, mean + std, color=color, alpha=0.2, linewidth=0)
        ax.set(xlabel="epoch", ylabel=name.replace("_", " "))
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if "accuracy" in name:
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    handles = [
        axes[0, 0].plot([], [], color=COLORS[i % len(COLORS)], linestyle=_LINES[i // len(COLORS) % len(_LINES)])[0]
        for i in range(len(labels))
    ]
    figure.legend(
        handles, labels, loc="outside upper left", ncols=min(len(labels), 3), frameon=False, fontsize=8,
        title="mean over seeds; band: one standard deviation", title_fontsize=8, alignment="left",
    )  # fmt: skip
    return figure


def search_figure(trials: Sequence[tuple[Mapping[str, Any], float]], *, measure: str, maximize: bool) -> Figure:
    """What a search found: each trial's value in order with the best so far, and by each key that was searched.

    ``trials``: keys with their values, and what was reached. A key whose values spread over two decades has a
    logarithmic axis. Raises ShapeError if there is none.
    """
    values = array([value for _, value in trials], 1, "values of trials")
    keys = list(dict.fromkeys(key for keys, _ in trials for key in keys))
    figure, axes = panels(1, 1 + len(keys), 3.0 * (1 + len(keys)), 3.0)
    best = (np.maximum if maximize else np.minimum).accumulate(values)
    first = axes[0, 0]
    first.plot(range(len(values)), values, linestyle="", marker="o", markersize=4, color=BLUE, alpha=0.8)
    first.step(range(len(values)), best, where="post", color=INK, linewidth=1.2)
    first.set(xlabel="trial, and the best so far", ylabel=measure.replace("_", " "))
    first.xaxis.set_major_locator(MaxNLocator(integer=True))
    for ax, key in zip(axes[0, 1:], keys):
        named = [(keys[key], value) for keys, value in trials if key in keys]
        numeric = all(isinstance(x, (int, float)) and not isinstance(x, bool) for x, _ in named)
        xs: list[Any] = [x if numeric else str(x) for x, _ in named]
        ax.plot(xs, [value for _, value in named], linestyle="", marker="o", markersize=4, color=BLUE, alpha=0.8)
        if numeric and min(xs) > 0 and max(xs) / min(xs) >= 100:
            ax.set_xscale("log")
        if not numeric:
            ax.margins(x=0.3)
        ax.set(xlabel=key)
    if "accuracy" in measure:
        for ax in axes[0]:
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    return figure


def perturbation_figure(
    accuracies: Mapping[str, Mapping[float, Sequence[float]]], *, baseline: float, title: str = ""
) -> Figure:
    """Accuracy under perturbations: a panel each, a dot for every seed, a line through the means; dashed: unperturbed.

    ``accuracies``: by what is perturbed, with its unit, and by its amount, an accuracy for each seed. Raises ShapeError
    if there is nothing to draw.
    """
    if not accuracies:
        raise ShapeError("there is nothing that was perturbed")
    figure, axes = panels(1, len(accuracies), 3.2 * len(accuracies), 3.0, title=title, sharey=True)
    for ax, (name, amounts) in zip(axes[0], accuracies.items()):
        xs = sorted(amounts)
        for x in xs:
            ax.plot([x] * len(amounts[x]), amounts[x], linestyle="", marker="o", markersize=4, color=BLUE, alpha=0.6)
        ax.plot(xs, [np.mean(amounts[x]) for x in xs], color=INK, linewidth=1.2)
        ax.axhline(baseline, color=GREY, linewidth=1.0, linestyle="--", zorder=0)
        ax.set(xlabel=name)
        if "permuted" in name:
            ax.set_xticks([0, 1], ["no", "yes"])
            ax.margins(x=0.3)
        ax.set_ylim(0, 1.04)
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes[0, 0].set_ylabel("accuracy")
    return figure
