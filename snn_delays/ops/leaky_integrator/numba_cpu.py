"""Leaky integrator in Numba, with a hand-written backward pass."""

from typing import Any

import numpy as np
import torch
from numba import prange
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.lanes import BLOCK, as_row, as_rows, follow_torch_threads
from snn_delays.ops.leaky_integrator import function


def refuses(current: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    if current.device.type != "cpu":
        return f"it runs on the CPU and the current is on {current.device}"
    if current.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 or float64 and the current is {current.dtype}"
    return None


def run(current: Tensor, v0: Tensor, decay: Tensor, decay_input: bool) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.leaky_integrator.leaky_integrator`."""
    return function.apply(function.IntegratorKernels(_run_forward, _run_backward), current, v0, decay, decay_input)


def _run_forward(current: Tensor, v0: Tensor, decay: Tensor) -> Tensor:
    x = as_rows(current)
    trace = np.empty_like(x)
    follow_torch_threads()
    _integrate(x, as_row(v0), as_row(decay.expand(v0.shape)), trace)
    return torch.from_numpy(trace).view(current.shape)


def _run_backward(grad_trace: Tensor, trace: Tensor, v0: Tensor, decay: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    grad, shape = as_rows(grad_trace), v0.shape
    grad_x = np.empty_like(grad)
    grad_v0, grad_decay = np.empty(grad.shape[1], grad.dtype), np.empty(grad.shape[1], grad.dtype)
    follow_torch_threads()
    _integrate_backward(
        grad, as_rows(trace), as_row(v0), as_row(decay.expand(shape)), grad_x, grad_v0, grad_decay
    )  # fmt: skip
    made = torch.from_numpy(grad_x), torch.from_numpy(grad_v0), torch.from_numpy(grad_decay)
    return made[0].view(trace.shape), made[1].view(shape), made[2].view(shape)


@cached_njit(parallel=True)
def _integrate(x, v0, decay, trace):  # type: ignore[no-untyped-def]
    steps, lanes = x.shape
    for block in prange((lanes + BLOCK - 1) // BLOCK):
        a, b = block * BLOCK, min(lanes, (block + 1) * BLOCK)
        d, v = decay[a:b], v0[a:b]
        for t in range(steps):
            x_t, v_t = x[t, a:b], trace[t, a:b]
            for j in range(b - a):
                v_t[j] = d[j] * v[j] + x_t[j]
            v = v_t


@cached_njit(parallel=True)
def _integrate_backward(grad, trace, v0, decay, grad_x, grad_v0, grad_decay):  # type: ignore[no-untyped-def]
    steps, lanes = trace.shape
    for block in prange((lanes + BLOCK - 1) // BLOCK):
        a, b = block * BLOCK, min(lanes, (block + 1) * BLOCK)
        d, gv, gd = decay[a:b], grad_v0[a:b], grad_decay[a:b]
        gv[:] = 0
        gd[:] = 0
        for t in range(steps - 1, -1, -1):
            g_t, gx_t = grad[t, a:b], grad_x[t, a:b]
            v = trace[t - 1, a:b] if t > 0 else v0[a:b]
            for j in range(b - a):
                total = g_t[j] + gv[j]
                gx_t[j] = total
                gd[j] += total * v[j]
                gv[j] = total * d[j]
