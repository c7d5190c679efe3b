"""Numba CUDA kernels launched on torch's tensors, device and current stream; in the simulator on CPU tensors.

The simulator (``NUMBA_ENABLE_CUDASIM=1``, set before Numba is imported) runs kernels as plain Python, thread by thread.
Not run on a GPU by the tests of a machine that has none: see ``docs/gpu.md``.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import torch
from numba import cuda
from torch import Tensor

from snn_delays.ops.cuda import support
from snn_delays.ops.cuda.support import Argument, PerNeuron, Unless, grid_of

COMPILER = "Numba CUDA"
BLOCK = 128  # threads
REAL = (torch.float32, torch.float64)
SIMULATED = bool(numba.config.ENABLE_CUDASIM)


def refuses(tensors: dict[str, Tensor], trial: support.Trial) -> str | None:
    """As :func:`snn_delays.ops.cuda.support.refuses`; the simulator serves the CPU."""
    if SIMULATED and all(t.device.type == "cpu" and t.dtype in REAL for t in tensors.values()):
        return None
    return support.refuses("numba", COMPILER, tensors, trial)


def launch(
    kernel: Any, grid: tuple[int, ...], block: tuple[int, ...], like: Tensor, args: Sequence[Tensor | int | float]
) -> None:
    """Run a kernel made for the dtype of ``like`` on its device. Tensors are contiguous; floats come in that dtype."""
    real = np.float64 if like.dtype == torch.float64 else np.float32
    if SIMULATED:
        kernel[grid, block](*[_argument(arg, real, Tensor.numpy) for arg in args])
        return
    stream = cuda.external_stream(torch.cuda.current_stream(like.device).cuda_stream)
    with cuda.gpus[like.device.index]:
        kernel[grid, block, stream](*[_argument(arg, real, cuda.as_cuda_array) for arg in args])


@dataclass(frozen=True)
class NumbaLanes:
    """See :class:`snn_delays.ops.cuda.support.Lanes`.

    ``module`` has ``kernels(dtype)``, the forward and the backward kernel, and is imported with the first call.
    """

    module: str

    refuses = staticmethod(refuses)

    def launch(self, kernel: str, like: Tensor, inputs: Sequence[Argument], outputs: Sequence[Argument]) -> None:
        """See :class:`snn_delays.ops.cuda.support.Lanes`; the kernel gets arrays whose last axis is the lane.

        Before a tensor that may be None comes an int: whether it is there.
        """
        if grid := grid_of(like.shape[1:].numel(), BLOCK):
            forward, backward = importlib.import_module(self.module).kernels(like.dtype)
            args = _flat([*inputs, *outputs])
            launch(forward if kernel == "forward" else backward, grid, (BLOCK,), like, args)


def _flat(args: Sequence[Argument]) -> list[Tensor | int | float]:
    flat: list[Tensor | int | float] = []
    for arg in args:
        if isinstance(arg, Unless):
            flat.append(arg.tensor is not None)
            arg = arg.stand_in if arg.tensor is None else arg.tensor
        arg = arg.tensor.contiguous() if isinstance(arg, PerNeuron) else arg
        flat.append(arg.flatten(-2) if isinstance(arg, Tensor) and arg.ndim > 1 else arg)
    return flat


def real_type(dtype: torch.dtype) -> Any:
    """Numba's scalar type for a dtype; calling it makes a constant that does not widen what it meets."""
    return numba.float64 if dtype == torch.float64 else numba.float32


def _argument(value: Tensor | int | float, real: type, array: Callable[[Tensor], Any]) -> Any:
    if isinstance(value, Tensor):
        return array(value.detach())
    return real(value) if isinstance(value, float) else np.int32(value)
