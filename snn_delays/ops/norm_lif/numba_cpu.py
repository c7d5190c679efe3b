"""Norm, neurons and mask in Numba: the current is read once forwards; backwards the membranes are computed again.

Work is cut into blocks of neurons of one sample. Saved for the backward pass: the current, mean and variance.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.lif.function import refuses_surrogate, surrogate_numbers
from snn_delays.ops.lif.numba_slope import slopes
from snn_delays.ops.surrogate import Surrogate
from snn_delays.ops.workspace import empty

BLOCK_BYTES = 2**18  # of membranes that a thread holds in the backward pass: within the second-level cache
COLUMNS = 32  # neurons whose statistics are taken together


def refuses(current: Tensor, surrogate: Surrogate, **call: Any) -> str | None:
    """Serves float32 and float64 on the CPU with the surrogates of this package, and one decay and threshold."""
    tensors = {name: call[name] for name in ("gamma", "beta", "v0", "mask")}
    if reason := refuses_off_cpu(current=current, **tensors):
        return reason
    for name in ("decay", "threshold"):
        if isinstance(call[name], Tensor):
            return f"it takes one number as {name}, and got one for each neuron"
    return refuses_surrogate(surrogate)


def run(
    current: Tensor,
    gamma: Tensor,
    beta: Tensor,
    v0: Tensor,
    valid: Tensor | None,
    mask: Tensor | None,
    eps: float,
    decay: float,
    threshold: float,
    v_reset: float,
    soft_reset: bool,
    detach_reset: bool,
    decay_input: bool,
    strict: bool,
    surrogate: Surrogate,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """See :func:`snn_delays.ops.norm_lif.norm_lif`."""
    number = current.detach().numpy().dtype.type
    kind, p, q = surrogate_numbers(surrogate)  # type: ignore[misc]
    neuron = (number(decay), number(threshold), number(1 - decay if decay_input else 1), number(v_reset))
    options = (*neuron, soft_reset, strict, detach_reset, kind, number(p), number(q))
    if valid is None:
        valid = torch.ones(current.shape[:2], dtype=torch.bool)
    if mask is None:
        mask = torch.ones_like(v0)
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _NormLIF.apply(
        current, gamma, beta, v0, valid, mask.detach(), eps, options
    )
    return result


def _array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().contiguous().numpy()


class _NormLIF(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        current: Tensor,
        gamma: Tensor,
        beta: Tensor,
        v0: Tensor,
        valid: Tensor,
        mask: Tensor,
        eps: float,
        options: Any,
    ) -> Any:
        current = current.contiguous()
        follow_torch_threads()
        neurons = current.shape[2]
        sums = np.zeros((2, neurons))
        _sums(_array(current), _array(valid), sums)
        count = float(valid.sum())
        mean = torch.from_numpy(sums[0]) / count
        variance = (torch.from_numpy(sums[1]) / count).clamp_(min=0)
        scale, shift = _affine(gamma, beta, mean, variance, eps)
        spikes, v = empty(current.shape, current.dtype), torch.empty_like(v0, memory_format=torch.contiguous_format)
        _forward(
            _array(current), _array(valid), _array(mask), _array(v0), _array(scale), _array(shift), *options[:6],
            spikes.numpy(), v.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(current, gamma, beta, v0, valid, mask, mean, variance)
        ctx.eps, ctx.options, ctx.count = eps, options, count
        mean, variance = mean.to(current.dtype), variance.to(current.dtype)
        ctx.mark_non_differentiable(mean, variance)
        return spikes, v, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_spikes: Tensor, grad_v: Tensor, *_: Any) -> Any:
        current, gamma, beta, v0, valid, mask, mean, variance = ctx.saved_tensors
        follow_torch_threads()
        scale, shift = _affine(gamma, beta, mean, variance, ctx.eps)
        grad = empty(current.shape, current.dtype)
        grad_v0 = torch.empty_like(v0, memory_format=torch.contiguous_format)
        lane_sums = np.empty((2, *v0.shape), _array(current).dtype)
        x, ok = _array(current), _array(valid)
        _backward(
            _array(grad_spikes), _array(grad_v), x, ok, _array(mask), _array(v0), _array(scale), _array(shift),
            *ctx.options, _block(current), grad.numpy(), grad_v0.numpy(), lane_sums,
        )  # fmt: skip
        # Of the normalised current: sum of its gradient, and of its gradient times the current.
        total, with_x = torch.from_numpy(lane_sums).double().sum(1)
        inverse = torch.rsqrt(variance + ctx.eps)
        grad_gamma = (inverse * (with_x - mean * total)).to(gamma.dtype)
        if ctx.needs_input_grad[0]:
            slope = inverse**2 * (with_x - mean * total) / ctx.count
            offset = total / ctx.count - slope * mean
            _through_norm(x, ok, *(_array(part.to(current.dtype)) for part in (scale, slope, offset)), grad.numpy())
        return grad, grad_gamma, total.to(beta.dtype), grad_v0, None, None, None, None


def _affine(gamma: Tensor, beta: Tensor, mean: Tensor, variance: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """The norm as scale and shift, in the dtype of gamma."""
    scale = gamma.double() * torch.rsqrt(variance + eps)
    return scale.to(gamma.dtype), (beta - mean * scale).to(gamma.dtype)


def _block(current: Tensor) -> int:
    """Neurons of one sample whose membranes over all steps fit the cache."""
    return max(16, BLOCK_BYTES // (max(current.shape[0], 1) * current.element_size()))


@cached_njit(parallel=True)
def _sums(x, valid, sums):  # type: ignore[no-untyped-def]
    """Mean-free sums for the statistics: of x, and of its squared distance from the mean, over the valid steps."""
    steps, batch, neurons = x.shape
    for block in prange((neurons + COLUMNS - 1) // COLUMNS):
        a, b = block * COLUMNS, min(neurons, (block + 1) * COLUMNS)
        total, square = sums[0, a:b], sums[1, a:b]
        first = np.zeros(b - a)  # a value of each neuron, to take off before squares lose digits
        count, found = 0, False
        for t in range(steps):
            for row in range(batch):
                if valid[t, row]:
                    line = x[t, row, a:b]
                    if not found:
                        for j in range(b - a):
                            first[j] = line[j]
                        found = True
                    count += 1
                    for j in range(b - a):
                        z = line[j] - first[j]
                        total[j] += z
                        square[j] += z * z
        for j in range(b - a):
            square[j] -= total[j] * total[j] / max(count, 1)
            total[j] += count * first[j]


@cached_njit(parallel=True)
def _forward(  # type: ignore[no-untyped-def]
    x, valid, mask, v0, scale, shift, decay, threshold, gain, v_reset, soft_reset, strict, spikes, v_out
):  # fmt: skip
    steps, batch, neurons = x.shape
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for row in prange(batch):
        v, factor = v_out[row], mask[row]
        v[:] = v0[row]
        for t in range(steps):
            x_t, s_t, counts = x[t, row], spikes[t, row], one if valid[t, row] else zero
            if counts == zero:
                for j in range(neurons):
                    s_t[j] = decay * (v[j] - v_reset) + v_reset
            else:
                for j in range(neurons):
                    s_t[j] = decay * (v[j] - v_reset) + v_reset + gain * (scale[j] * x_t[j] + shift[j])
            for j in range(neurons):
                u = s_t[j] - threshold
                s = one if (u > 0 or (u == 0 and not strict)) else zero
                if soft_reset:
                    v[j] = s_t[j] - threshold * s
                else:
                    v[j] = v_reset if s > 0 else s_t[j]
                s_t[j] = (s if u == u else u) * factor[j]  # of NaN, NaN


@cached_njit(parallel=True)
def _backward(  # type: ignore[no-untyped-def]
    grad_spikes, grad_v, x, valid, mask, v0, scale, shift, decay, threshold, gain, v_reset, soft_reset, strict,
    detach_reset, kind, p, q, block, grad, grad_v0, lane_sums,
):  # fmt: skip
    """Gradient of the normalised current into ``grad``, with its sums over time, alone and times the current."""
    steps, batch, neurons = x.shape
    one, zero = x.dtype.type(1), x.dtype.type(0)
    blocks = (neurons + block - 1) // block
    for item in prange(batch * blocks):
        row, a = item // blocks, item % blocks * block
        b = min(neurons, a + block)
        size = b - a
        factor, c, d = mask[row, a:b], scale[a:b], shift[a:b]
        gv, total, with_x = grad_v0[row, a:b], lane_sums[0, row, a:b], lane_sums[1, row, a:b]
        h = np.empty((steps, size), x.dtype)
        v, slope = np.empty(size, x.dtype), np.empty(size, x.dtype)
        v[:] = v0[row, a:b]
        for t in range(steps):
            x_t, h_t = x[t, row, a:b], h[t]
            if valid[t, row]:
                for j in range(size):
                    h_t[j] = decay * (v[j] - v_reset) + v_reset + gain * (c[j] * x_t[j] + d[j])
            else:
                for j in range(size):
                    h_t[j] = decay * (v[j] - v_reset) + v_reset
            for j in range(size):
                u = h_t[j] - threshold
                s = one if (u > 0 or (u == 0 and not strict)) else zero
                if soft_reset:
                    v[j] = h_t[j] - threshold * s
                else:
                    v[j] = v_reset if s > 0 else h_t[j]
        gv[:] = grad_v[row, a:b]
        total[:] = zero
        with_x[:] = zero
        for t in range(steps - 1, -1, -1):
            h_t, gs_t, g_t, x_t = h[t], grad_spikes[t, row, a:b], grad[t, row, a:b], x[t, row, a:b]
            for j in range(size):
                slope[j] = h_t[j] - threshold
            slopes(slope, kind, p, q)
            for j in range(size):
                u = h_t[j] - threshold
                s = one if (u > 0 or (u == 0 and not strict)) else zero
                gs = gs_t[j] * factor[j]
                if soft_reset:
                    through = gv[j]
                    if not detach_reset:
                        gs -= gv[j] * threshold
                else:
                    through = gv[j] * (one - s)
                    if not detach_reset:
                        gs += gv[j] * (v_reset - h_t[j])
                gh = through + gs * slope[j]
                gv[j] = gh * decay
                g_t[j] = gh * gain
            if valid[t, row]:
                for j in range(size):
                    total[j] += g_t[j]
                    with_x[j] += g_t[j] * x_t[j]
            else:
                for j in range(size):
                    g_t[j] = zero


@cached_njit(parallel=True)
def _through_norm(x, valid, scale, slope, offset, grad):  # type: ignore[no-untyped-def]
    """From the gradient of the normalised current to that of the current, in place."""
    steps, batch, neurons = x.shape
    for t in prange(steps):
        for row in range(batch):
            if valid[t, row]:
                g, line = grad[t, row], x[t, row]
                for j in range(neurons):
                    g[j] = scale[j] * (g[j] - offset[j] - slope[j] * line[j])
