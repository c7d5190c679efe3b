"""The delayed convolution in Numba: whole maps added up, shifted in memory by a tap's place in space and time.

A step of a sample is one line of memory, all its maps behind each other. Term j (a place in the kernel and one of its
taps) reads the stretch of a line that begins at ``place[j]``; ``step[o, j]`` says of which line. Eight terms or outputs
go together, so that the sum is loaded and stored once for all of them.
"""

import numpy as np
from numba import prange

from snn_delays.compiling import cached_njit

TOGETHER = 8


@cached_njit(parallel=True, fastmath={"contract"})
def gather_maps(x, step, place, coefficient, y):  # type: ignore[no-untyped-def]
    """``y[t, b, o, n] = sum_j coefficient[o, j] x[t + step[o, j], b, place[j] + n]``; terms come in eights."""
    steps, batch, outputs, size = y.shape
    for item in prange(steps * batch):
        t, b = item // batch, item % batch
        for o in range(outputs):
            out, s, c = y[t, b, o], step[o], coefficient[o]
            out[:] = 0
            for j in range(0, len(place), TOGETHER):
                x0, x1 = x[t + s[j], b, place[j] :], x[t + s[j + 1], b, place[j + 1] :]
                x2, x3 = x[t + s[j + 2], b, place[j + 2] :], x[t + s[j + 3], b, place[j + 3] :]
                x4, x5 = x[t + s[j + 4], b, place[j + 4] :], x[t + s[j + 5], b, place[j + 5] :]
                x6, x7 = x[t + s[j + 6], b, place[j + 6] :], x[t + s[j + 7], b, place[j + 7] :]
                c0, c1, c2, c3 = c[j], c[j + 1], c[j + 2], c[j + 3]
                c4, c5, c6, c7 = c[j + 4], c[j + 5], c[j + 6], c[j + 7]
                for n in range(size):
                    out[n] += (
                        c0 * x0[n] + c1 * x1[n] + c2 * x2[n] + c3 * x3[n]
                        + c4 * x4[n] + c5 * x5[n] + c6 * x6[n] + c7 * x7[n]
                    )  # fmt: skip


@cached_njit(parallel=True, fastmath={"contract"})
def scatter_maps(grad_y, step, place, coefficient, grad_x):  # type: ignore[no-untyped-def]
    """``grad_x[s, b, place[j] + n] += sum_o coefficient[o, j] grad_y[s - step[o, j], b, o, n]``, silent outside."""
    steps, batch, outputs, size = grad_y.shape
    last = outputs - 1
    for item in prange(len(grad_x) * batch):
        line, b = item // batch, item % batch
        into = grad_x[line, b]
        when, how = np.empty(TOGETHER, np.int64), np.empty(TOGETHER, grad_y.dtype)
        for j in range(len(place)):
            out = into[place[j] :]
            for o in range(0, outputs, TOGETHER):
                for k in range(TOGETHER):  # what would come from outside is taken from within, times zero
                    at = line - step[min(o + k, last), j]
                    inside = 0 <= at < steps and o + k < outputs
                    when[k], how[k] = at if inside else 0, coefficient[o + k, j] if inside else 0
                if not how.any():
                    continue
                g0, g1 = grad_y[when[0], b, min(o, last)], grad_y[when[1], b, min(o + 1, last)]
                g2, g3 = grad_y[when[2], b, min(o + 2, last)], grad_y[when[3], b, min(o + 3, last)]
                g4, g5 = grad_y[when[4], b, min(o + 4, last)], grad_y[when[5], b, min(o + 5, last)]
                g6, g7 = grad_y[when[6], b, min(o + 6, last)], grad_y[when[7], b, min(o + 7, last)]
                c0, c1, c2, c3, c4, c5, c6, c7 = how[0], how[1], how[2], how[3], how[4], how[5], how[6], how[7]
                for n in range(size):
                    out[n] += (
                        c0 * g0[n] + c1 * g1[n] + c2 * g2[n] + c3 * g3[n]
                        + c4 * g4[n] + c5 * g5[n] + c6 * g6[n] + c7 * g7[n]
                    )  # fmt: skip


@cached_njit(parallel=True, fastmath={"contract", "reassoc"})
def correlate_maps(grad_y, x, step, place, grad):  # type: ignore[no-untyped-def]
    """``sum_part grad[part, o, j] = sum_{t, b, n} grad_y[t, b, o, n] x[t + step[o, j], b, place[j] + n]``.

    A part is a share of the samples; terms come in eights.
    """
    steps, batch, outputs, size = grad_y.shape
    parts = len(grad)
    zero = grad.dtype.type(0)
    for part in prange(parts):
        for b in range(part * batch // parts, (part + 1) * batch // parts):
            for t in range(steps):
                for o in range(outputs):
                    g, into, s = grad_y[t, b, o], grad[part, o], step[o]
                    for j in range(0, len(place), 4):
                        x0, x1 = x[t + s[j], b, place[j] :], x[t + s[j + 1], b, place[j + 1] :]
                        x2, x3 = x[t + s[j + 2], b, place[j + 2] :], x[t + s[j + 3], b, place[j + 3] :]
                        s0, s1, s2, s3 = zero, zero, zero, zero
                        for n in range(size):
                            s0 += g[n] * x0[n]
                            s1 += g[n] * x1[n]
                            s2 += g[n] * x2[n]
                            s3 += g[n] * x3[n]
                        into[j] += s0
                        into[j + 1] += s1
                        into[j + 2] += s2
                        into[j + 3] += s3
