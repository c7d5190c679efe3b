"""What training achieved: learning curves, confusion of classes, seeds of several variants."""

from collections.abc import Mapping, Sequence
from itertools import cycle, product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from numpy.typing import ArrayLike

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, COLORS, GREY, INK, ORANGE, array, axes_or_new, colorbar, panels

_CURVES = {
    "loss": ("train_loss", "valid_loss"),
    "accuracy": ("train_accuracy", "valid_accuracy"),
    "bits per byte": ("valid_bits_per_byte",),
    "firing rate": ("firing_rate",),
    "sigma (steps)": ("sigma",),
}
_PARTS = {"train": ("training", ORANGE), "valid": ("validation", BLUE)}

Groups = Mapping[str, Mapping[str, Sequence[float]]]
"""Values of the seeds by group (a place along the axis) and variant (a colour and a shape)."""

_MARKERS = "osD^v"  # one is for as many variants as there are colours


def learning_curves_figure(history: Mapping[str, Any]) -> Figure:
    """Loss, accuracy, firing rate and sigma by epoch, a panel for each that was recorded.

    ``history``: ``epoch`` and any of ``train_loss``, ``valid_loss``, ``valid_bits_per_byte``, ``train_accuracy``,
    ``valid_accuracy``, ``firing_rate`` (0 to 1), ``sigma`` (steps), as sequences of one length; ``best_epoch``, a
    number, is marked. Raises ShapeError if the lengths differ.
    """
    epochs, best = array(history["epoch"], 1, "epochs"), history.get("best_epoch")
    recorded = {name: [key for key in keys if key in history] for name, keys in _CURVES.items()}
    recorded = {name: keys for name, keys in recorded.items() if keys}
    figure, axes = panels(1, len(recorded), 3.3 * len(recorded), 2.8)
    for ax, (name, keys) in zip(axes[0], recorded.items()):
        for key in keys:
            points = array(history[key], 1, key)
            if points.shape != epochs.shape:
                raise ShapeError(f"{key} has {points.size} values for {epochs.size} epochs")
            label, color = _PARTS.get(key.partition("_")[0], (key, INK))
            ax.plot(epochs, points, color=color, linewidth=1.4, marker=".", markersize=3, label=label)
        ax.set(xlabel="epoch", ylabel=name)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        if name in ("accuracy", "firing rate"):
            ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if name == "accuracy" else None))
        ax.set_ylim(0, 1 if name == "accuracy" else None)
        if len(keys) > 1:
            ax.legend(frameon=False, fontsize=8)
        if best:
            ax.axvline(best, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            ax.annotate(
                f"best: {best}", (best, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points", ha="center", fontsize=7, color=INK,
            )  # fmt: skip
    return figure


def confusion_matrix(matrix: ArrayLike, *, class_names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Counts ``[true, predicted]``: colours by share of the true class, counts written in, accuracy above.

    Raises ShapeError unless the matrix is square, has as many classes as names, and holds counts.
    """
    counts, classes = array(matrix, 2, "a confusion matrix"), len(class_names)
    if counts.shape != (classes, classes) or counts.min() < 0 or counts.sum() == 0:
        raise ShapeError(f"{classes} classes need counts of that shape squared, got {counts.shape}")
    size = 2.5 + 0.28 * classes
    ax = axes_or_new(ax, size + 0.6, size)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in zip(*np.nonzero(counts)):
        color = "white" if shares[true, predicted] > 0.6 else "#333333"
        ax.text(predicted, true, f"{counts[true, predicted]:.0f}", ha="center", va="center", fontsize=6, color=color)
    ax.set_xticks(range(classes), class_names, rotation=90, fontsize=7)
    ax.set_yticks(range(classes), class_names, fontsize=7)
    right = f"{np.trace(counts) / counts.sum():.1%} of {counts.sum():.0f} samples right"
    ax.set(xlabel="predicted", ylabel="true", title=right)
    ax.spines[:].set_visible(False)
    colorbar(ax, image, "share of the true class", shrink=0.7)
    return ax


def variants_figure(results: Mapping[str, Groups], *, ylabel: str) -> Figure:
    """A panel for each data set: a dot for every seed, a line at their mean, one colour and shape a variant.

    Raises ShapeError if there is nothing to draw.
    """
    results = {title: groups for title, groups in results.items() if groups}
    names = list(dict.fromkeys(name for groups in results.values() for group in groups.values() for name in group))
    if not names:
        raise ShapeError("there are no results to draw")
    looks: Any = cycle({"marker": marker, "color": color} for marker, color in product(_MARKERS, COLORS))
    styles: dict[str, dict[str, Any]] = dict(zip(names, looks))
    figure, axes = panels(1, len(results), 5.2 * len(results), 3.8)
    for ax, (title, groups) in zip(axes[0], results.items()):
        _seeds(ax, groups, styles)
        ax.set_ylabel(ylabel, fontsize=9)
        ax.set_title(title, fontsize=10)
    handles = [
        axes[0, 0].plot([], [], linestyle="", markersize=5, label=name, **style)[0] for name, style in styles.items()
    ]
    columns = min(len(names), 2 * len(results))
    figure.legend(handles=handles, loc="outside upper left", ncols=columns, frameon=False, fontsize=8)
    return figure


def _seeds(ax: Axes, groups: Groups, styles: Mapping[str, dict[str, Any]]) -> None:
    width = 0.8 / len(styles)
    for at, group in enumerate(groups.values()):
        present = [name for name in styles if len(group.get(name, ()))]
        for i, name in enumerate(present):
            values = np.asarray(group[name], dtype=float)
            x = at + (i - (len(present) - 1) / 2) * width
            spread = (np.arange(values.size) - (values.size - 1) / 2) * width * 0.2
            ax.plot(x + spread, values, linestyle="", markersize=4, alpha=0.8, **styles[name])
            ax.hlines(values.mean(), x - width * 0.4, x + width * 0.4, color=styles[name]["color"], linewidth=1.6)
        if at:
            ax.axvline(at - 0.5, color=GREY, linewidth=0.6)
    ax.set_xticks(range(len(groups)), list(groups))
    ax.set_xlim(-0.5, len(groups) - 0.5)
