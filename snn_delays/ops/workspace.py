"""Scratch memory that is kept from call to call: fresh pages cost more than the work done in them."""

import math
import threading
from collections.abc import Sequence

import torch
from torch import Tensor

_local = threading.local()


def scratch(name: str, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Uninitialised tensor on the CPU, valid until the next call of this thread with the same name."""
    pool: dict[tuple[str, torch.dtype], Tensor] = _local.__dict__.setdefault("pool", {})
    size = math.prod(shape)
    held = pool.get((name, dtype))
    if held is None or held.numel() < size:
        pool[name, dtype] = held = torch.empty(size, dtype=dtype)
    return held[:size].view(*shape)


def release() -> None:
    """Give this thread's scratch memory back."""
    _local.__dict__.pop("pool", None)
