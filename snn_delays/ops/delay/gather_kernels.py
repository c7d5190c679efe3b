"""Numba kernels of the gather: delays as offsets into rows of time.

In the layout ``[neuron, time, LANES]`` of a block of samples a delay is an offset, and a tap adds one stretch of
memory, times a number, to another. Eight taps are added in one pass, so that the sum is read and written once for
eight products.
"""

import numpy as np
from numba import njit, prange

from snn_delays.compiling import cached_njit

LANES = 8  # samples side by side: one vector register
TERMS = 8  # taps added in one pass


@njit
def _to_rows(x, first, before, rows):  # type: ignore[no-untyped-def]
    """Samples ``first ...`` of ``x [time, batch, neuron]`` into ``rows [neuron + 1, before + time + ..., LANES]``.

    Zeros before and after; the last row is silent, for the taps that pad a pass.
    """
    steps, batch, neurons = x.shape
    zero = x.dtype.type(0)
    lanes = min(LANES, batch - first)
    rows[:neurons, :before] = zero
    rows[:neurons, before + steps :] = zero
    rows[neurons] = zero
    for a in range(0, neurons, 16):
        b = min(neurons, a + 16)
        for t in range(steps):
            if lanes == LANES:
                x0, x1, x2, x3 = x[t, first], x[t, first + 1], x[t, first + 2], x[t, first + 3]
                x4, x5, x6, x7 = x[t, first + 4], x[t, first + 5], x[t, first + 6], x[t, first + 7]
                for n in range(a, b):
                    row = rows[n, before + t]
                    row[0], row[1], row[2], row[3] = x0[n], x1[n], x2[n], x3[n]
                    row[4], row[5], row[6], row[7] = x4[n], x5[n], x6[n], x7[n]
            else:
                for n in range(a, b):
                    row = rows[n, before + t]
                    for lane in range(lanes):
                        row[lane] = x[t, first + lane, n]
                    row[lanes:] = zero


@cached_njit(parallel=True)
def to_rows(x, before, rows):  # type: ignore[no-untyped-def]
    """Every block of ``x`` into ``rows [block, neuron + 1, before + time + ..., LANES]``."""
    for block in prange(rows.shape[0]):
        _to_rows(x, block * LANES, before, rows[block])


@cached_njit(parallel=True, fastmath={"contract"})
def gather_rows(x, before, length, which, offset, coefficient, parts, y):  # type: ignore[no-untyped-def]
    """``y[t,b,o] = sum_{g,j} coefficient[g,o,j] x[t + offset[g,o,j] - before, b, which[g,j]]``, x silent outside.

    ``offset`` is in steps; ``length`` is that of ``x`` with the silence around it. A block of samples is worked on in
    ``parts`` parts of the outputs.
    """
    groups, outputs, _ = offset.shape
    steps, batch = y.shape[:2]
    neurons, size = x.shape[2], steps * LANES
    for item in prange((batch + LANES - 1) // LANES * parts):
        block, part = item // parts, item % parts
        low, high = part * outputs // parts, (part + 1) * outputs // parts
        rows = np.empty((neurons + 1, length, LANES), x.dtype)
        _to_rows(x, block * LANES, before, rows)
        flat = rows.reshape(neurons + 1, length * LANES)
        total = np.zeros((high - low, size), y.dtype)
        for g in range(groups):
            r0, r1, r2, r3 = flat[which[g, 0]], flat[which[g, 1]], flat[which[g, 2]], flat[which[g, 3]]
            r4, r5, r6, r7 = flat[which[g, 4]], flat[which[g, 5]], flat[which[g, 6]], flat[which[g, 7]]
            for o in range(low, high):
                c, at, out = coefficient[g, o], offset[g, o], total[o - low]
                x0, x1, x2, x3 = r0[at[0] * LANES :], r1[at[1] * LANES :], r2[at[2] * LANES :], r3[at[3] * LANES :]
                x4, x5, x6, x7 = r4[at[4] * LANES :], r5[at[5] * LANES :], r6[at[6] * LANES :], r7[at[7] * LANES :]
                c0, c1, c2, c3, c4, c5, c6, c7 = c[0], c[1], c[2], c[3], c[4], c[5], c[6], c[7]
                for k in range(size):
                    out[k] += (
                        c0 * x0[k] + c1 * x1[k] + c2 * x2[k] + c3 * x3[k]
                        + c4 * x4[k] + c5 * x5[k] + c6 * x6[k] + c7 * x7[k]
                    )  # fmt: skip
        for t in range(steps):
            for lane in range(min(LANES, batch - block * LANES)):
                line = y[t, block * LANES + lane]
                for o in range(low, high):
                    line[o] = total[o - low, t * LANES + lane]


@cached_njit(parallel=True, fastmath={"contract", "reassoc"})
def correlate_rows(rows, grad_rows, offset, parts, grad):  # type: ignore[no-untyped-def]
    """``grad[o, j] += sum_{t, b} grad_rows[b, o, t] rows[b, j // taps, t + offset[o, j]]``, in parts of the outputs."""
    outputs, terms = offset.shape
    blocks, neurons, length, _ = rows.shape
    taps = terms // (neurons - 1)
    size = grad_rows.shape[2] * LANES
    zero = grad.dtype.type(0)
    for part in prange(parts):
        low, high = part * outputs // parts, (part + 1) * outputs // parts
        for block in range(blocks):
            flat = rows[block].reshape(neurons, length * LANES)
            # Eight rows stay in the first-level cache while every output passes over them.
            for j in range(0, terms - 7, 8):
                r0, r1, r2, r3 = flat[j // taps], flat[(j + 1) // taps], flat[(j + 2) // taps], flat[(j + 3) // taps]
                q = j + 4
                r4, r5, r6, r7 = flat[q // taps], flat[(q + 1) // taps], flat[(q + 2) // taps], flat[(q + 3) // taps]
                for o in range(low, high):
                    g, at, into = grad_rows[block, o].reshape(size), offset[o, j : j + 8], grad[o, j : j + 8]
                    x0, x1, x2, x3 = r0[at[0] * LANES :], r1[at[1] * LANES :], r2[at[2] * LANES :], r3[at[3] * LANES :]
                    x4, x5, x6, x7 = r4[at[4] * LANES :], r5[at[5] * LANES :], r6[at[6] * LANES :], r7[at[7] * LANES :]
                    s0, s1, s2, s3, s4, s5, s6, s7 = zero, zero, zero, zero, zero, zero, zero, zero
                    for k in range(size):
                        s0 += g[k] * x0[k]
                        s1 += g[k] * x1[k]
                        s2 += g[k] * x2[k]
                        s3 += g[k] * x3[k]
                        s4 += g[k] * x4[k]
                        s5 += g[k] * x5[k]
                        s6 += g[k] * x6[k]
                        s7 += g[k] * x7[k]
                    into[0] += s0
                    into[1] += s1
                    into[2] += s2
                    into[3] += s3
                    into[4] += s4
                    into[5] += s5
                    into[6] += s6
                    into[7] += s7
            for j in range(terms - terms % 8, terms):
                row = flat[j // taps]
                for o in range(low, high):
                    g, x0, s0 = grad_rows[block, o].reshape(size), row[offset[o, j] * LANES :], zero
                    for k in range(size):
                        s0 += g[k] * x0[k]
                    grad[o, j] += s0
