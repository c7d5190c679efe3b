"""The CUDA C kernels built for the CPU by a C++ compiler and launched as CuPy would: logic is tested without a GPU.

What this cannot show: speed, races between warps, and whatever only a GPU does. Arguments are checked against the
kernel's parameters, which a launch on a GPU would take for granted.
"""

import ctypes
import functools
import hashlib
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from snn_delays.ops.cuda.cupy_launch import Source

COMPILER = shutil.which("g++") or shutil.which("clang++")
_HEADER = Path(__file__).with_name("cuda_host.h")
_KERNEL = re.compile(r'extern "C" __global__ void (\w+)\(([^)]*)\)')
_TENSORS = {"float": torch.float32, "double": torch.float64, "int": torch.int32}


class HostLauncher:
    """Stands in for :func:`snn_delays.ops.cuda.cupy_launch.launch`; ``edits`` replace text of the source.

    With ``options`` for a sanitizer the process must have been started with its library preloaded.
    """

    def __init__(self, folder: Path, edits: Sequence[tuple[str, str]] = (), options: Sequence[str] = ()) -> None:
        self.folder, self.edits, self.options, self.launched = folder, edits, options, 0
        self.library = functools.cache(self._build)

    def __call__(
        self, source: Source, kernel: str, grid: tuple[int, ...], block: tuple[int, ...], like: Tensor,
        args: Sequence[Tensor | int | float | None],
    ) -> None:  # fmt: skip
        library, parameters = self.library(source, like.dtype)
        assert len(grid) == 1, "the host runs one-dimensional grids"
        types = parameters[kernel]
        assert len(args) == len(types), f"{kernel} takes {len(types)} arguments and was given {len(args)}"
        converted = [_converted(kernel, i, arg, type_) for i, (arg, type_) in enumerate(zip(args, types))]
        sizes = [ctypes.c_uint(size) for size in (grid[0], *block, 1)[:3]]
        getattr(library, f"run_{kernel}")(*sizes, *converted)
        self.launched += 1

    def _build(self, source: Source, dtype: torch.dtype) -> tuple[ctypes.CDLL, dict[str, list[str]]]:
        text = source.text()
        for old, new in self.edits:
            text = text.replace(old, new)
        real = next(o for o in source.options(dtype) if o.startswith("-Dreal"))
        plain = subprocess.run(
            [COMPILER, "-E", "-P", "-x", "c++", real, "-"], input=text, capture_output=True, text=True, check=True
        ).stdout
        parameters, wrappers = {}, []
        for name, listed in _KERNEL.findall(plain):
            split = [parameter.split() for parameter in listed.split(",")]
            parameters[name] = [" ".join(words[:-1]) for words in split]
            names = ", ".join(words[-1] for words in split)
            wrappers.append(
                f'extern "C" void run_{name}(unsigned grid_, unsigned block_x_, unsigned block_y_, {listed}) '
                f"{{ host::run(grid_, block_x_, block_y_, [&] {{ {name}({names}); }}); }}"
            )
        body = "\n".join([f'#include "{_HEADER}"', plain, *wrappers])
        stem = self.folder / f"{Path(source.path).stem}_{hashlib.sha256(body.encode()).hexdigest()[:16]}"
        stem.with_suffix(".cpp").write_text(body)
        done = subprocess.run(
            [COMPILER, "-O1", "-std=c++17", "-shared", "-fPIC", "-ffp-contract=off", "-w", *self.options, "-o",
             str(stem.with_suffix(".so")), str(stem.with_suffix(".cpp"))],
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[:2000]
        return ctypes.CDLL(str(stem.with_suffix(".so"))), parameters


def _converted(kernel: str, place: int, value: Tensor | int | float | None, type_: str) -> object:
    """The argument as the C parameter ``type_`` takes it; AssertionError where it does not fit."""
    what = f"argument {place} of {kernel} is a {type_}"
    if "*" in type_:
        if value is None:
            return ctypes.c_void_p(None)
        assert isinstance(value, Tensor), f"{what}, not {value!r}"
        expected = next(dtype for word, dtype in _TENSORS.items() if word in type_)
        assert value.dtype == expected, f"{what}, not {value.dtype}"
        assert value.ndim == 1 or value.is_contiguous(), f"{what} and not contiguous"
        return ctypes.c_void_p(value.data_ptr())
    if type_ == "int":
        assert isinstance(value, int), f"{what}, not {value!r}"
        return ctypes.c_int(value)
    assert isinstance(value, float), f"{what}, not {value!r}"
    return (ctypes.c_float if type_ == "float" else ctypes.c_double)(value)
