"""CUDA C kernels compiled by CuPy (NVRTC), launched on torch's tensors, device and current stream, without copies.

Not run on a GPU by the tests of a machine that has none: see ``docs/gpu.md``.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.cuda import support
from snn_delays.ops.cuda.support import Argument, PerNeuron, Unless, grid_of

COMPILER = "NVRTC through CuPy"
BLOCK = 128  # threads
_OPS = Path(__file__).parent.parent
_REAL = {torch.float32: "float", torch.float64: "double"}


@dataclass(frozen=True)
class Source:
    """A ``.cu`` file beside its operation, ``operation/file.cu``, compiled at run time, once per dtype and device.

    ``contract`` allows the compiler to fuse ``a * b + c``; ``behind`` is a file put before it, whose functions it
    calls.
    """

    path: str
    contract: bool = True
    behind: str | None = None

    def text(self) -> str:
        """The source, as the compiler gets it."""
        paths = (self.path,) if self.behind is None else (self.behind, self.path)
        return "\n".join((_OPS / path).read_text(encoding="utf-8") for path in paths)

    def options(self, dtype: torch.dtype) -> tuple[str, ...]:
        """NVRTC's options for kernels that compute in ``dtype``."""
        return ("--std=c++17", f"-Dreal={_REAL[dtype]}", f"--fmad={str(self.contract).lower()}")


def refuses(tensors: dict[str, Tensor], trial: support.Trial) -> str | None:
    """As :func:`snn_delays.ops.cuda.support.refuses`."""
    return support.refuses("cupy", COMPILER, tensors, trial)


def launch(
    source: Source, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], like: Tensor,
    args: Sequence[Tensor | int | float | None],
) -> None:  # fmt: skip
    """Run a kernel that computes in the dtype and on the device of ``like``.

    Tensors are passed by address and must be contiguous unless the kernel takes their strides; None is a null pointer,
    an int is C's ``int``, a float is ``real``. Nothing waits and nothing is read back, so a CUDA graph can capture it.
    """
    import cupy

    index = like.device.index
    real = np.float64 if like.dtype == torch.float64 else np.float32
    function = _module(source, like.dtype, index).get_function(kernel)
    with cupy.cuda.Device(index), _stream(like.device):
        function(grid, block, tuple(_argument(arg, real) for arg in args))


@dataclass(frozen=True)
class CupyLanes:
    """See :class:`snn_delays.ops.cuda.support.Lanes`; kernels are named ``prefix_kernel``."""

    source: Source
    prefix: str

    refuses = staticmethod(refuses)

    def launch(self, kernel: str, like: Tensor, inputs: Sequence[Argument], outputs: Sequence[Argument]) -> None:
        """See :class:`snn_delays.ops.cuda.support.Lanes`; between come the numbers of steps, lanes and neurons."""
        steps, batch, neurons = like.shape
        if grid := grid_of(batch * neurons, BLOCK):
            args = [*_flat(inputs), steps, batch * neurons, neurons, *_flat(outputs)]
            launch(self.source, f"{self.prefix}_{kernel}", grid, (BLOCK,), like, args)


def _flat(args: Sequence[Argument]) -> list[Tensor | int | float | None]:
    flat: list[Tensor | int | float | None] = []
    for arg in args:
        if isinstance(arg, PerNeuron):
            flat += [arg.tensor, arg.tensor.stride(0)]
        else:
            flat.append(arg.tensor if isinstance(arg, Unless) else arg)
    return flat


@functools.cache
def _module(source: Source, dtype: torch.dtype, index: int) -> Any:
    del index  # a module belongs to a device
    import cupy

    return cupy.RawModule(code=source.text(), options=source.options(dtype))


class _Stream:
    """torch's stream, in the protocol by which CuPy 14 takes one."""

    def __init__(self, address: int) -> None:
        self.address = address

    def __cuda_stream__(self) -> tuple[int, int]:
        return 0, self.address


def _stream(device: torch.device) -> Any:
    import cupy

    address = torch.cuda.current_stream(device).cuda_stream
    if hasattr(cupy.cuda.Stream, "from_external"):
        return cupy.cuda.Stream.from_external(_Stream(address))
    return cupy.cuda.ExternalStream(address, device.index)


def _argument(value: Tensor | int | float | None, real: type) -> Any:
    if isinstance(value, Tensor):
        return np.uint64(value.data_ptr())
    if value is None:
        return np.uint64(0)
    return real(value) if isinstance(value, float) else np.int32(value)
