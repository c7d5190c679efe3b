"""Norm, neurons and mask in Numba: the current is read once forwards; backwards the membranes are computed again.

Work is cut into blocks of neurons of one sample. Saved for the backward pass: the current, mean and variance.
"""

from typing import Any

import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.lanes import array, follow_torch_threads
from snn_delays.ops.lif.function import LIFOptions, refuses_surrogate, surrogate_numbers
from snn_delays.ops.lif.numba_neuron import after_reset, slopes, spike, through_reset
from snn_delays.ops.surrogate import Surrogate
from snn_delays.ops.workspace import empty

BLOCK_BYTES = 2**18  # of membranes that a thread holds in the backward pass: within the second-level cache
PARTS = 16  # of the steps, whose statistics are taken apart: the same ones on any number of threads


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
    current: Tensor, gamma: Tensor, beta: Tensor, v0: Tensor, valid: Tensor | None, mask: Tensor | None, eps: float,
    decay: float, threshold: float, **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """See :func:`snn_delays.ops.norm_lif.norm_lif`."""
    chosen, number = LIFOptions(**options), array(current).dtype.type
    kind, p, q = surrogate_numbers(chosen.surrogate)
    neuron = (number(decay), number(threshold), number(1 - decay if chosen.decay_input else 1), number(chosen.v_reset))
    numbers = (*neuron, chosen.soft_reset, chosen.strict, chosen.detach_reset, kind, number(p), number(q))
    valid = torch.ones(current.shape[:2], dtype=torch.bool) if valid is None else valid
    mask = torch.ones_like(v0) if mask is None else mask.detach()
    result: tuple[Tensor, Tensor, Tensor, Tensor] = _NormLIF.apply(current, gamma, beta, v0, valid, mask, eps, numbers)
    return result


class _NormLIF(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, *given: Any) -> Any:
        current, gamma, beta, v0, valid, mask, eps, numbers = given
        current = current.contiguous()
        follow_torch_threads()
        neurons = current.shape[2]
        sums = np.zeros((2, neurons))
        _sums(array(current), array(valid), sums)
        count = float(valid.sum())
        mean = torch.from_numpy(sums[0]) / count
        variance = (torch.from_numpy(sums[1]) / count).clamp_(min=0)
        scale, shift = _affine(gamma, beta, mean, variance, eps)
        spikes, v = empty(current.shape, current.dtype), torch.empty_like(v0, memory_format=torch.contiguous_format)
        _forward(
            array(current), array(valid), array(mask), array(v0), array(scale), array(shift), *numbers[:6],
            spikes.numpy(), v.numpy(),
        )  # fmt: skip
        ctx.save_for_backward(current, gamma, beta, v0, valid, mask, mean, variance)
        ctx.eps, ctx.numbers, ctx.count = eps, numbers, count
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
        lane_sums = np.empty((2, *v0.shape), array(current).dtype)
        x, ok = array(current), array(valid)
        _backward(
            array(grad_spikes), array(grad_v), x, ok, array(mask), array(v0), array(scale), array(shift),
            *ctx.numbers, _block(current), grad.numpy(), grad_v0.numpy(), lane_sums,
        )  # fmt: skip
        # Of the normalised current: sum of its gradient, and of its gradient times the current.
        total, with_x = torch.from_numpy(lane_sums).double().sum(1)
        inverse = torch.rsqrt(variance + ctx.eps)
        grad_gamma = (inverse * (with_x - mean * total)).to(gamma.dtype)
        if ctx.needs_input_grad[0]:
            slope = inverse**2 * (with_x - mean * total) / ctx.count
            offset = total / ctx.count - slope * mean
            _through_norm(x, ok, *(array(part.to(current.dtype)) for part in (scale, slope, offset)), grad.numpy())
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
    first = _first_valid(x, valid)  # to take off before squares lose digits
    parts, counts = np.zeros((PARTS, 2, neurons)), np.zeros(PARTS, np.int64)
    for part in prange(PARTS):
        total, square = parts[part, 0], parts[part, 1]
        for t in range(part * steps // PARTS, (part + 1) * steps // PARTS):
            for row in range(batch):
                if valid[t, row]:
                    line = x[t, row]
                    counts[part] += 1
                    for j in range(neurons):
                        z = line[j] - first[j]
                        total[j] += z
                        square[j] += z * z
    count = counts.sum()
    for part in range(PARTS):
        sums += parts[part]
    sums[1] -= sums[0] ** 2 / max(count, 1)
    sums[0] += count * first


@njit
def _first_valid(x, valid):  # type: ignore[no-untyped-def]
    """The first row of currents that counts, in float64; zeros if there is none."""
    first = np.zeros(x.shape[2])
    for t in range(x.shape[0]):
        for row in range(x.shape[1]):
            if valid[t, row]:
                first[:] = x[t, row]
                return first
    return first


@njit
def _integrate(v, x, valid, scale, shift, decay, gain, v_reset, h):  # type: ignore[no-untyped-def]
    """A row of membranes before the reset; a step of padding has no current."""
    if valid:
        for j in range(h.size):
            h[j] = decay * (v[j] - v_reset) + v_reset + gain * (scale[j] * x[j] + shift[j])
    else:
        for j in range(h.size):
            h[j] = decay * (v[j] - v_reset) + v_reset


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
            s_t = spikes[t, row]
            _integrate(v, x[t, row], valid[t, row], scale, shift, decay, gain, v_reset, s_t)
            for j in range(neurons):
                u = s_t[j] - threshold
                s = spike(u, strict, one, zero)
                v[j] = after_reset(s_t[j], s, threshold, v_reset, soft_reset)
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
            h_t = h[t]
            _integrate(v, x[t, row, a:b], valid[t, row], c, d, decay, gain, v_reset, h_t)
            for j in range(size):
                s = spike(h_t[j] - threshold, strict, one, zero)
                v[j] = after_reset(h_t[j], s, threshold, v_reset, soft_reset)
        gv[:] = grad_v[row, a:b]
        total[:] = zero
        with_x[:] = zero
        for t in range(steps - 1, -1, -1):
            h_t, gs_t, g_t, x_t = h[t], grad_spikes[t, row, a:b], grad[t, row, a:b], x[t, row, a:b]
            for j in range(size):
                slope[j] = h_t[j] - threshold
            slopes(slope, kind, p, q)
            for j in range(size):
                s = spike(h_t[j] - threshold, strict, one, zero)
                gs, through = through_reset(
                    gs_t[j] * factor[j], gv[j], h_t[j], s, threshold, v_reset, soft_reset, detach_reset, one
                )
                slope[j] = through + gs * slope[j]  # in a loop with one array more, LLVM would use no vectors
                gv[j] = slope[j] * decay
            for j in range(size):
                g_t[j] = slope[j] * gain
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
