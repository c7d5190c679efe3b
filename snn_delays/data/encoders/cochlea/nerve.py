"""Auditory-nerve fibres: from the probability of firing to the number of fibres of a channel that fire."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.compiling import cached_njit
from snn_delays.data.numbers import plain_numbers
from snn_delays.errors import ConfigError


@dataclass(frozen=True)
class Fibres:
    """``per_channel`` fibres that fire independently, each then silent for ``dead_ms``."""

    per_channel: int = 40
    dead_ms: float = 1.0

    def __post_init__(self) -> None:
        plain_numbers(self)
        if not 1 <= self.per_channel <= 255:
            raise ConfigError(f"fibres per channel must lie in 1 to 255, got {self.per_channel}")

    def at_rest(self, channels: int, dt_s: float) -> NDArray[np.uint8]:
        """State [channel, dead steps]: how many fibres fired in each of the last steps, oldest first."""
        return np.zeros((channels, max(round(self.dead_ms / 1e3 / dt_s), 1)), dtype=np.uint8)


def fire(
    probability: NDArray[np.float32], recent: NDArray[np.uint8], fibres: Fibres, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """How many of a channel's fibres fire in each step, [channel, time].

    A fibre fires in step t with ``probability[channel, t]`` unless it did within the dead time before. The fibres of a
    channel being alike, their sum is drawn at once: with n of them ready, the first to fire does when the cumulated
    hazard -log(1 - p) reaches an exponential draw of mean 1/n, and so on among those left. The number in a step is then
    binomial (n, p), as if each had been drawn, at one draw per spike instead of one per fibre and step.

    ``recent`` [channel, dead steps] is moved on to the end of ``probability``.
    """
    count = np.empty(probability.shape, dtype=np.uint8)
    _thin(probability, recent, fibres.per_channel, rng, count)
    return count


@cached_njit()
def _thin(probability, recent, per_channel, rng, count):  # type: ignore[no-untyped-def]
    steps, dead = probability.shape[1], recent.shape[1]
    for i in range(probability.shape[0]):
        ready = per_channel
        for j in range(dead):
            ready -= recent[i, j]
        # What the exponential draw still lacks. It forgets its past, so a draw per call and channel is no loss.
        lacking = rng.standard_exponential()
        for t in range(steps):
            # Those that fired just before the dead time are ready again.
            ready += count[i, t - dead] if t >= dead else recent[i, t]
            p = probability[i, t]
            fired = 0
            if p >= 1.0:
                fired, ready = ready, 0
            elif ready > 0:
                # The series of -log(1 - p) is much quicker, and below 0.03 exact to 1e-10.
                if p < 0.03:
                    hazard = p * (1 + p * (1 / 2 + p * (1 / 3 + p * (1 / 4 + p * (1 / 5)))))
                else:
                    hazard = -math.log1p(-p)
                while ready > 0 and lacking <= hazard * ready:
                    hazard -= lacking / ready
                    ready -= 1
                    fired += 1
                    lacking = rng.standard_exponential()
                lacking -= hazard * ready
            count[i, t] = fired
        for j in range(dead):
            t = steps - dead + j
            if t >= 0:
                recent[i, j] = count[i, t]
            else:
                recent[i, j] = recent[i, j + steps]
