"""LIF in plain torch, one step at a time: the definition every other backend is held to."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.surrogate import Surrogate, spike


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
        v = h - threshold * s_reset if soft_reset else _hard_reset(h, s_reset, v_reset)
        spikes.append(s)
    return (torch.stack(spikes) if spikes else current.clone()), v


class _HardReset(torch.autograd.Function):
    """``(1 - s) h + s v_reset``, and so its gradients; an infinite membrane is reset too."""

    @staticmethod
    def forward(ctx: Any, h: Tensor, s: Tensor, v_reset: float) -> Tensor:
        ctx.save_for_backward(h, s)
        ctx.v_reset = v_reset
        return torch.where(s > 0, v_reset, h)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, None]:
        h, s = ctx.saved_tensors
        return grad * (1 - s), grad * (ctx.v_reset - h), None


def _hard_reset(h: Tensor, s: Tensor, v_reset: float) -> Tensor:
    if not s.requires_grad:
        return torch.where(s > 0, v_reset, h)
    v: Tensor = _HardReset.apply(h, s, v_reset)
    return v
