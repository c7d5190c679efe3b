"""The delayed convolution in the frequency domain: a convolution in space for each frequency, none along time.

Real and imaginary parts take three real products (Karatsuba), so that with real matrices A, B and C

    y[t] = sum_m C[t, m] conv2d(sum_s A[m, s] x[s], sum_k B[m, k] kernel[k])

where m counts some 3 n / 2 products for a block of n steps. For so short transforms, matrix products are the fastest.
"""

import math
from functools import lru_cache
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.delay.dynamic_range import needs_causal
from snn_delays.ops.delay.signal import joined
from snn_delays.ops.delay.taps import tap_weights
from snn_delays.ops.delay.transform_length import transform_length
from snn_delays.ops.delay_conv import reference

SPECTRUM_BYTES = 2**24  # of the products of the samples that are worked on together


def refuses(x: Tensor, weight: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    return refuses_off_cpu(input=x, weight=weight)


def run(
    x: Tensor, history: Tensor | None, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
    taps: str, stride: tuple[int, int], padding: tuple[int, int],
) -> Tensor:  # fmt: skip
    """See :func:`snn_delays.ops.delay_conv.delayed_conv2d`."""
    signal = joined(x, history, max_delay_steps)
    if needs_causal(signal.flatten(2)):
        return reference.run(x, history, weight, delay, sigma, max_delay_steps, taps, stride, padding)
    n, blocks = transform_length(len(x), max_delay_steps)
    of_signal, of_kernel, of_products = _matrices(n, x.dtype)
    kernel = (tap_weights(delay, sigma, max_delay_steps, taps) * weight).to(x.dtype)
    filters = (of_kernel[:, : len(kernel)] @ kernel.flatten(1)).unflatten(1, kernel.shape[1:])
    hop = n - max_delay_steps  # a block's first steps wrap around
    ends = F.pad(signal, (0, 0) * 4 + (0, blocks * hop + max_delay_steps - len(signal)))
    lines = ends if blocks == 1 else torch.cat([ends[k * hop : k * hop + n] for k in range(blocks)], 1)
    current: Tensor = _Spectral.apply(lines, filters, of_signal, of_products[max_delay_steps:], stride, padding)
    if blocks > 1:
        current = current.unflatten(1, (blocks, -1)).transpose(0, 1).flatten(0, 1)
    return current[: len(x)]


@lru_cache(maxsize=16)
def _matrices(n: int, dtype: torch.dtype) -> tuple[Tensor, ...]:
    """A and B ``[product, n]``, C ``[n, product]``: the real frequencies, then three products for each other one."""
    angle = 2 * math.pi / n * (np.outer(np.arange(n // 2 + 1), np.arange(n)) % n)
    re, im = np.cos(angle), -np.sin(angle)
    real, cos, sin = re[:: n // 2] if n % 2 == 0 else re[:1], re[1 : (n + 1) // 2], im[1 : (n + 1) // 2]
    of_signal = np.concatenate([real, cos + sin, cos, sin])
    of_kernel = np.concatenate([real, cos, sin - cos, cos + sin])
    of_products = np.concatenate([real, 2 * (cos + sin), 2 * sin, -2 * cos]).T / n
    with torch.inference_mode(False):  # they are kept, and saved for backward passes
        return tuple(torch.from_numpy(matrix).to(dtype) for matrix in (of_signal, of_kernel, of_products))


class _Spectral(torch.autograd.Function):
    """``y[t] = sum_m of_products[t, m] conv2d(sum_s of_signal[m, s] x[s], filters[m])``, some samples at a time."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, filters: Tensor, of_signal: Tensor, of_products: Tensor, stride: Any, padding: Any
    ) -> Tensor:
        ctx.save_for_backward(x, filters, of_signal, of_products)
        ctx.how = stride, padding
        first = F.conv2d(x[0, :1], filters[0], None, stride, padding)
        y = x.new_empty(len(of_products), x.shape[1], *first.shape[1:])
        ctx.parts = _parts(x.shape[1], max(first.numel(), x[0, 0].numel()) * filters.shape[0] * x.element_size())
        for part in ctx.parts:
            spectrum = _mixed(of_signal, x[:, part])
            products = [F.conv2d(one, filter, None, stride, padding) for one, filter in zip(spectrum, filters)]
            y[:, part] = _mixed(of_products, torch.stack(products))
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Any:
        x, filters, of_signal, of_products = ctx.saved_tensors
        for_x, for_filters = ctx.needs_input_grad[:2]
        grad_x = torch.empty_like(x) if for_x else None
        grad_filters = torch.zeros_like(filters) if for_filters else None
        for part in ctx.parts:
            spectrum, grads = _mixed(of_signal, x[:, part]), _mixed(of_products.T, grad_y[:, part])
            back = []
            for m, (one, grad) in enumerate(zip(spectrum, grads)):
                of_one, of_filter, _ = torch.ops.aten.convolution_backward(
                    grad, one, filters[m], None, *ctx.how, (1, 1), False, (0, 0), 1, (for_x, for_filters, False)
                )
                back.append(of_one)
                if grad_filters is not None:
                    grad_filters[m] += of_filter
            if grad_x is not None:
                grad_x[:, part] = _mixed(of_signal.T, torch.stack(back))
        return grad_x, grad_filters, None, None, None, None


def _mixed(matrix: Tensor, maps: Tensor) -> Tensor:
    """``[m, ...]`` of ``[n, ...]``."""
    return (matrix @ maps.flatten(1)).unflatten(1, maps.shape[1:])


def _parts(batch: int, bytes_each: int) -> list[slice]:
    size = max(1, SPECTRUM_BYTES // bytes_each)
    count = -(-batch // size)
    return [slice(batch * i // count, batch * (i + 1) // count) for i in range(count)]
