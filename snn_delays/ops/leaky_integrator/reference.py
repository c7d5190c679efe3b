"""Leaky integrator in plain torch, one step at a time."""

from typing import Any

import torch
from torch import Tensor


def refuses(**call: Any) -> None:
    """Serves everything."""


def run(current: Tensor, v0: Tensor, decay: Tensor, decay_input: bool) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.leaky_integrator.leaky_integrator`."""
    v, trace = v0, []
    gain = 1 - decay if decay_input else 1
    for x in current.unbind(0):
        v = decay * v + gain * x
        trace.append(v)
    return (torch.stack(trace) if trace else current.clone()), v
