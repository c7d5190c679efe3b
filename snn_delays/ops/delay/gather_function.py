"""The gradient of a gather of taps, whatever kernels compute it."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class GatherKernels(NamedTuple):
    """A gather and its two gradients, as functions of tensors. ``D`` is the longest delay.

    ``forward(extended, start, values, D)``
        ``y[t,b,o] = sum_{i,c,m} values[m,o,i,c] extended[D + t - start[o,i,c] - m, b, i]``
    ``grad_extended(grad_y, start, values, D)``
        ``g[s,b,i] = sum_{o,c,m} values[m,o,i,c] grad_y[s - D + start[o,i,c] + m, b, o]``, nothing outside ``grad_y``
    ``grad_values(grad_y, extended, start, D, M)``
        ``g[m,o,i,c] = sum_{t,b} grad_y[t,b,o] extended[D + t - start[o,i,c] - m, b, i]``
    """

    forward: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    grad_extended: Callable[[Tensor, Tensor, Tensor, int], Tensor]
    grad_values: Callable[[Tensor, Tensor, Tensor, int, int], Tensor]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, extended: Tensor, start: Tensor, values: Tensor, max_delay_steps: int, kernels: GatherKernels
    ) -> Tensor:
        ctx.max_delay_steps, ctx.kernels = max_delay_steps, kernels
        ctx.save_for_backward(extended, start, values)
        return kernels.forward(extended, start, values, max_delay_steps)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Any:
        extended, start, values = ctx.saved_tensors
        grad_extended = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_extended = ctx.kernels.grad_extended(grad_y, start, values, ctx.max_delay_steps)
        if ctx.needs_input_grad[2]:
            grad_values = ctx.kernels.grad_values(grad_y, extended, start, ctx.max_delay_steps, values.shape[0])
        return grad_extended, None, grad_values, None, None


def gather(extended: Tensor, start: Tensor, values: Tensor, max_delay_steps: int, kernels: GatherKernels) -> Tensor:
    """Current ``[time, batch, out]`` from taps as :func:`snn_delays.ops.delay.few_taps.few_taps` gives them."""
    result: Tensor = _Gather.apply(extended, start, values, max_delay_steps, kernels)
    return result
