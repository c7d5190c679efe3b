"""The exponential for Numba's loops: in float32 by arithmetic that LLVM can vectorise, where ``math.exp`` is a call."""

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic, overload

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

    In float32 for ``x <= 88``, within 2 units in the last place, and 0 below -87.
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
