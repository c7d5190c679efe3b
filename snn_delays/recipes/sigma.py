"""The annealing of sigma, the width of the taps, by the epochs of a recipe."""

from typing import Any

from snn_delays.nn.optimise import annealed


def sigma_after(epoch: float, *, start: float, end: float, epochs: float, offset: float = 0.0) -> float:
    """Width of the taps after so many epochs and parts of one, the first ``epochs`` of which anneal it.

    The law is that of :func:`snn_delays.nn.optimise.annealed`; a start that is not above the end is the end.
    """
    if start <= end:
        return end
    return annealed(start, end, min(epoch / epochs, 1.0) if epochs else 1.0, offset)


def sigma_at(recipe: Any, epoch: float) -> float | None:
    """Width of the taps, in steps, after so many epochs of a recipe; None where nothing is spread."""
    width: float | None = recipe.sigma_at(epoch)
    return width
