"""Peak memory of some work, above what the process held before it."""

import ctypes
import gc
from collections.abc import Callable
from pathlib import Path

import torch

from snn_delays.ops.workspace import release

MIB = 2**20
HOW = (
    "Peak memory is that of a round of its own: memory freed before is given back to the system first (malloc_trim; "
    "kept scratch memory is released too), then the high-water mark of resident memory counts over its level before. "
    "Parameters and the state of optimisers are there before and do not count, gradients do. "
    "On a GPU: torch.cuda.max_memory_allocated over the level before."
)


def peak_mib(work: Callable[[], object], device: torch.device) -> float | None:
    """MiB that ``work`` needs at its peak beyond what is allocated already; None without Linux, which reports it.

    Pages that the C library keeps from earlier work would be used again without counting, so they go back first.
    """
    release()
    gc.collect()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        work()
        torch.cuda.synchronize(device)
        return (torch.cuda.max_memory_allocated(device) - held) / MIB
    _trim()
    before = _reset_peak()
    work()
    after = _status_mib("VmHWM")
    return None if before is None or after is None else max(after - before, 0.0)


def _trim() -> None:
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc has it, other C libraries do not
    if trim is not None:
        trim(0)


def _reset_peak() -> float | None:
    """Have Linux forget the high-water mark; resident memory now, in MiB."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return None
    return _status_mib("VmRSS")


def _status_mib(key: str) -> float | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith(key)), None)
