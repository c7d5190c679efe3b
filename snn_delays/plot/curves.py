"""Learning curves."""

from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from snn_delays.errors import ShapeError
from snn_delays.plot.style import BLUE, GREY, INK, ORANGE, array, panels

_PANELS = {
    "loss": ("train_loss", "valid_loss"),
    "accuracy": ("train_accuracy", "valid_accuracy"),
    "bits per byte": ("valid_bits_per_byte",),
    "firing rate": ("firing_rate",),
    "sigma (steps)": ("sigma",),
}


def learning_curves_figure(history: Mapping[str, Any]) -> Figure:
    """Loss, accuracy, firing rate and sigma by epoch, a panel for each that was recorded.

    ``history``: ``epoch`` and any of ``train_loss``, ``valid_loss``, ``valid_bits_per_byte``, ``train_accuracy``,
    ``valid_accuracy``, ``firing_rate`` (0 to 1), ``sigma`` (steps), as sequences of one length; ``best_epoch``, a
    number, is marked. Raises ShapeError if the lengths differ.
    """
    epochs = array(history["epoch"], 1, "epochs")
    shown = {name: keys for name, keys in _PANELS.items() if any(key in history for key in keys)}
    figure, axes = panels(1, len(shown), 3.3 * len(shown), 2.8)
    for ax, (name, keys) in zip(axes[0], shown.items()):
        _panel(ax, epochs, {key: history[key] for key in keys if key in history}, name)
        best = history.get("best_epoch")
        if best:
            ax.axvline(best, color=GREY, linewidth=0.8, linestyle="--", zorder=0)
            ax.annotate(
                f"best: {best}", (best, 1), xycoords=("data", "axes fraction"), xytext=(0, 2),
                textcoords="offset points", ha="center", fontsize=7, color=INK,
            )  # fmt: skip
    return figure


def _panel(ax: Axes, epochs: Any, curves: Mapping[str, Any], name: str) -> None:
    styles = {"train": ("training", ORANGE), "valid": ("validation", BLUE)}
    for key, values in curves.items():
        points = array(values, 1, key)
        if points.shape != epochs.shape:
            raise ShapeError(f"{key} has {points.size} values for {epochs.size} epochs")
        label, color = styles.get(key.partition("_")[0], (key, INK))
        ax.plot(epochs, points, color=color, linewidth=1.4, marker=".", markersize=3, label=label)
    ax.set(xlabel="epoch", ylabel=name)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    if name in ("accuracy", "firing rate"):
        ax.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0 if name == "accuracy" else None))
    ax.set_ylim(0, 1 if name == "accuracy" else None)
    if len(curves) > 1:
        ax.legend(frameon=False, fontsize=8)
