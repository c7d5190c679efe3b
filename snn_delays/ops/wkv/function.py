"""What the WKV kernels share: the autograd function around a forward and a backward kernel.

With P and Q the true sums (numerator and denominator times e^exponent) after step t, and p_t, q_t the gradients that
reach them from later steps, one pass backwards in time gives all gradients:

    c_t = gy_t e^{u+k_t} / den_t                      gv_t = c_t + e^{k_t} p_t
    gk_t = c_t (v_t - y_t) + e^{k_t} (v_t p_t + q_t)  gu = sum_t c_t (v_t - y_t)
    gw = sum_t e^w (P_{t-1} p_t + Q_{t-1} q_t)
    p_{t-1} = e^w p_t + gy_t / den_t                  q_{t-1} = e^w q_t - gy_t y_t / den_t

p and q span as many magnitudes as P and Q do. Kept times e^exponent, the scale in which the forward pass kept P and Q,
every factor on their way is at most 1, so they need no running maximum of their own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.ops.wkv import WKVState


class WKVSaved(NamedTuple):
    """What the forward pass leaves to the backward pass; ``trace`` ``[3, time, batch, neuron]``: the state before
    every step (numerator, denominator, exponent)."""

    key: Tensor
    value: Tensor
    log_decay: Tensor
    bonus: Tensor
    trace: Tensor


class WKVKernels(NamedTuple):
    """Two functions on contiguous tensors of one dtype and device; decay and bonus are ``[neuron]``."""

    forward: Callable[[Tensor, Tensor, Tensor, Tensor, WKVState, bool], tuple[Tensor, WKVState, Tensor | None]]
    """``(key, value, log_decay, bonus, state, keep)`` to the output, the final state and the trace (None unless
    kept)."""
    backward: Callable[[Tensor, Tensor, Tensor, WKVSaved], tuple[Tensor, ...]]
    """``(grad_output, grad_numerator, grad_denominator, saved)`` to the gradients of key and value, those of decay and
    bonus per lane ``[batch, neuron]``, and those of the initial numerator and denominator."""


def apply(
    kernels: WKVKernels, key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState
) -> tuple[Tensor, WKVState]:
    """See :func:`snn_delays.ops.wkv.wkv`."""
    keep = torch.is_grad_enabled() and any(
        tensor.requires_grad for tensor in (key, value, log_decay, bonus, state.numerator, state.denominator)
    )
    y, *after = _WKV.apply(key, value, log_decay, bonus, *state, kernels, keep)
    return y, WKVState(*after)


def trial(kernels: WKVKernels, dtype: torch.dtype, device: torch.device) -> None:
    """Compile and run both kernels on one neuron, and wait for them."""
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        one = torch.ones((), dtype=dtype, device=device, requires_grad=True)
        row = one.expand(1, 1)
        y, after = apply(kernels, row[None], row[None], row[0], row[0], WKVState(row, row, row.detach()))
        torch.autograd.grad(y.sum() + after.numerator.sum(), one)
    torch.cuda.synchronize(device)


class _WKV(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        key: Tensor,
        value: Tensor,
        log_decay: Tensor,
        bonus: Tensor,
        numerator: Tensor,
        denominator: Tensor,
        exponent: Tensor,
        kernels: WKVKernels,
        keep: bool,
    ) -> Any:
        key, value, log_decay, bonus = (tensor.contiguous() for tensor in (key, value, log_decay, bonus))
        state = WKVState(*(part.contiguous() for part in (numerator, denominator, exponent)))
        y, after, trace = kernels.forward(key, value, log_decay, bonus, state, keep)
        ctx.kernels = kernels
        if trace is not None:
            ctx.save_for_backward(key, value, log_decay, bonus, trace)
        ctx.mark_non_differentiable(after.exponent)
        return y, *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_p: Tensor, grad_q: Tensor, grad_o: Tensor) -> Any:
        saved = WKVSaved(*ctx.saved_tensors)
        grads = (grad.contiguous() for grad in (grad_y, grad_p, grad_q))
        grad_key, grad_value, grad_decay, grad_bonus, *initial = ctx.kernels.backward(*grads, saved)
        return grad_key, grad_value, grad_decay.sum(0), grad_bonus.sum(0), *initial, None, None, None
