"""The annealing of sigma, the width of the taps, by the epochs of a recipe."""

from typing import Any, NamedTuple

from snn_delays.nn.optimise import annealed


class Annealing(NamedTuple):
    """From ``start`` to ``end`` steps in so many epochs, by the law of :func:`snn_delays.nn.optimise.annealed`."""

    start: float
    end: float
    epochs: float
    offset: float = 0.0

    def sigma_at(self, epoch: float) -> float:
        """Sigma after so many epochs and parts of one; where the start is not above the end, the end."""
        if self.start <= self.end:
            return self.end
        done = min(epoch / self.epochs, 1.0) if self.epochs else 1.0
        return annealed(self.start, self.end, done, self.offset)


def sigma_at(recipe: Any, epoch: float) -> float | None:
    """Width of the taps, in steps, after so many epochs of a recipe; None where nothing is spread."""
    sigma: float | None = recipe.sigma_at(epoch)
    return sigma
