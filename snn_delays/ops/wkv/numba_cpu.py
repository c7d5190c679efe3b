"""WKV in Numba: one pass over time per block of lanes, with a hand-written backward pass.

A lane is one (batch, neuron) pair. The gradients of the sums are kept in the scale of the sums themselves,
``e^exponent``: then every factor on their way is at most 1 and nothing overflows.
"""

from typing import Any

import numba
import numpy as np
import torch
from numba import njit, prange
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.lanes import BLOCK, as_row, as_rows, follow_torch_threads, per_lane
from snn_delays.ops.wkv import WKVState, function
from snn_delays.ops.wkv.numba_exp import exp
from snn_delays.ops.workspace import empty

LEAST = 64  # lanes of a block: fewer would not fill the vectors


def refuses(key: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    return refuses_off_cpu(key=key)


def run(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState) -> tuple[Tensor, WKVState]:
    """See :func:`snn_delays.ops.wkv.wkv`."""
    return function.apply(function.WKVKernels(_run_forward, _run_backward), key, value, log_decay, bonus, state)


def _run_forward(
    key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState, keep: bool
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


def _run_backward(
    grad_output: Tensor, grad_numerator: Tensor, grad_denominator: Tensor, saved: function.WKVSaved
) -> tuple[Tensor, ...]:
    k, shape = as_rows(saved.key), saved.key.shape
    grad_key, grad_value = (empty(k.shape, saved.key.dtype) for _ in range(2))
    grad_decay, grad_bonus = (np.zeros(k.shape[1], k.dtype) for _ in range(2))
    initial = as_row(grad_numerator).copy(), as_row(grad_denominator).copy()
    follow_torch_threads()
    _backward(
        _block_size(k.shape[1]), as_rows(grad_output), k, as_rows(saved.value),
        per_lane(saved.log_decay, shape[1:]), per_lane(saved.bonus, shape[1:]),
        saved.trace.view(3, *k.shape).numpy(), grad_key.numpy(), grad_value.numpy(), grad_decay, grad_bonus, *initial,
    )  # fmt: skip
    lanes = (torch.from_numpy(grad).view(shape[1:]) for grad in (grad_decay, grad_bonus, *initial))
    return grad_key.view(shape), grad_value.view(shape), *lanes


def _block_size(lanes: int) -> int:
    """Lanes that a kernel works through together: all threads get as many, and none of them few."""
    threads = numba.get_num_threads()
    blocks = -(-lanes // (BLOCK * threads)) * threads
    return max(LEAST, -(-lanes // max(blocks, 1)))


@njit(fastmath={"contract"})
def _weigh(past, now, one):  # type: ignore[no-untyped-def]
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
                past, now, _ = _weigh(o[j], u[j] + k_t[j], one)
                y_t[j] = (past * p[j] + now * v_t[j]) / (past * q[j] + now)
                past, now, o[j] = _weigh(w[j] + o[j], k_t[j], one)
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
                past_y, now_y, _ = _weigh(o[j], u[j] + k_t[j], one)
                past, now, _ = _weigh(w[j] + o[j], k_t[j], one)
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
