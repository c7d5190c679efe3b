"""The gradient of a gather of taps, whatever kernels compute it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.ops.packed import Packed, pack


class GatherKernels(NamedTuple):
    """A gather and its two gradients, as functions of tensors.

    ``signal`` is the input after ``past`` steps of its history, and silent before and after.

    ``forward(signal, past, start, values)``
        ``y[t,b,o] = sum_{i,c,m} values[m,o,i,c] signal[past + t - start[o,i,c] - m, b, i]``
    ``grad_signal(grad_y, past, start, values)``
        ``g[s,b,i] = sum_{o,c,m} values[m,o,i,c] grad_y[s - past + start[o,i,c] + m, b, o]``, nothing outside ``grad_y``
    ``grad_values(grad_y, signal, past, start, M)``
        ``g[m,o,i,c] = sum_{t,b} grad_y[t,b,o] signal[past + t - start[o,i,c] - m, b, i]``
    """

    forward: Callable[[Tensor, int, Tensor, Tensor], Tensor]
    grad_signal: Callable[[Tensor, int, Tensor, Tensor], Tensor]
    grad_values: Callable[[Tensor, Tensor, int, Tensor, int], Tensor]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, signal: Tensor, past: int, start: Tensor, values: Tensor, kernels: GatherKernels) -> Tensor:
        ctx.past, ctx.kernels, ctx.dtype = past, kernels, signal.dtype
        # On a GPU nothing can be packed without waiting for it.
        kept = pack(signal) if ctx.needs_input_grad[3] and signal.device.type == "cpu" else Packed(signal, 1.0)
        ctx.scale = kept.scale
        ctx.save_for_backward(kept.numbers if ctx.needs_input_grad[3] else None, start, values)
        return kernels.forward(signal, past, start, values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Any:
        numbers, start, values = ctx.saved_tensors
        grad_signal = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_signal = ctx.kernels.grad_signal(grad_y, ctx.past, start, values)
        if ctx.needs_input_grad[3]:
            signal = Packed(numbers, ctx.scale).unpack(ctx.dtype)
            grad_values = ctx.kernels.grad_values(grad_y, signal, ctx.past, start, values.shape[0])
        return grad_signal, None, None, grad_values, None


def gather(signal: Tensor, past: int, start: Tensor, values: Tensor, kernels: GatherKernels) -> Tensor:
    """Current ``[time, batch, out]`` from taps as :func:`snn_delays.ops.delay.few_taps.few_taps` gives them."""
    result: Tensor = _Gather.apply(signal, past, start, values, kernels)
    return result
