"""What the backends of the leaky integrator share: the autograd function around a forward and a backward kernel.

v_t = d v_{t-1} + x_t; the backward pass is the same recursion run backwards in time.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class IntegratorKernels(NamedTuple):
    """Two functions on tensors of one dtype and device; all but ``decay [neuron]`` are contiguous."""

    forward: Callable[[Tensor, Tensor, Tensor], Tensor]
    """``(current, v0, decay)`` to the trace ``[time, batch, neuron]``."""
    backward: Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
    """``(grad_trace, trace, v0, decay)`` to the gradients of current and v0, and of decay per lane."""


def apply(
    kernels: IntegratorKernels, current: Tensor, v0: Tensor, decay: Tensor, decay_input: bool
) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.leaky_integrator.leaky_integrator`."""
    scaled = (1 - decay) * current if decay_input else current
    trace: Tensor = _Integrate.apply(scaled, v0, decay.expand(v0.shape[1:]), kernels)
    return trace, (trace[-1] if len(trace) else v0)


def trial(kernels: IntegratorKernels, dtype: torch.dtype, device: torch.device) -> None:
    """Compile and run both kernels on one neuron, and wait for them."""
    with torch.enable_grad(), torch.autocast(device.type, enabled=False):
        one = torch.ones((), dtype=dtype, device=device, requires_grad=True)
        trace, _ = apply(kernels, one.expand(1, 1, 1), one.expand(1, 1), one, False)
        torch.autograd.grad(trace.sum(), one)
    torch.cuda.synchronize(device)


class _Integrate(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, current: Tensor, v0: Tensor, decay: Tensor, kernels: IntegratorKernels) -> Tensor:
        v0 = v0.contiguous()
        trace = kernels.forward(current.contiguous(), v0, decay)
        ctx.kernels = kernels
        ctx.save_for_backward(trace, v0, decay)
        return trace

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_trace: Tensor) -> Any:
        grad_current, grad_v0, grad_decay = ctx.kernels.backward(grad_trace.contiguous(), *ctx.saved_tensors)
        return grad_current, grad_v0, grad_decay.sum(0), None
