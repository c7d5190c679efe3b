"""The temporal kernel, a few output neurons at a time, so that a dense one is never kept."""

from collections.abc import Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from snn_delays.ops.delay.taps import delay_kernel


def output_parts(weight: Tensor, window: int, kernel_bytes: int) -> list[slice]:
    """Output neurons whose kernels are built together, within a number of bytes."""
    outputs, inputs, count = weight.shape
    size = max(1, kernel_bytes // (window * inputs * count * weight.element_size()))
    return [slice(o, min(o + size, outputs)) for o in range(0, outputs, size)]


T = TypeVar("T", Tensor, Tensor | None)


def part(tensor: T, rows: slice, outputs: int) -> T:
    """Those rows of a tensor that broadcasts against ``[outputs, in, count]``."""
    if tensor is None or tensor.ndim < 3 or tensor.shape[0] != outputs:
        return tensor
    return tensor[rows]


def kernel_gradients(
    grad_kernel: Tensor,
    rows: slice,
    given: Sequence[Tensor | None],
    max_delay_steps: int,
    taps: str,
    grads: Sequence[Tensor | None],
) -> None:
    """Add to ``grads`` the gradients of weight, delay and sigma, ``given``, from that of the kernel of some rows."""
    assert given[0] is not None
    outputs = given[0].shape[0]
    with torch.enable_grad():
        parts: list[Any] = [None if t is None else part(t.detach(), rows, outputs) for t in given]
        for own in parts:
            if own is not None:
                own.requires_grad_()
        weight, delay, sigma = parts
        kernel = delay_kernel(weight, delay, sigma, max_delay_steps, taps)
    found = iter(torch.autograd.grad(kernel, [p for p in parts if p is not None], grad_kernel, allow_unused=True))
    for own, grad in zip(parts, grads):
        if own is not None and (value := next(found)) is not None and grad is not None:
            part(grad, rows, outputs).add_(value)
