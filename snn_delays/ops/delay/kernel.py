"""The temporal kernel ``[D + 1, out, in]`` of some output neurons, for the spectral backends, and its gradients."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.delay.taps import Synapses, delay_kernel, few_taps, tap_count


def is_narrow(synapses: Synapses) -> bool:
    """Whether at most half of the window's taps matter, so that the kernel is better built from them alone."""
    return 2 * tap_count(*synapses[1:]) <= synapses.max_delay_steps + 1


def narrow_kernel(synapses: Synapses) -> Tensor:
    """The kernel from the taps that matter: to rounding that of all, without a gradient."""
    weight = synapses.weight
    with torch.no_grad():
        start, values = few_taps(*synapses)
        kernel = weight.new_zeros(synapses.max_delay_steps + 1, *weight.shape[:2])
        _add(values.contiguous().numpy(), start.contiguous().numpy(), kernel.numpy())
    return kernel


def kernel_gradients(
    grad_kernel: Tensor, rows: slice, synapses: Synapses, grads: Sequence[Tensor | None], narrow: bool = False
) -> None:
    """Add to ``grads``, of weight, delay and sigma, what the gradient of the kernel of some rows comes to."""
    leaves = [None if t is None else t.detach().requires_grad_() for t in synapses.rows(rows)[:3]]
    leaf_synapses = Synapses._make((*leaves, *synapses[3:]))
    with torch.enable_grad():
        start, built = few_taps(*leaf_synapses) if narrow else (None, delay_kernel(*leaf_synapses))
    if start is not None:
        grad_values = torch.empty_like(built)
        _look_up(grad_kernel.contiguous().numpy(), start.contiguous().numpy(), grad_values.numpy())
        grad_kernel = grad_values
    pairs = [(leaf, grad) for leaf, grad in zip(leaves, grads) if leaf is not None]
    values = torch.autograd.grad(built, [leaf for leaf, _ in pairs], grad_kernel, allow_unused=True)
    for (_, grad), value in zip(pairs, values):
        if value is not None and grad is not None:
            synapses.part(grad, rows).add_(value)


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
