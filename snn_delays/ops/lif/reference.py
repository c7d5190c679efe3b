"""LIF in plain torch, one step at a time: the definition every other backend is held to."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.surrogate import Surrogate, spike


def refuses(**call: Any) -> None:
    """Serves everything."""


def run(
    current: Tensor,
    v0: Tensor,
    decay: Tensor,
    threshold: Tensor,
    v_reset: float,
    soft_reset: bool,
    detach_reset: bool,
    decay_input: bool,
    strict: bool,
    surrogate: Surrogate,
) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.lif.lif`."""
    v, spikes = v0, []
    gain = 1 - decay if decay_input else 1
    for x in current.unbind(0):
        h = decay * (v - v_reset) + v_reset + gain * x
        s = spike(h - threshold, surrogate, strict)
        s_reset = s.detach() if detach_reset else s
        v = h - threshold * s_reset if soft_reset else (1 - s_reset) * h + s_reset * v_reset
        spikes.append(s)
    return (torch.stack(spikes) if spikes else current.clone()), v
