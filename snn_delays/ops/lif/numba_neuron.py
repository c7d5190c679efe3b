"""One step of a neuron in Numba, and the derivatives of the surrogates: what its kernels share."""

import numpy as np
from numba import njit


@njit
def spike(u, strict, one, zero):  # type: ignore[no-untyped-def]
    """1 where the membrane is ``u`` above the threshold, else 0; ``one`` and ``zero`` in the dtype of ``u``."""
    return one if (u > 0 or (u == 0 and not strict)) else zero


@njit
def after_reset(h, s, threshold, v_reset, soft_reset):  # type: ignore[no-untyped-def]
    """The membrane after a step, from that before the reset and the spike."""
    return h - threshold * s if soft_reset else (v_reset if s > 0 else h)


@njit
def through_reset(gs, gv, h, s, threshold, v_reset, soft_reset, detach_reset, one):  # type: ignore[no-untyped-def]
    """Gradients of the spike and of the membrane before the reset, from those of the spike and of the membrane after.

    Without what reaches that membrane by way of the spike.
    """
    if soft_reset:
        return gs if detach_reset else gs - gv * threshold, gv
    return gs if detach_reset else gs + gv * (v_reset - h), gv * (one - s)


@njit(error_model="numpy")  # a look for zero before each division would keep LLVM from using vectors
def slopes(u, kind, p, q):  # type: ignore[no-untyped-def]
    """Replace ``u``, a row of distances of membranes from the threshold, by the surrogate's derivative there.

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
    elif kind == 5:
        for j in range(u.size):
            inside = q if u[j] > -p and u[j] <= p else zero
            u[j] = inside if u[j] == u[j] else u[j]
    elif kind == 6:
        peak = u.dtype.type(0.5) * q * p
        for j in range(u.size):
            u[j] = peak * np.exp(-p * abs(u[j]))
    elif kind == 7:
        half, share = u.dtype.type(0.5), u.dtype.type(1 / 36)
        peak = u.dtype.type(1 / np.sqrt(2 * np.pi)) / p
        narrow, wide = half * (one + q) * peak, u.dtype.type(1 / 6) * q * peak
        for j in range(u.size):
            z = half * (u[j] / p) * (u[j] / p)
            u[j] = narrow * np.exp(-z) - wide * np.exp(-z * share)
    else:
        for j in range(u.size):
            # From the negative side, so that the exponential cannot overflow; the slope is even.
            e = np.exp(-p * abs(u[j]))
            u[j] = p * e / ((one + e) * (one + e))
