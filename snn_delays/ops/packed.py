"""Spikes and counts kept between forward and backward pass in a byte each."""

from typing import NamedTuple

import numpy as np
import torch
from numba import prange
from torch import Tensor

from snn_delays.compiling import cached_njit
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.workspace import empty

PIECE = 2**15  # numbers that a thread looks at together


class Packed(NamedTuple):
    """``numbers * scale``: bytes where the input was some scale times 0..255, exactly; else the input as it was."""

    numbers: Tensor
    scale: float

    def unpack(self, dtype: torch.dtype) -> Tensor:
        """The input again, to the bit."""
        return self.numbers if self.numbers.dtype == dtype else self.numbers.to(dtype) * self.scale


def pack(x: Tensor) -> Packed:
    """Pack spikes (0 or one height, as dropout scales them) or counts; other input is kept as it is."""
    values = x.detach().contiguous()
    flat = values.view(-1).numpy()
    follow_torch_threads()
    numbers = empty(values.shape, torch.uint8)
    for part in (flat[:PIECE], flat):  # that the smallest number is among the first is tried, not trusted
        scale = _smallest(part)
        if np.isfinite(scale) and scale > 0 and _divide(flat, scale, numbers.view(-1).numpy()):
            return Packed(numbers, float(scale))
    return Packed(values, 1.0)


@cached_njit(parallel=True)
def _smallest(x):  # type: ignore[no-untyped-def]
    """Smallest positive number, 1 if there is none, 0 if one is negative or NaN."""
    pieces = (x.size + PIECE - 1) // PIECE
    found = np.full(max(pieces, 1), np.inf, x.dtype)
    top, zero = x.dtype.type(np.inf), x.dtype.type(0)
    for piece in prange(pieces):
        part = x[piece * PIECE : (piece + 1) * PIECE]
        least, refused = top, 0
        for i in range(part.size):
            number = part[i] if part[i] > zero else top
            least = number if number < least else least
            refused += not part[i] >= zero
        found[piece] = least if refused == 0 else zero
    smallest = found.min()
    return smallest if smallest < top else x.dtype.type(1)


@cached_njit(parallel=True)
def _divide(x, scale, numbers):  # type: ignore[no-untyped-def]
    """Write ``x / scale`` as bytes; whether every number times the scale is x again."""
    pieces = (x.size + PIECE - 1) // PIECE
    refused = np.zeros(max(pieces, 1), np.int64)
    number, most = x.dtype.type, x.dtype.type(255)
    inverse, half = number(1) / scale, number(0.5)
    for piece in prange(pieces):
        part, into = x[piece * PIECE : (piece + 1) * PIECE], numbers[piece * PIECE : (piece + 1) * PIECE]
        wrong = 0
        for i in range(part.size):
            whole = np.int32(min(part[i] * inverse, most) + half)
            into[i] = whole
            wrong += number(whole) * scale != part[i]
        refused[piece] = wrong
    return refused.sum() == 0
