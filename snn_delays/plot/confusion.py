"""Confusion matrices."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from snn_delays.errors import ShapeError
from snn_delays.plot.style import array, axes_or_new, colorbar


def confusion_matrix(matrix: ArrayLike, *, class_names: Sequence[str], ax: Axes | None = None) -> Axes:
    """Counts ``[true, predicted]``: colours by share of the true class, counts written in, accuracy above.

    Raises ShapeError unless the matrix is square, has as many classes as names, and holds counts.
    """
    counts = array(matrix, 2, "a confusion matrix")
    if counts.shape != (len(class_names), len(class_names)) or counts.min() < 0 or counts.sum() == 0:
        raise ShapeError(f"{len(class_names)} classes need counts of that shape squared, got {counts.shape}")
    size = 2.5 + 0.28 * len(class_names)
    ax = axes_or_new(ax, size + 0.6, size)
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = ax.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for true, predicted in zip(*np.nonzero(counts)):
        ax.text(
            predicted, true, f"{counts[true, predicted]:.0f}", ha="center", va="center", fontsize=6,
            color="white" if shares[true, predicted] > 0.6 else "#333333",
        )  # fmt: skip
    ticks = np.arange(len(class_names))
    ax.set_xticks(ticks, class_names, rotation=90, fontsize=7)
    ax.set_yticks(ticks, class_names, fontsize=7)
    ax.set(
        xlabel="predicted",
        ylabel="true",
        title=f"{np.trace(counts) / counts.sum():.1%} of {counts.sum():.0f} samples right",
    )
    ax.spines[:].set_visible(False)
    colorbar(ax, image, "share of the true class", shrink=0.7)
    return ax
