"""LIF kernels in Numba CUDA, one thread per lane; the same arithmetic as ``lif.cu``."""

import functools
import math
from typing import Any

import torch
from numba import cuda

from snn_delays.ops.cuda.numba_launch import real_type


@functools.cache
def kernels(dtype: torch.dtype) -> tuple[Any, Any]:
    """Forward and backward kernel that compute in ``dtype``."""
    real = real_type(dtype)
    zero, one, half, half_pi = real(0), real(1), real(0.5), real(math.pi / 2)
    six, normal = real(6), real(1 / math.sqrt(2 * math.pi))

    @cuda.jit(device=True)
    def fires(u, strict):  # type: ignore[no-untyped-def]
        return u > zero or (u == zero and strict == 0)

    @cuda.jit(device=True)
    def slope(u, kind, p, q):  # type: ignore[no-untyped-def]
        a = abs(u)
        if kind == 0:
            z = half_pi * p * u
            return half * p / (one + z * z)
        if kind == 1:
            z = one + p * a
            return one / (z * z)
        if kind == 2:
            inside = one - a / p
            return zero if inside < zero else q * inside
        if kind == 4:  # the neurons never fire: their output is the membrane
            return one
        if kind == 5:
            return (q if u > -p and u <= p else zero) if u == u else u
        if kind == 6:
            return half * q * p * math.exp(-p * a)
        if kind == 7:
            z = half * (u / p) * (u / p)
            return normal / p * (half * (one + q) * math.exp(-z) - q / six * math.exp(-z / (six * six)))
        e = math.exp(-p * a)  # from the negative side, so that it cannot overflow; the slope is even
        return p * e / ((one + e) * (one + e))

    @cuda.jit
    def forward(x, v0, decay, threshold, gain, v_reset, soft_reset, strict, keep_h, h, writes_spikes, spikes, v_final):  # type: ignore[no-untyped-def]
        lane = cuda.grid(1)
        steps, lanes = x.shape
        if lane >= lanes:
            return
        neuron = lane % decay.shape[0]
        d, theta, g = decay[neuron], threshold[neuron], gain[neuron]
        v = v0[lane]
        for t in range(steps):
            m = d * (v - v_reset) + v_reset + g * x[t, lane]
            u = m - theta
            fired = fires(u, strict)
            if keep_h:
                h[t, lane] = m
            if writes_spikes:
                spikes[t, lane] = (one if fired else zero) if u == u else u  # of NaN, NaN
            if soft_reset:
                v = m - theta if fired else m
            else:
                v = v_reset if fired else m
        v_final[lane] = v

    @cuda.jit
    def backward(  # type: ignore[no-untyped-def]
        grad_spikes, grad_v, h, with_x, x, v0, decay, threshold, gain, v_reset, soft_reset, detach_reset, strict,
        kind, p, q, grad_x, grad_v0, for_decay, grad_decay, grad_threshold, for_gain, grad_gain,
    ):  # fmt: skip
        lane = cuda.grid(1)
        steps, lanes = h.shape
        if lane >= lanes:
            return
        neuron = lane % decay.shape[0]
        d, theta, g = decay[neuron], threshold[neuron], gain[neuron]
        gv, sum_decay, sum_threshold, sum_gain = grad_v[lane], zero, zero, zero
        for i in range(steps):
            t = steps - 1 - i
            m = h[t, lane]
            u = m - theta
            s = one if fires(u, strict) else zero
            gs = grad_spikes[t, lane]
            if soft_reset:
                through = gv
                sum_threshold -= gv * s
                if not detach_reset:
                    gs -= gv * theta
            else:
                through = gv * (one - s)
                if not detach_reset:
                    gs += gv * (v_reset - m)
            gu = gs * slope(u, kind, p, q)
            gh = through + gu
            sum_threshold -= gu
            grad_x[t, lane] = gh * g
            gv = gh * d
            if for_decay:
                v = v0[lane]
                if t > 0:
                    v = h[t - 1, lane]
                    if fires(v - theta, strict):
                        v = v - theta if soft_reset else v_reset
                sum_decay += gh * (v - v_reset)
            if with_x:
                sum_gain += gh * x[t, lane]
        grad_v0[lane], grad_threshold[lane] = gv, sum_threshold
        if for_decay:
            grad_decay[lane] = sum_decay
        if for_gain:
            grad_gain[lane] = sum_gain

    return forward, backward
