"""The temporal kernel, a few output neurons at a time, so that a dense one is never kept."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from snn_delays.ops.delay.taps import delay_kernel


def output_parts(weight: Tensor, window: int, kernel_bytes: int) -> list[slice]:
    """Output neurons whose kernels are built together, within a number of bytes."""
    outputs, inputs, count = weight.shape
    size = max(1, kernel_bytes // (window * inputs * count * weight.element_size()))
    return [slice(o, min(o + size, outputs)) for o in range(0, outputs, size)]


Differentiate = Callable[[Tensor, Sequence[Tensor | None], int, str], Sequence[Tensor | None]]
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
    differentiate: Differentiate,
) -> None:
    """Add to ``grads`` the gradients of weight, delay and sigma, ``given``, from that of the kernel of some rows."""
    assert given[0] is not None
    outputs = given[0].shape[0]
    leaves = [None if t is None else part(t.detach(), rows, outputs).requires_grad_() for t in given]
    for value, grad in zip(differentiate(grad_kernel, leaves, max_delay_steps, taps), grads):
        if value is not None and grad is not None:
            part(grad, rows, outputs).add_(value)


def dense_gradients(
    grad_kernel: Tensor, leaves: Sequence[Tensor | None], max_delay_steps: int, taps: str
) -> Sequence[Tensor | None]:
    """Gradients of weight, delay and sigma, ``leaves``, through all taps; None for a leaf that is None."""
    weight, delay, sigma = leaves
    assert weight is not None
    assert delay is not None
    with torch.enable_grad():
        kernel = delay_kernel(weight, delay, sigma, max_delay_steps, taps)
    given = [leaf for leaf in leaves if leaf is not None]
    found = iter(torch.autograd.grad(kernel, given, grad_kernel, allow_unused=True))
    return [None if leaf is None else next(found) for leaf in leaves]
