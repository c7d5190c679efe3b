"""How the width of the taps is annealed while delays are learned."""

import math
from typing import Any

from torch import nn

from snn_delays.arguments import integer, real
from snn_delays.errors import ConfigError
from snn_delays.nn.optimise import layers_with_delays

SPREAD = ("gaussian", "triangle")  # taps that have a width


def annealed(start: float, end: float, done: float, offset: float = 0.0) -> float:
    r"""Width of the taps when a share ``done`` in 0..1 of annealing is done; never wider than ``start``.

    .. math:: \sigma = o + (\sigma_0 - o)\,\left(\frac{\sigma_{end} - o}{\sigma_0 - o}\right)^{done}

    ``offset`` is what DCLS adds to its width parameter, 0.27; the rest shrinks by the same factor in equal times.
    """
    return offset + (start - offset) * ((end - offset) / (start - offset)) ** done


class SigmaSchedule:
    """Anneal sigma, the width of the taps, of every layer with delays: wide at first, so that delays move far.

    Sets the width of the start; each :meth:`step` narrows it by the same factor, until it is ``end`` after ``steps``
    calls. Call it once an epoch or once an optimiser step, like a schedule of torch's for learning rates.

    Args:
        network: its layers whose taps have a width are annealed; others are left alone.
        steps: calls of :meth:`step` until the end; 0 sets ``end`` at once.
        start: width at first, in steps; None: what each layer has, half its window if it is new.
        end: width at last, in steps. A layer that is narrower already is left alone.
        offset: see :func:`annealed`.

    Raises ConfigError for a width that is none, or an end above the start or not above the offset.
    """

    def __init__(
        self, network: nn.Module, *, steps: int, start: float | None = None, end: float = 0.5, offset: float = 0.0
    ) -> None:
        self.steps, self.last_step = integer("steps", steps, 0), 0
        self.end, self.offset = real("end", end), real("offset", offset)
        first = None if start is None else real("start", start)
        if not (0 <= self.offset < self.end < math.inf):
            raise ConfigError(f"end must be a finite number above offset, which is at least 0; got {end} and {offset}")
        if first is not None and not self.end <= first < math.inf:
            raise ConfigError(f"start ({start}) must be a finite number, at least end ({end})")
        self._layers = {name: one for name, one in layers_with_delays(network).items() if one.taps in SPREAD}
        self.start = {name: float(one.sigma) if first is None else first for name, one in self._layers.items()}
        self._set()

    @property
    def sigma(self) -> dict[str, float]:
        """Width of the taps of each layer now, in steps, by the layer's name."""
        done = min(self.last_step / self.steps, 1.0) if self.steps else 1.0
        return {
            name: start if start <= self.end else annealed(start, self.end, done, self.offset)
            for name, start in self.start.items()
        }

    def step(self) -> None:
        """Narrow the taps by one step of the schedule."""
        self.last_step += 1
        self._set()

    def state_dict(self) -> dict[str, Any]:
        """Where the schedule is, and its numbers."""
        return {name: value for name, value in vars(self).items() if name != "_layers"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another schedule of the same network was. Raises ConfigError for a state of other layers."""
        own = self.state_dict()
        if set(state) != set(own) or set(state["start"]) != set(self.start):
            raise ConfigError("the state of the sigma schedule is of another network or of no such schedule")
        vars(self).update(state)
        self._set()

    def _set(self) -> None:
        for name, sigma in self.sigma.items():
            self._layers[name].set_sigma(sigma)
