"""Derivatives of the surrogates in Numba, a row at a time."""

import numpy as np
from numba import njit


@njit
def slopes(u, kind, p, q):  # type: ignore[no-untyped-def]
    """Replace ``u``, the distance of the membranes from the threshold, by the surrogate's derivative there.

    ``kind`` and the constants ``p`` and ``q`` are those of
    :func:`snn_delays.ops.lif.function.surrogate_numbers`, in the dtype of ``u``: a Python number would turn float32
    loops into float64 ones.
    """
    one, zero = u.dtype.type(1), u.dtype.type(0)
    if kind == 0:
        steepness, peak = u.dtype.type(np.pi / 2) * p, u.dtype.type(0.5) * p
        for j in range(u.size):
            z = steepness * u[j]
            u[j] = peak / (one + z * z)
    elif kind == 1:
        for j in range(u.size):
            z = one + p * abs(u[j])
            u[j] = one / (z * z)
    elif kind == 2:
        for j in range(u.size):
            inside = one - abs(u[j]) / p
            u[j] = zero if inside < zero else q * inside  # NaN stays NaN
    else:
        for j in range(u.size):
            # From the negative side, so that the exponential cannot overflow; the slope is even.
            e = np.exp(-p * abs(u[j]))
            u[j] = p * e / ((one + e) * (one + e))
