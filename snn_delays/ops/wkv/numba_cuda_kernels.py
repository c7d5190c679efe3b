"""Kernels of WKV in Numba CUDA, a thread per lane; the same arithmetic as ``wkv.cu``."""

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
    zero, unit = real(0), real(1)

    @cuda.jit(device=True)
    def weigh(past, now):  # type: ignore[no-untyped-def]
        # e^(past - n), e^(now - n) and n, the larger: one is 1, or NaN where n is infinite, as e^(n - n) is.
        gap = past - now
        n = past if gap > zero else now
        smaller, one = math.exp(-abs(gap)), unit + (n - n)
        return (one, smaller, n) if gap > zero else (smaller, one, n)

    @cuda.jit
    def forward(  # type: ignore[no-untyped-def]
        key, value, log_decay, bonus, numerator, denominator, exponent, keep, trace, y,
        last_numerator, last_denominator, last_exponent,
    ):  # fmt: skip
        lane = cuda.grid(1)
        steps, lanes = key.shape
        if lane >= lanes:
            return
        neuron = lane % log_decay.shape[0]
        w, u = log_decay[neuron], bonus[neuron]
        p, q, o = numerator[lane], denominator[lane], exponent[lane]
        for t in range(steps):
            k, v = key[t, lane], value[t, lane]
            if keep:
                trace[0, t, lane], trace[1, t, lane], trace[2, t, lane] = p, q, o
            past, now, _ = weigh(o, u + k)
            y[t, lane] = (past * p + now * v) / (past * q + now)
            past, now, o = weigh(w + o, k)
            p = past * p + now * v
            q = past * q + now
        last_numerator[lane], last_denominator[lane], last_exponent[lane] = p, q, o

    @cuda.jit
    def backward(  # type: ignore[no-untyped-def]
        grad_y, grad_last_numerator, grad_last_denominator, key, value, log_decay, bonus, trace, grad_key,
        grad_value, grad_log_decay, grad_bonus, grad_numerator, grad_denominator,
    ):  # fmt: skip
        lane = cuda.grid(1)
        steps, lanes = key.shape
        if lane >= lanes:
            return
        neuron = lane % log_decay.shape[0]
        w, u = log_decay[neuron], bonus[neuron]
        # gp and gq: gradients of the sums after the step at hand, in the scale in which the forward pass kept these.
        gp, gq, sum_decay, sum_bonus = grad_last_numerator[lane], grad_last_denominator[lane], zero, zero
        for i in range(steps):
            t = steps - 1 - i
            k, v = key[t, lane], value[t, lane]
            p, q, o = trace[0, t, lane], trace[1, t, lane], trace[2, t, lane]
            past_out, now_out, _ = weigh(o, u + k)
            past_next, now_next, _ = weigh(w + o, k)

            inverse = unit / (past_out * q + now_out)
            average = (past_out * p + now_out * v) * inverse
            share = grad_y[t, lane] * inverse
            through_bonus = share * now_out * (v - average)
            sum_bonus += through_bonus
            sum_decay += past_next * (p * gp + q * gq)
            grad_key[t, lane] = through_bonus + now_next * (v * gp + gq)
            grad_value[t, lane] = share * now_out + now_next * gp

            gp = past_next * gp + past_out * share
            gq = past_next * gq - past_out * share * average
        grad_log_decay[lane], grad_bonus[lane] = sum_decay, sum_bonus
        grad_numerator[lane], grad_denominator[lane] = gp, gq

    return forward, backward
