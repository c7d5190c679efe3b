"""WKV in Numba: one pass over time per block of lanes, with a hand-written backward pass.

A lane is one (batch, neuron) pair. The gradients of the sums are kept in the scale of the sums themselves,
``e^exponent``: then every factor on their way is at most 1 and nothing overflows.
"""

import math
from typing import Any

import numba
import numpy as np
import torch
from llvmlite import ir
from numba import njit, prange, types
from numba.extending import intrinsic, overload
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.lanes import BLOCK, as_row, as_rows, follow_torch_threads, per_lane
from snn_delays.ops.wkv import WKVState
from snn_delays.ops.wkv.function import WKVKernels, WKVSaved
from snn_delays.ops.workspace import empty

LEAST = 64  # lanes of a block: fewer would not fill the vectors


def refuses(key: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    return refuses_off_cpu(key=key)


class _NumbaKernels(WKVKernels):
    def forward(
        self, key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState, keep: bool
    ) -> tuple[Tensor, WKVState, Tensor | None]:
        k, shape = as_rows(key), key.shape
        y = empty(k.shape, key.dtype)
        trace = empty((3, *k.shape) if keep else (3, 0, k.shape[1]), key.dtype)
        after = [as_row(part).copy() for part in state]
        follow_torch_threads()
        _forward(
            _block_size(k.shape[1]), k, as_rows(value),
            per_lane(log_decay, shape[1:]), per_lane(bonus, shape[1:]), y.numpy(), trace.numpy(), *after,
        )  # fmt: skip
        final = WKVState(*(torch.from_numpy(part).view(shape[1:]) for part in after))
        return y.view(shape), final, trace.view(3, *shape) if keep else None

    def backward(
        self, grad_output: Tensor, grad_numerator: Tensor, grad_denominator: Tensor, saved: WKVSaved
    ) -> tuple[Tensor, ...]:
        k, shape = as_rows(saved.key), saved.key.shape
        grad_key, grad_value = (empty(k.shape, saved.key.dtype) for _ in range(2))
        # Of decay, bonus and the initial sums.
        lanes = *np.zeros((2, k.shape[1]), k.dtype), as_row(grad_numerator).copy(), as_row(grad_denominator).copy()
        follow_torch_threads()
        _backward(
            _block_size(k.shape[1]), as_rows(grad_output), k, as_rows(saved.value),
            per_lane(saved.log_decay, shape[1:]), per_lane(saved.bonus, shape[1:]),
            saved.trace.view(3, *k.shape).numpy(), grad_key.numpy(), grad_value.numpy(), *lanes,
        )  # fmt: skip
        return grad_key.view(shape), grad_value.view(shape), *(torch.from_numpy(grad).view(shape[1:]) for grad in lanes)


run = _NumbaKernels().run


def _block_size(lanes: int) -> int:
    """Lanes that a kernel works through together: all threads get as many, and none of them few."""
    threads = numba.get_num_threads()
    blocks = -(-lanes // (BLOCK * threads)) * threads
    return max(LEAST, -(-lanes // max(blocks, 1)))


LOWEST = np.float32(-87.0)  # below, 0: the numbers that follow soon lose digits
LOG2_E = np.float32(1.4426950408889634)
# ln 2 in two parts, the first with so few bits that its product with n is exact.
LN2_HIGH, LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
SHIFT = np.float32(1.5 * 2**23)  # added to a number it leaves the nearest whole one in the lowest bits
# e^r = 1 + r + r^2 (A + B r + C r^2 + D r^3 + E r^4) for |r| <= ln(2) / 2, fitted to the relative error.
A, B, C, D, E = (np.float32(c) for c in (0.50000001, 0.1666654, 0.04166632, 0.00836639, 0.00139426))
ZERO, ONE = np.float32(0), np.float32(1)
INT32 = ir.IntType(32)


def exp(x: Any) -> Any:
    """``e^x`` in the type of ``x``, inside compiled functions only.

    In float32 by arithmetic that LLVM can vectorise, where ``math.exp`` is a call: for ``x <= 88``, within 2 units in
    the last place, and 0 below -87.
    """
    return math.exp(x)


@overload(exp)
def _exp(x: Any) -> Any:
    return _exp_float32 if x == types.float32 else exp


def _exp_float32(x: Any) -> Any:
    bounded = LOWEST if x < LOWEST else x
    shifted = bounded * LOG2_E + SHIFT
    n = shifted - SHIFT
    r = bounded - n * LN2_HIGH - n * LN2_LOW
    e = (ONE + (r + r * r * (A + r * (B + r * (C + r * (D + r * E)))))) * _power_of_two(shifted)
    return ZERO if x < LOWEST else e


@intrinsic
def _power_of_two(typing_context: Any, shifted: Any) -> Any:
    """``2^n`` of ``n + SHIFT``, whose lowest bits are those of ``n``: moved to where a float32 has its exponent."""

    def build(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], INT32)
        exponent = builder.shl(bits, INT32(23))
        return builder.bitcast(builder.add(exponent, INT32(0x3F800000)), ir.FloatType())

    return types.float32(types.float32), build


@njit(fastmath={"contract"})
def weigh(past, now, one):  # type: ignore[no-untyped-def]
    """``e^(past - n)``, ``e^(now - n)`` and n, the larger; one is 1, or NaN where n is infinite, as e^(n - n) is."""
    gap = past - now
    n = past if gap > 0 else now
    smaller, larger = exp(-abs(gap)), one + (n - n)
    return (larger, smaller, n) if gap > 0 else (smaller, larger, n)


@cached_njit(parallel=True, error_model="numpy", fastmath={"contract"})
def _forward(size, k, v, decay, bonus, y, trace, numerator, denominator, exponent):  # type: ignore[no-untyped-def]
    """``trace`` has no steps where it need not be kept. The state is carried in the last three."""
    steps, lanes = k.shape
    keep = trace.shape[1] > 0
    one = k.dtype.type(1)
    for block in prange((lanes + size - 1) // size):
        a, b = block * size, min(lanes, (block + 1) * size)
        w, u = decay[a:b], bonus[a:b]
        p, q, o = numerator[a:b], denominator[a:b], exponent[a:b]
        for t in range(steps):
            if keep:
                trace[0, t, a:b] = p
                trace[1, t, a:b] = q
                trace[2, t, a:b] = o
            k_t, v_t, y_t = k[t, a:b], v[t, a:b], y[t, a:b]
            for j in range(b - a):
                past, now, _ = weigh(o[j], u[j] + k_t[j], one)
                y_t[j] = (past * p[j] + now * v_t[j]) / (past * q[j] + now)
                past, now, o[j] = weigh(w[j] + o[j], k_t[j], one)
                p[j] = past * p[j] + now * v_t[j]
                q[j] = past * q[j] + now


@cached_njit(parallel=True, error_model="numpy", fastmath={"contract"})
def _backward(  # type: ignore[no-untyped-def]
    size, grad_y, k, v, decay, bonus, trace,
    grad_key, grad_value, grad_decay, grad_bonus, grad_numerator, grad_denominator,
):  # fmt: skip
    """The last two hold the gradients of the sums after a step, and in the end those of the initial sums."""
    steps, lanes = k.shape
    one = k.dtype.type(1)
    for block in prange((lanes + size - 1) // size):
        a, b = block * size, min(lanes, (block + 1) * size)
        w, u = decay[a:b], bonus[a:b]
        gw, gu, gp, gq = grad_decay[a:b], grad_bonus[a:b], grad_numerator[a:b], grad_denominator[a:b]
        for t in range(steps - 1, -1, -1):
            p, q, o = trace[0, t, a:b], trace[1, t, a:b], trace[2, t, a:b]
            k_t, v_t, g_t, gk_t, gv_t = k[t, a:b], v[t, a:b], grad_y[t, a:b], grad_key[t, a:b], grad_value[t, a:b]
            for j in range(b - a):
                past_y, now_y, _ = weigh(o[j], u[j] + k_t[j], one)
                past, now, _ = weigh(w[j] + o[j], k_t[j], one)
                share = one / (past_y * q[j] + now_y)
                y = (past_y * p[j] + now_y * v_t[j]) * share
                g = g_t[j] * share
                own = g * now_y * (v_t[j] - y)
                gu[j] += own
                gw[j] += past * (p[j] * gp[j] + q[j] * gq[j])
                gk_t[j] = own + now * (v_t[j] * gp[j] + gq[j])
                gv_t[j] = g * now_y + now * gp[j]
                gp[j] = past * gp[j] + past_y * g
                gq[j] = past * gq[j] - past_y * g * y
