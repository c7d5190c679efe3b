"""Dropout that silences a neuron for the whole recording."""

from typing import NamedTuple

import torch
from torch import Tensor

from snn_delays.arguments import real
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.door import SERIES, admit, check_state, held
from snn_delays.nn.module import SpikingModule
from snn_delays.ops.state import loadable


@loadable
class DropoutState(NamedTuple):
    """The mask in force, scaled, ``[batch, ...]`` in the shape of one step; the same for every step."""

    mask: Tensor


def probability(p: float) -> float:
    """A probability of dropout as a float. Raises ConfigError unless ``0 <= p < 1``."""
    p = real("the dropout probability", p)
    if not 0 <= p < 1:
        raise ConfigError(f"the dropout probability must lie in [0, 1), got {p}")
    return p


class Dropout(SpikingModule):
    """Silence each neuron with probability ``p`` for all steps of a sample, scale the others by ``1 / (1 - p)``.

    The mask is the state, so a sequence cut into chunks keeps it. In evaluation the layer does nothing, without state.

    Raises ConfigError unless ``0 <= p < 1``, ShapeError if the state is of another batch.

    Source: Hammouamri et al., ICLR 2024 (dropout on spikes, one mask per forward pass).
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = probability(p)

    def forward(self, x: Tensor, state: DropoutState | None = None) -> tuple[Tensor, DropoutState | None]:
        """Masked spikes and the mask."""
        x = admit(self, x, SERIES)
        state = self.mask_for(x, state)
        return (x, None) if state is None else (x * state.mask, state)

    def mask_for(self, x: Tensor, state: DropoutState | None) -> DropoutState | None:
        """The mask for an input: the one of the state, else a new one; None where the layer does nothing."""
        if not self.training or self.p == 0:
            if state is not None:
                check_state(self, state, DropoutState)
            return None
        mask = held(self, state, DropoutState, x)
        if mask is None:
            keep = torch.rand(x.shape[1:], dtype=x.dtype, device=x.device) >= self.p
            return DropoutState(keep.to(x.dtype) / (1 - self.p))
        if mask.shape != x.shape[1:]:
            raise ShapeError(f"the dropout mask has shape {tuple(mask.shape)}, the input needs {tuple(x.shape[1:])}")
        return DropoutState(mask)

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return f"p={self.p}"
