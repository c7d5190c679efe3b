"""LIF in Numba: one pass over time per block of lanes, with a hand-written backward pass.

A lane is one (batch, neuron) pair. Work is cut into blocks of lanes that stay in cache; within a block every row
``[t, block]`` is one vectorised loop.
"""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.lanes import BLOCK, as_row, as_rows, follow_torch_threads, per_lane
from snn_delays.ops.lif.function import (
    NEVER,
    LIFKernels,
    LIFNeurons,
    LIFOptions,
    LIFSaved,
    refuses_surrogate,
    surrogate_numbers,
)
from snn_delays.ops.lif.numba_neuron import after_reset, slopes, spike, through_reset
from snn_delays.ops.surrogate import Surrogate
from snn_delays.ops.workspace import empty


def refuses(current: Tensor, surrogate: Surrogate | None, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU with the surrogates of this package."""
    return refuses_off_cpu(current=current) or refuses_surrogate(surrogate)


class _NumbaKernels(LIFKernels):
    def forward(
        self, current: Tensor, v0: Tensor, neurons: LIFNeurons, options: LIFOptions, keep_h: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        x, shape = as_rows(current), v0.shape
        none = (0, x.shape[1])
        h, spikes = (empty(x.shape if kept else none, current.dtype) for kept in (keep_h, options.fires))
        v = np.empty(x.shape[1], x.dtype)
        constants = (per_lane(tensor, shape) for tensor in neurons)
        v_reset = x.dtype.type(options.v_reset)
        follow_torch_threads()
        forward(
            x, as_row(v0), *constants, v_reset, options.soft_reset, options.strict, h.numpy(), spikes.numpy(), v
        )  # fmt: skip
        return (
            h.view(current.shape) if keep_h else None,
            spikes.view(current.shape) if options.fires else None,
            torch.from_numpy(v).view(shape),
        )

    def backward(
        self, grad_output: Tensor, grad_v: Tensor, saved: LIFSaved, options: LIFOptions, for_decay: bool
    ) -> tuple[Tensor, ...]:
        del for_decay  # its sum is cheap beside the rest
        h, shape = as_rows(saved.h), saved.v0.shape
        number, lanes = h.dtype.type, h.shape[1]
        kind, a, b = surrogate_numbers(options.surrogate)
        # Without a gradient to the gain the current was not kept; the kernel then reads none.
        x = np.empty((0, lanes), h.dtype) if saved.current is None else as_rows(saved.current)
        grad_x = empty(h.shape, saved.h.dtype)
        constants = (per_lane(tensor, shape) for tensor in saved.neurons)
        per_lane_grads = [np.empty(lanes, h.dtype) for _ in range(4)]  # of v0, decay, threshold and gain
        follow_torch_threads()
        _backward(
            as_rows(grad_output), as_row(grad_v), h, x, as_row(saved.v0), *constants, number(options.v_reset),
            options.soft_reset, options.detach_reset, options.strict, kind, number(a), number(b),
            grad_x.numpy(), *per_lane_grads,
        )  # fmt: skip
        return grad_x.view(saved.h.shape), *(torch.from_numpy(grad).view(shape) for grad in per_lane_grads)


run = _NumbaKernels().run


@cached_njit(parallel=True)
def forward(x, v0, decay, threshold, gain, v_reset, soft_reset, strict, h, spikes, v_out):  # type: ignore[no-untyped-def]
    """``h`` has no steps where it need not be kept, ``spikes`` where the neurons never fire."""
    steps, lanes = x.shape
    keep, fires = h.shape[0] > 0, spikes.shape[0] > 0
    one, zero = x.dtype.type(1), x.dtype.type(0)
    for block in prange((lanes + BLOCK - 1) // BLOCK):
        a, b = block * BLOCK, min(lanes, (block + 1) * BLOCK)
        v, d, th, g = v_out[a:b], decay[a:b], threshold[a:b], gain[a:b]
        v[:] = v0[a:b]
        alone = np.empty(b - a, x.dtype)
        if not fires:
            before = v0[a:b]
            for t in range(steps):
                x_t, h_t = x[t, a:b], h[t, a:b]
                for j in range(b - a):
                    h_t[j] = d[j] * before[j] + g[j] * x_t[j]
                before = h_t
            for j in range(b - a):  # a loop: Numba loses the assignment of a slice here
                v[j] = before[j]
            continue
        for t in range(steps):
            x_t, h_t, s_t = x[t, a:b], h[t, a:b] if keep else alone, spikes[t, a:b]
            for j in range(b - a):
                m = d[j] * (v[j] - v_reset) + v_reset + g[j] * x_t[j]
                # h - theta is compared with 0, as the reference does, so both round alike.
                u = m - th[j]
                s = spike(u, strict, one, zero)
                h_t[j] = m
                s_t[j] = s if u == u else u  # of NaN, NaN
                v[j] = after_reset(m, s, th[j], v_reset, soft_reset)


@cached_njit(parallel=True)
def _backward(  # type: ignore[no-untyped-def]
    grad_output, grad_v, h, x, v0, decay, threshold, gain, v_reset, soft_reset, detach_reset, strict, kind, p, q,
    grad_x, grad_v0, grad_decay, grad_threshold, grad_gain,
):  # fmt: skip
    steps, lanes = h.shape
    with_input = x.shape[0] > 0
    # Constants in the arrays' own type: a Python number would turn float32 loops into float64 ones.
    one, zero = h.dtype.type(1), h.dtype.type(0)
    for block in prange((lanes + BLOCK - 1) // BLOCK):
        a, b = block * BLOCK, min(lanes, (block + 1) * BLOCK)
        size = b - a
        d, th, g = decay[a:b], threshold[a:b], gain[a:b]
        gv, gd, gth, gg = grad_v0[a:b], grad_decay[a:b], grad_threshold[a:b], grad_gain[a:b]
        slope, fired = np.empty(size, h.dtype), np.empty(size, h.dtype)
        gv[:] = grad_v[a:b]
        gd[:] = 0
        gth[:] = 0
        gg[:] = 0
        if kind == NEVER:
            for t in range(steps - 1, -1, -1):
                g_t, gx_t, before = grad_output[t, a:b], grad_x[t, a:b], h[t - 1, a:b] if t > 0 else v0[a:b]
                x_t = x[t, a:b] if with_input else before
                for j in range(size):
                    gh = gv[j] + g_t[j]
                    gx_t[j] = gh * g[j]
                    gd[j] += gh * before[j]
                    gg[j] += gh * x_t[j]
                    gv[j] = gh * d[j]
            continue
        for t in range(steps - 1, -1, -1):
            h_t, gs_t, gx_t = h[t, a:b], grad_output[t, a:b], grad_x[t, a:b]
            for j in range(size):
                u = h_t[j] - th[j]
                fired[j] = spike(u, strict, one, zero)
                slope[j] = u
            slopes(slope, kind, p, q)
            for j in range(size):
                gs, through = through_reset(
                    gs_t[j], gv[j], h_t[j], fired[j], th[j], v_reset, soft_reset, detach_reset, one
                )
                if soft_reset:
                    gth[j] -= gv[j] * fired[j]
                gth[j] -= gs * slope[j]
                gh = through + gs * slope[j]
                gx_t[j] = gh * g[j]
                gv[j] = gh * d[j]
                slope[j] = gh
            if t > 0:
                h_p = h[t - 1, a:b]
                for j in range(size):
                    s = spike(h_p[j] - th[j], strict, one, zero)
                    gd[j] += slope[j] * (after_reset(h_p[j], s, th[j], v_reset, soft_reset) - v_reset)
            else:
                for j in range(size):
                    gd[j] += slope[j] * (v0[a + j] - v_reset)
            if with_input:
                x_t = x[t, a:b]
                for j in range(size):
                    gg[j] += slope[j] * x_t[j]
