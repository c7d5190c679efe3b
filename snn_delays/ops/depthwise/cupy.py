"""Depthwise filters as CUDA C kernels (``depthwise.cu``) through CuPy."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda import cupy_launch
from snn_delays.ops.cuda.cupy_launch import Source
from snn_delays.ops.cuda.support import grid_of

SOURCE = Source("depthwise/depthwise.cu")
TILE, MIXES = 8, 4  # as in the source
CHUNK = 128  # steps of a partial sum of the kernel's gradient


def refuses(x: Tensor, kernel: Tensor, history: Tensor) -> str | None:
    """Serves float32 and float64 on a CUDA GPU."""
    tensors = {"input": x, "kernel": kernel, "history": history}
    return cupy_launch.refuses(tensors, _trial)


def run(x: Tensor, kernel: Tensor, history: Tensor) -> Tensor:
    """See :func:`snn_delays.ops.depthwise.depthwise`."""
    y: Tensor = _Filter.apply(x, kernel, history)
    return y


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    """Compile and run all kernels on one neuron, and wait for them."""
    with torch.enable_grad():
        one = torch.ones(1, 1, 1, dtype=dtype, device=device, requires_grad=True)
        torch.autograd.grad(run(one, one.expand(2, 1, 1), one).sum(), one)
    torch.cuda.synchronize(device)


class _Filter(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, kernel: Tensor, history: Tensor) -> Tensor:
        x, kernel, history = x.contiguous(), kernel.contiguous(), history.contiguous()
        ctx.save_for_backward(kernel, *((x, history) if ctx.needs_input_grad[1] else ()))
        (lags, mixes, neurons), (steps, batch, _) = kernel.shape, x.shape
        y = x.new_empty(mixes, *x.shape)
        threads = batch * neurons * -(-steps // TILE) * -(-mixes // MIXES)
        _launch("depthwise_forward", threads, x, (x, history, kernel, lags, mixes, steps, batch * neurons, neurons, y))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Any:
        needs_x, needs_kernel, needs_history = ctx.needs_input_grad
        kernel, *line = ctx.saved_tensors
        grad_x, grad_history = _backward_line(grad_y.contiguous(), kernel, needs_x, needs_history)
        return grad_x, _backward_kernel(grad_y.contiguous(), kernel, *line) if needs_kernel else None, grad_history


def _backward_line(
    grad_y: Tensor, kernel: Tensor, needs_x: bool, needs_history: bool
) -> tuple[Tensor | None, Tensor | None]:
    (lags, mixes, neurons), (steps, batch) = kernel.shape, grad_y.shape[1:3]
    past, lanes = lags - 1, batch * neurons
    grad_x = torch.empty_like(grad_y[0]) if needs_x else None
    grad_history = grad_y.new_empty(past, batch, neurons) if needs_history else None
    least, most = 0 if needs_history else past, past + steps if needs_x else past
    args = grad_y, kernel, lags, mixes, steps, lanes, neurons, least, grad_x, grad_history
    _launch("depthwise_backward_line", lanes * -(-(most - least) // TILE), grad_y, args)
    return grad_x, grad_history


def _backward_kernel(grad_y: Tensor, kernel: Tensor, x: Tensor, history: Tensor) -> Tensor:
    (lags, mixes, neurons), (steps, batch, _) = kernel.shape, x.shape
    parts = x.new_empty(-(-steps // CHUNK) * batch, *kernel.shape)
    threads = len(parts) * -(-lags // TILE) * mixes * neurons
    args = grad_y, x, history, lags, mixes, steps, batch, neurons, CHUNK, parts
    _launch("depthwise_backward_kernel", threads, x, args)
    return parts.sum(0)


def _launch(kernel: str, threads: int, like: Tensor, args: tuple[Tensor | int | None, ...]) -> None:
    if grid := grid_of(threads, cupy_launch.BLOCK):
        cupy_launch.launch(SOURCE, kernel, grid, (cupy_launch.BLOCK,), like, args)
