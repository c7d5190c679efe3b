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

from abc import ABC, abstractmethod
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


class WKVKernels(ABC):
    """Two functions on contiguous tensors of one dtype and device; decay and bonus are ``[neuron]``."""

    @abstractmethod
    def forward(
        self, key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState, keep: bool
    ) -> tuple[Tensor, WKVState, Tensor | None]:
        """The output, the final state and the trace (None unless kept)."""

    @abstractmethod
    def backward(
        self, grad_output: Tensor, grad_numerator: Tensor, grad_denominator: Tensor, saved: WKVSaved
    ) -> tuple[Tensor, ...]:
        """Gradients of key and value, of decay and bonus per lane ``[batch, neuron]``, and of the initial sums."""

    def run(
        self, key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState
    ) -> tuple[Tensor, WKVState]:
        """See :func:`snn_delays.ops.wkv.wkv`."""
        keep = torch.is_grad_enabled() and any(
            tensor.requires_grad for tensor in (key, value, log_decay, bonus, state.numerator, state.denominator)
        )
        y, *after = _WKV.apply(key, value, log_decay, bonus, *state, self, keep)
        return y, WKVState(*after)


class _WKV(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        *tensors, kernels, keep = given
        *tensors, numerator, denominator, exponent = map(Tensor.contiguous, tensors)
        y, after, trace = kernels.forward(*tensors, WKVState(numerator, denominator, exponent), keep)
        ctx.kernels = kernels
        if trace is not None:
            ctx.save_for_backward(*tensors, trace)
        ctx.mark_non_differentiable(after.exponent)
        return y, *after

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_p: Tensor, grad_q: Tensor, grad_o: Tensor) -> Any:
        grads = map(Tensor.contiguous, (grad_y, grad_p, grad_q))
        grad_key, grad_value, grad_decay, grad_bonus, *initial = ctx.kernels.backward(
            *grads, WKVSaved(*ctx.saved_tensors)
        )
        return grad_key, grad_value, grad_decay.sum(0), grad_bonus.sum(0), *initial, None, None, None
