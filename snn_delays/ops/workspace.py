"""Memory that is used again: fresh pages cost more than the work done in them, and holes between blocks cost memory.

:func:`scratch` is for what a call needs while it runs, :func:`empty` for what it hands out.
"""

import math
import threading
import weakref
from collections import OrderedDict, deque
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

LEAST = 2**20  # bytes; smaller blocks are left to the C library
MOST_IDLE = 2**29  # bytes that wait to be used again; beyond, blocks of the size unused for longest are freed
ALIGNED = 64  # bytes of a cache line

_scratch: dict[int, dict[tuple[str, torch.dtype], Tensor]] = {}  # by thread
# Blocks by size, those used last at the end. Tensors may go at any moment, in any thread, even while another one is
# being made: every step below is one that the interpreter does not interrupt.
_idle: OrderedDict[int, deque[np.ndarray]] = OrderedDict()


def scratch(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uninitialised tensor on the CPU, valid until the next call of this thread with the same name."""
    pool = _scratch.setdefault(threading.get_ident(), {})
    size = math.prod(shape)
    held = pool.get((name, dtype))
    if held is None or held.numel() < size:
        held = None
        pool.pop((name, dtype), None)  # before the larger one is taken
        with torch.inference_mode(False):  # where it is made must not decide where it can be used
            pool[name, dtype] = held = torch.empty(size, dtype=dtype)
    return held[:size].view(*shape)


def empty(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uninitialised tensor on the CPU; when nobody holds it any more its memory is used again."""
    size = math.prod(shape) * dtype.itemsize
    if size < LEAST:
        return torch.empty(tuple(shape), dtype=dtype)
    block = _take(size)
    lent = block[:size].view(str(dtype).removeprefix("torch.")).reshape(tuple(shape))
    weakref.finalize(lent, _put_back, block).atexit = False
    return torch.from_numpy(lent)


def release() -> None:
    """Return all memory that waits to be used again, that of other threads too; none of them may be at work."""
    _idle.clear()
    for pool in list(_scratch.values()):
        pool.clear()


def _take(size: int) -> np.ndarray:
    """The smallest block that waits, fits and is not twice as large; else a new one.

    New ones have room for nearly half as much again: pages that are never touched take no memory, and activations and
    spectra then use the same blocks. Of their sizes there are a dozen between powers of two.
    """
    for fitting in sorted(held for held in list(_idle) if size <= held <= 2 * size):
        try:
            return _idle[fitting].pop()
        except (KeyError, IndexError):
            continue
    step = 1 << (size.bit_length() - 4)
    capacity = (size + size // 2) // step * step
    room = np.empty(capacity + ALIGNED, np.uint8)
    begin = -room.ctypes.data % ALIGNED
    return room[begin : begin + capacity]


def _put_back(block: np.ndarray) -> None:
    _idle.setdefault(block.nbytes, deque()).append(block)
    _idle.move_to_end(block.nbytes)
    while sum(size * len(blocks) for size, blocks in list(_idle.items())) > MOST_IDLE:
        size, blocks = next(iter(list(_idle.items())))
        try:
            blocks.popleft()
        except IndexError:
            _idle.pop(size, None)
