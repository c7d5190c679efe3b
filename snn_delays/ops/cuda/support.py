"""What CUDA C and Numba CUDA kernels share: whether they serve a call, and how those with a thread per lane are called.

A lane is a (batch, neuron) pair.
"""

import logging
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from snn_delays.ops.backends import capturing, installed

MAX_LANES = 2**31 - 1024  # kernels count lanes in 32 bits
_log = logging.getLogger(__name__)
Trial = Callable[[torch.dtype, torch.device], None]
"""Compiles and runs every kernel on the smallest call, and waits for them."""
outcomes: dict[tuple[Trial, torch.dtype, torch.device], str | None] = {}
"""Of the trial runs so far: None, or why the kernels of a trial cannot serve a dtype on a device."""


def refuses(package: str, compiler: str, tensors: dict[str, Tensor], trial: Trial) -> str | None:
    """Sentence saying why kernels of ``package`` cannot serve ``tensors``, by name; None if they can.

    A kernel gets addresses, so all must be on one device and of one dtype. A failure of the trial, which runs once per
    dtype and device, is logged and remembered.
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
    dtype, device = first.dtype, first.device
    key = (trial, dtype, device)
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


class PerNeuron(NamedTuple):
    """A tensor ``[neuron]``, possibly with stride 0."""

    tensor: Tensor


class Unless(NamedTuple):
    """A tensor that may be None; then ``stand_in``, of as many axes, is given and neither read nor written."""

    tensor: Tensor | None
    stand_in: Tensor


Argument = Tensor | int | float | PerNeuron | Unless


class Lanes(Protocol):
    """Kernels of an operation on contiguous tensors whose last two axes are batch and neuron."""

    def refuses(self, tensors: dict[str, Tensor], trial: Trial) -> str | None:
        """See :func:`refuses`."""

    def launch(self, kernel: str, like: Tensor, inputs: Sequence[Argument], outputs: Sequence[Argument]) -> None:
        """Run a kernel for the lanes, dtype and device of ``like [time, batch, neuron]``."""


def grid_of(threads: int, block: int) -> tuple[int, ...]:
    """Blocks for so many threads, () for none."""
    return (-(-threads // block),) if threads else ()
