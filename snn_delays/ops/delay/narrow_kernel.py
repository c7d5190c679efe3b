"""The dense temporal kernel at a small sigma, built from the taps that matter; and its gradients."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.delay.few_taps import few_taps, tap_count


def is_narrow(delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> bool:
    """Whether at most half of the window's taps matter."""
    return 2 * tap_count(delay, sigma, max_delay_steps, taps) <= max_delay_steps + 1


def narrow_kernel(weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> Tensor:
    """See :func:`snn_delays.ops.delay.taps.delay_kernel`; to rounding the same, without a gradient."""
    with torch.no_grad():
        start, values = few_taps(weight, delay, sigma, max_delay_steps, taps)
        kernel = weight.new_zeros(max_delay_steps + 1, *weight.shape[:2])
        _add(values.contiguous().numpy(), start.contiguous().numpy(), kernel.numpy())
    return kernel


def narrow_gradients(
    grad_kernel: Tensor, leaves: Sequence[Tensor | None], max_delay_steps: int, taps: str
) -> Sequence[Tensor | None]:
    """Gradients of weight, delay and sigma, ``leaves``, from that of the kernel; None for a leaf that is None."""
    weight, delay, sigma = leaves
    assert weight is not None
    assert delay is not None
    with torch.enable_grad():
        start, values = few_taps(weight, delay, sigma, max_delay_steps, taps)
    grad_values = torch.empty_like(values)
    _look_up(grad_kernel.contiguous().numpy(), start.contiguous().numpy(), grad_values.numpy())
    given: list[Any] = [leaf for leaf in leaves if leaf is not None]
    found = iter(torch.autograd.grad(values, given, grad_values, allow_unused=True))
    return [None if leaf is None else next(found) for leaf in leaves]


@cached_njit()
def _add(values: np.ndarray, start: np.ndarray, kernel: np.ndarray) -> None:
    taps, outputs, inputs, count = values.shape
    for m in range(taps):
        for o in range(outputs):
            for i in range(inputs):
                for c in range(count):
                    kernel[start[o, i, c] + m, o, i] += values[m, o, i, c]


@cached_njit()
def _look_up(kernel: np.ndarray, start: np.ndarray, values: np.ndarray) -> None:
    taps, outputs, inputs, count = values.shape
    for m in range(taps):
        for o in range(outputs):
            for i in range(inputs):
                for c in range(count):
                    values[m, o, i, c] = kernel[start[o, i, c] + m, o, i]
