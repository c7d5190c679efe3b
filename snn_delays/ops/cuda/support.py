"""Whether kernels serve a tensor: its device and dtype, the package, and one trial run for each device and dtype."""

import logging
from collections.abc import Callable

import torch
from torch import Tensor

from snn_delays.ops.backends import capturing, installed

MAX_LANES = 2**31 - 1024  # kernels count lanes in 32 bits
_log = logging.getLogger(__name__)
outcomes: dict[tuple[str, torch.dtype, torch.device], str | None] = {}
"""Of the trial runs so far: None, or why the kernels of a trial cannot serve a dtype on a device."""


def refuses(
    package: str, compiler: str, tensors: dict[str, Tensor], trial: Callable[[torch.dtype, torch.device], None]
) -> str | None:
    """Sentence saying why kernels of ``package`` cannot serve ``tensors``, by name; None if they can.

    A kernel gets addresses, so all must be on one device and of one dtype. ``trial`` compiles and runs every kernel on
    the smallest call; a failure is logged once and remembered.
    """
    name, first = next(iter(tensors.items()))
    if first.device.type != "cuda":
        return f"it runs on a CUDA GPU and the {name} is on {first.device}"
    if first.dtype not in (torch.float32, torch.float64):
        return f"it computes in float32 or float64 and the {name} is {first.dtype}"
    for other, tensor in tensors.items():
        if tensor.device != first.device or tensor.dtype != first.dtype:
            return f"the {name} is {first.dtype} on {first.device}, the {other} {tensor.dtype} on {tensor.device}"
        if tensor.shape[1:].numel() > MAX_LANES:
            return f"it serves up to {MAX_LANES} lanes and the {other} has {tensor.shape[1:].numel()}"
    if not installed(package):
        return f"the package {package} is not installed (pip install 'snn-delays[gpu]')"
    return failure(compiler, trial, first.dtype, first.device)


def failure(
    compiler: str, trial: Callable[[torch.dtype, torch.device], None], dtype: torch.dtype, device: torch.device
) -> str | None:
    """Why the trial failed, naming compiler and reason; None where it passed. It runs once per dtype and device."""
    key = (f"{trial.__module__}.{trial.__qualname__}", dtype, device)
    if key not in outcomes:
        if capturing(device):
            return "its kernels are not compiled yet; call it once before a CUDA graph is captured"
        try:
            trial(dtype, device)
        except Exception as error:  # whatever the compiler or the driver throws, the next backend can serve
            outcomes[key] = f"{compiler} failed on {device}: {_first_line(error)}"
            _log.warning("%s: %s; the next backend is used", trial.__module__, outcomes[key])
        else:
            outcomes[key] = None
    return outcomes[key]


def _first_line(error: Exception) -> str:
    """The line that says what is wrong: a compiler's log begins with others."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "error" in line.lower()]
    return (telling or lines or [type(error).__name__])[0]
