"""Leaky integrator as CUDA C kernels (``leaky_integrator.cu``) through CuPy."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda import cupy_launch, support
from snn_delays.ops.cuda.source import Source
from snn_delays.ops.leaky_integrator import function

SOURCE = Source("leaky_integrator/leaky_integrator.cu", contract=False)


def refuses(current: Tensor, v0: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on a CUDA GPU."""
    return support.refuses("cupy", cupy_launch.COMPILER, {"current": current, "state": v0}, _trial)


def run(current: Tensor, v0: Tensor, decay: Tensor, decay_input: bool) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.leaky_integrator.leaky_integrator`."""
    return function.apply(KERNELS, current, v0, decay, decay_input)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    function.trial(KERNELS, dtype, device)


def _forward(current: Tensor, v0: Tensor, decay: Tensor) -> Tensor:
    trace = torch.empty_like(current)
    _launch("integrate", v0, (current, v0, decay, decay.stride(0), *_sizes(current), trace))
    return trace


def _backward(grad_trace: Tensor, trace: Tensor, v0: Tensor, decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.empty_like(trace), torch.empty_like(v0), torch.empty_like(v0)
    args = (grad_trace, trace, v0, decay, decay.stride(0), *_sizes(trace), *grads)
    _launch("integrate_backward", v0, args)
    return grads


def _sizes(trace: Tensor) -> tuple[int, int, int]:
    steps, batch, neurons = trace.shape
    return steps, batch * neurons, neurons


def _launch(kernel: str, v0: Tensor, args: tuple[Tensor | int, ...]) -> None:
    if v0.numel():
        grid = (-(-v0.numel() // cupy_launch.BLOCK),)
        cupy_launch.launch(SOURCE, kernel, grid, (cupy_launch.BLOCK,), v0, args)


KERNELS = function.IntegratorKernels(_forward, _backward)
