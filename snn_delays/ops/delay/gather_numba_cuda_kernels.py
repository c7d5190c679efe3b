"""Gather kernels in Numba CUDA: a warp is 32 items of the batch, as in ``gather.cu``, but one tap at a time."""

import functools
from typing import Any

import torch
from numba import cuda

from snn_delays.ops.cuda.numba_launch import real_type

LANES, OUTPUTS, STEPS = 32, 4, 8  # a block's items of the batch and neurons, and the steps of a thread


@functools.cache
def kernels(dtype: torch.dtype) -> tuple[Any, Any]:
    """Gather and the gradient of its values, computing in ``dtype``."""
    real = real_type(dtype)
    zero = real(0)

    @cuda.jit
    def gather(signal, offset, direction, value, out):  # type: ignore[no-untyped-def]
        # out[n][t][b] = sum over j, c, m of value[m,n,j,c] signal[j][t + offset[n,j,c] + direction m][b]
        targets, steps, batch = out.shape
        sources, rows = signal.shape[0], signal.shape[1]
        n_tiles, b_tiles = (targets + OUTPUTS - 1) // OUTPUTS, (batch + LANES - 1) // LANES
        block = cuda.blockIdx.x
        n = (block % n_tiles) * OUTPUTS + cuda.threadIdx.y
        b = (block // n_tiles % b_tiles) * LANES + cuda.threadIdx.x
        first = block // n_tiles // b_tiles * STEPS
        if n >= targets or b >= batch:
            return
        total = cuda.local.array(STEPS, real)
        for t in range(STEPS):
            total[t] = zero
        for j in range(sources):
            for c in range(offset.shape[2]):
                for m in range(value.shape[0]):
                    w = value[m, n, j, c]
                    low = first + offset[n, j, c] + direction * m
                    for t in range(STEPS):
                        row = low + t
                        if row >= 0 and row < rows:
                            total[t] += w * signal[j, row, b]
        for t in range(STEPS):
            if first + t < steps:
                out[n, first + t, b] = total[t]

    @cuda.jit
    def gather_values(grad, signal, offset, part):  # type: ignore[no-untyped-def]
        # part[p,m,o,i,c] = sum over t, and b in part p, of grad[o][t][b] signal[i][t + offset[o,i,c] - m][b]
        meet = cuda.shared.array((OUTPUTS, LANES), real)
        parts, taps, outputs, inputs, count = part.shape
        steps, batch = grad.shape[1], grad.shape[2]
        lane, warp = cuda.threadIdx.x, cuda.threadIdx.y
        rest, tiles = cuda.blockIdx.x, (outputs + OUTPUTS - 1) // OUTPUTS
        o, rest = (rest % tiles) * OUTPUTS + warp, rest // tiles
        c, rest = rest % count, rest // count
        i, rest = rest % inputs, rest // inputs
        m, p = rest % taps, rest // taps
        total = zero
        if o < outputs:
            shift = offset[o, i, c] - m
            last = signal.shape[1] - shift
            low, high = -shift if shift < 0 else 0, steps if steps < last else last
            for b in range(p * LANES + lane, batch, parts * LANES):
                for t in range(low, high):
                    total += grad[o, t, b] * signal[i, t + shift, b]
        meet[warp, lane] = total
        cuda.syncthreads()
        if o < outputs and lane == 0:
            total = zero
            for other in range(LANES):
                total += meet[warp, other]
            part[p, m, o, i, c] = total

    return gather, gather_values
