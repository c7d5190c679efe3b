"""Cells in plain torch, one step at a time: the definition every other backend is held to."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cells.equations import Cell
from snn_delays.ops.surrogate import Surrogate, spike


class _Tensors:
    """``f`` of a step on tensors."""

    def __init__(self, surrogate: Surrogate, strict: bool, detach_reset: bool) -> None:
        self.surrogate, self.strict, self.detach_reset = surrogate, strict, detach_reset

    def spike(self, u: Tensor) -> Tensor:
        return spike(u, self.surrogate, self.strict)

    def reset(self, s: Tensor) -> Tensor:
        return s.detach() if self.detach_reset else s


def run(
    cell: Cell, current: Tensor, states: Any, constants: Any, surrogate: Surrogate, detach_reset: bool, strict: bool
) -> tuple[Tensor, Any]:
    """See :func:`snn_delays.ops.cells.cells`."""
    f, spikes = _Tensors(surrogate, strict, detach_reset), []
    for x in current.unbind(0):
        s, states = cell.step(x, *states, *constants, f)
        spikes.append(s)
    return (torch.stack(spikes) if spikes else current.clone()), cell.States(*states)
