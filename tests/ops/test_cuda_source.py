"""Every kernel is compiled for real GPUs, on a machine without one: CUDA C by NVRTC, Numba CUDA to PTX."""

import importlib
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from numba import cuda, types

import snn_delays.ops
from snn_delays.ops.cuda.cupy_launch import Source
from snn_delays.ops.delay.gather_cupy import SOURCE as GATHER
from snn_delays.ops.depthwise.cupy import SOURCE as DEPTHWISE
from snn_delays.ops.lif.cupy import SOURCE as LIF
from snn_delays.ops.recurrent.cupy import SOURCE as RECURRENT
from snn_delays.ops.wkv.cupy import SOURCE as WKV
from tests.support import nvrtc

SOURCES = [LIF, GATHER, WKV, DEPTHWISE, RECURRENT]
KERNELS = {LIF: {"lif_forward", "lif_backward"}, GATHER: {
    f"{name}_{taps}" for name in ("forward", "backward", "values") for taps in (1, 2, 4)
}, WKV: {"wkv_forward", "wkv_backward"}, DEPTHWISE: {
    f"depthwise_{name}" for name in ("forward", "backward_line", "backward_kernel")
}, RECURRENT: {"recurrent_forward", "recurrent_backward"}}  # fmt: skip
GPUS = [f"sm_{number}" for number in nvrtc.architectures() if 75 <= number <= 120] or ["sm_75"]
QUICK = (GPUS[0], "sm_80", "sm_90", GPUS[-1])
with_nvrtc = pytest.mark.skipif(
    nvrtc.library() is None, reason="no nvidia-cuda-nvrtc: the CUDA C sources are NOT compiled here"
)


@with_nvrtc
@pytest.mark.parametrize("gpu", [pytest.param(gpu, marks=[pytest.mark.slow] * (gpu not in QUICK)) for gpu in GPUS])
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.path)
def test_cuda_c_compiles(source: Source, gpu: str) -> None:
    for dtype in (torch.float32, torch.float64) if gpu in (GPUS[0], GPUS[-1]) else (torch.float32,):
        fine, log, code = nvrtc.compile_source(source.text(), [*source.options(dtype), f"--gpu-architecture={gpu}"])
        assert fine, log
        assert "warning" not in log
        assert all(name.encode() in code for name in KERNELS[source])


@with_nvrtc
def test_canary_an_error_is_the_compilers() -> None:
    spoilt = LIF.text().replace("v_final[lane] = v;", "v_final[lane] = vv;")
    fine, log, _ = nvrtc.compile_source(spoilt, LIF.options(torch.float32))
    assert not fine
    assert re.search(r'kernels.cu\(\d+\): error: identifier "vv" is undefined', log)


def test_every_source_is_listed_here_and_lies_beside_its_operation() -> None:
    folder = Path(snn_delays.ops.__file__).parent
    assert {str(path.relative_to(folder)) for path in folder.rglob("*.cu")} == {source.path for source in SOURCES}


def _numba_kernels(dtype: torch.dtype) -> list[tuple[str, object, tuple]]:
    real = types.float64 if dtype == torch.float64 else types.float32
    number, one, two, three, five = (real, *(types.Array(real, n, "C") for n in (1, 2, 3, 5)))
    flag, shifts, values = types.int32, types.Array(types.int32, 3, "C"), types.Array(real, 4, "C")
    signatures = {
        "lif.numba_cuda": [
            (two, one, one, one, one, number, flag, flag, flag, two, flag, two, one),
            (two, one, two, flag, two, one, one, one, one, number, flag, flag, flag, flag, number, number, two, one,
             flag, one, one, flag, one),
        ],
        "delay.gather_numba_cuda": [(three, shifts, flag, values, three), (three, three, shifts, five)],
        "wkv.numba_cuda": [
            (two, two, one, one, one, one, one, flag, three, two, one, one, one),
            (two, one, one, two, two, one, one, three, two, two, one, one, one, one),
        ],
    }  # fmt: skip
    return [
        (f"{name} {which}", kernel, signature)
        for name, listed in signatures.items()
        for which, (kernel, signature) in enumerate(
            zip(importlib.import_module(f"snn_delays.ops.{name}_kernels").kernels(dtype), listed)
        )
    ]


def _numba_can_compile() -> bool:
    try:
        cuda.compile_ptx(lambda x: None, (types.int32,), cc=(9, 0))
    except Exception:
        return False
    return True


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_numba_kernels_compile(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    if not _numba_can_compile():
        pytest.skip("Numba finds no NVVM: its CUDA kernels are NOT compiled here")
    # Numba asks the current device when one kernel calls another function.
    monkeypatch.setattr(
        "numba.cuda.dispatcher.get_current_device", lambda: SimpleNamespace(compute_capability=(9, 0))
    )  # fmt: skip
    for name, kernel, signature in _numba_kernels(dtype):
        _check_ptx(kernel.py_func, signature, dtype, name)


def _check_ptx(function: Callable, signature: tuple, dtype: torch.dtype, name: str) -> None:
    ptx, _ = cuda.compile_ptx(function, signature, cc=(9, 0))
    assert ".entry" in ptx
    assert (".f64" in ptx) == (dtype == torch.float64), f"{name} computes in another type than {dtype}"
    assert "ld.local" not in ptx, f"{name} keeps its running sums in memory"


def _widened(x):
    x[0] = x[0] * 0.1


@pytest.mark.filterwarnings("ignore")
def test_canary_a_numba_kernel_of_the_wrong_type_is_seen() -> None:
    if not _numba_can_compile():
        pytest.skip("Numba finds no NVVM: its CUDA kernels are NOT compiled here")
    signature = (types.Array(types.float32, 1, "C"),)
    with pytest.raises(AssertionError, match="computes in another type"):
        _check_ptx(_widened, signature, torch.float32, "widened")
