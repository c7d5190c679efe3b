"""Leaky integrator through Numba CUDA: the host's side. The kernels are imported with the first call."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda import numba_launch
from snn_delays.ops.leaky_integrator import function


def refuses(current: Tensor, v0: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on a CUDA GPU, or in Numba's simulator."""
    return numba_launch.refuses({"current": current, "state": v0}, _trial)


def run(current: Tensor, v0: Tensor, decay: Tensor, decay_input: bool) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.leaky_integrator.leaky_integrator`."""
    return function.apply(KERNELS, current, v0, decay, decay_input)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    function.trial(KERNELS, dtype, device)


def _forward(current: Tensor, v0: Tensor, decay: Tensor) -> Tensor:
    trace = torch.empty_like(current)
    _launch(0, v0, (current.flatten(1), v0.flatten(), decay.contiguous(), trace.flatten(1)))
    return trace


def _backward(grad_trace: Tensor, trace: Tensor, v0: Tensor, decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grads = torch.empty_like(trace), torch.empty_like(v0), torch.empty_like(v0)
    given = grad_trace.flatten(1), trace.flatten(1), v0.flatten(), decay.contiguous()
    _launch(1, v0, (*given, grads[0].flatten(1), grads[1].flatten(), grads[2].flatten()))
    return grads


def _launch(which: int, v0: Tensor, args: tuple[Tensor, ...]) -> None:
    from snn_delays.ops.leaky_integrator.numba_cuda_kernels import kernels

    if v0.numel():
        grid = (-(-v0.numel() // numba_launch.BLOCK),)
        numba_launch.launch(kernels(v0.dtype)[which], grid, (numba_launch.BLOCK,), v0, args)


KERNELS = function.IntegratorKernels(_forward, _backward)
