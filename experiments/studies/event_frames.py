"""What an event camera saw in a stretch of time.

    python -m experiments.studies.event_frames NMNIST MNIST PICTURE

draws three digits of N-MNIST, recorded and simulated; the folders are those of
:mod:`experiments.studies.saccades_compare`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from snn_delays.errors import ShapeError
from snn_delays.plot.style import array, axes_or_new, new_figure, save_figure


def event_frame(counts: ArrayLike, *, ax: Axes | None = None, limit: float | None = None, title: str = "") -> Axes:
    """Counts of events ``[polarity, y, x]`` as a picture: more ON (p = 1) than OFF red, more OFF blue; y downwards.

    ``limit``: the difference of counts that has full colour, the largest there is if None. Raises ShapeError for
    another shape, or counts below zero.
    """
    both = array(counts, 3, "an event frame")
    if both.shape[0] != 2 or both.min() < 0:
        raise ShapeError(f"an event frame holds counts [polarity, y, x] of two polarities, got shape {both.shape}")
    difference = both[1] - both[0]
    limit = max(1.0, np.abs(difference).max()) if limit is None else limit
    ax = axes_or_new(ax, 3.0, 3.0)
    ax.imshow(difference, cmap="RdBu_r", vmin=-limit, vmax=limit, interpolation="nearest")
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, linewidth=0.4)
    if title:
        ax.set_title(title, fontsize=8)
    return ax


def compared_frames(
    pairs: ArrayLike, *, limit: float, names: tuple[str, str] = ("recorded", "simulated"), part: str = "saccade"
) -> Figure:
    """Frames ``[recording, which, part, polarity, y, x]`` side by side, a row a recording.

    ``which``: 0 and 1 as in ``names``. Raises ShapeError for another shape.
    """
    frames = array(pairs, 6, "compared frames")
    if frames.shape[1] != 2:
        raise ShapeError(f"two are compared, got shape {frames.shape}")
    rows, _, parts = frames.shape[:3]
    figure = new_figure(1.15 * 2 * parts, 1.15 * rows + 0.3)
    axes = figure.subplots(rows, 2 * parts, squeeze=False)
    for row in range(rows):
        for k in range(parts):
            for which, name in enumerate(names):
                title = f"{name}, {part} {k + 1}" if row == 0 else ""
                event_frame(frames[row, which, k], ax=axes[row, 2 * k + which], limit=limit)
                axes[row, 2 * k + which].set_title(title, fontsize=6)
    return figure


def main(arguments: Sequence[str] | None = None) -> None:
    """The program: the first recorded 0, 2 and 7 of the test set beside their simulations, saccade by saccade."""
    from experiments.studies.saccades_compare import load_pairs, saccade_frames

    parser = argparse.ArgumentParser(
        prog="experiments.studies.event_frames", description="N-MNIST recorded and simulated."
    )
    for name in ("nmnist", "mnist", "picture"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args(arguments)
    pairs = load_pairs(given.nmnist, given.mnist, "Test")
    rows = [int((pairs.labels == digit).argmax()) for digit in (0, 2, 7)]
    frames = [[saccade_frames(side[i]) for side in pairs.sides().values()] for i in rows]
    print(save_figure(compared_frames(np.array(frames), limit=6), given.picture))


if __name__ == "__main__":
    main()
