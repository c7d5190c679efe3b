"""The CUDA C kernels, built for the CPU with the compiler's sanitizers: none reads or writes outside its tensors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, cuda_host

pytestmark = pytest.mark.skipif(
    cuda_host.COMPILER is None, reason="no C++ compiler: the memory accesses of the CUDA C kernels are NOT tested here"
)

SANITIZED = """
import sys
from pathlib import Path
import torch
from tests.support import cuda_host
torch.set_num_threads(1)
from snn_delays.ops.cuda import cupy_launch, support
support.refuses = lambda *_: None
cupy_launch.launch = cuda_host.HostLauncher(Path({folder!r}), {edits!r}, ["-fsanitize=address"])
from tests.ops import test_cuda_host as host
for name in ("LIF_CASES", "INTEGRATOR_CASES", "DELAY_CASES", "WKV_CASES", "DEPTHWISE_CASES", "RECURRENT_CASES"):
    setattr(host, name, [case for case in getattr(host, name) if case.dtype == torch.float64][::6])
host.SIZES = host.SIZES[:-1]
for operation in {operations!r}:
    getattr(host, 'hold_' + operation)()
print("clean after", cupy_launch.launch.launched)
"""


def sanitized(tmp_path: Path, operations: list[str], edits: list[tuple[str, str]]) -> subprocess.CompletedProcess:
    command = [cuda_host.COMPILER, "-print-file-name=libasan.so"]
    library = subprocess.run(command, capture_output=True, text=True).stdout.strip()
    if not Path(library).is_file():
        pytest.skip("the compiler has no sanitizer: reads outside the tensors are NOT looked for here")
    code = SANITIZED.format(
        folder=str(tmp_path),
        edits=edits,
        operations=operations,
    )
    options = {"ASAN_OPTIONS": "detect_leaks=0", "LD_PRELOAD": library}
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        env={**os.environ, **options},
    )


def test_no_kernel_leaves_its_tensors(tmp_path: Path) -> None:
    done = sanitized(tmp_path, ["lif", "integrator", "wkv", "depthwise", "delay", "recurrent"], [])
    assert "clean after" in done.stdout, done.stderr[-2000:]


@pytest.mark.parametrize(
    ("operation", "old", "new"),
    [
        ("delay", "row >= 0 && row < rows ?", "row < rows ?"),
        ("wkv", "i < left ?", "i <= left ?"),
        ("recurrent", "to < 0 || to >= steps", "to < 0"),
    ],
    ids=["delay", "wkv", "recurrent"],
)
def test_canary_a_kernel_that_leaves_its_tensors_is_caught(operation: str, old: str, new: str, tmp_path: Path) -> None:
    done = sanitized(tmp_path, [operation], [(old, new)])
    assert done.returncode != 0
    assert "AddressSanitizer" in done.stderr
