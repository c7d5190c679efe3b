"""Kernels of the leaky integrator in Numba CUDA, a thread per lane; the same arithmetic as ``leaky_integrator.cu``."""

import functools
from typing import Any

import torch
from numba import cuda

from snn_delays.ops.cuda.numba_launch import real_type


@functools.cache
def kernels(dtype: torch.dtype) -> tuple[Any, Any]:
    """Forward and backward kernel that compute in ``dtype``."""
    zero = real_type(dtype)(0)

    @cuda.jit
    def forward(x, v0, decay, trace):  # type: ignore[no-untyped-def]
        lane = cuda.grid(1)
        steps, lanes = x.shape
        if lane >= lanes:
            return
        d, v = decay[lane % decay.shape[0]], v0[lane]
        for t in range(steps):
            v = d * v + x[t, lane]
            trace[t, lane] = v

    @cuda.jit
    def backward(grad, trace, v0, decay, grad_x, grad_v0, grad_decay):  # type: ignore[no-untyped-def]
        lane = cuda.grid(1)
        steps, lanes = trace.shape
        if lane >= lanes:
            return
        d, gv, sum_decay = decay[lane % decay.shape[0]], zero, zero
        for i in range(steps):
            t = steps - 1 - i
            total = grad[t, lane] + gv
            grad_x[t, lane] = total
            sum_decay += total * (trace[t - 1, lane] if t > 0 else v0[lane])
            gv = total * d
        grad_v0[lane], grad_decay[lane] = gv, sum_decay

    return forward, backward
