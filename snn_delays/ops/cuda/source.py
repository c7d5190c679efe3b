"""CUDA C sources. Each lies beside the operation it serves and is compiled at run time, once per dtype and device."""

from dataclasses import dataclass
from pathlib import Path

import torch

_OPS = Path(__file__).parent.parent
_REAL = {torch.float32: "float", torch.float64: "double"}


@dataclass(frozen=True)
class Source:
    """A ``.cu`` file, named as ``operation/file.cu``; ``contract`` allows the compiler to fuse ``a * b + c``."""

    path: str
    contract: bool = True

    def text(self) -> str:
        """The source, as the compiler gets it."""
        return (_OPS / self.path).read_text(encoding="utf-8")

    def options(self, dtype: torch.dtype) -> tuple[str, ...]:
        """NVRTC's options for kernels that compute in ``dtype``."""
        return ("--std=c++17", f"-Dreal={_REAL[dtype]}", f"--fmad={str(self.contract).lower()}")
