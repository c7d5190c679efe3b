"""How kernels are handed to CuPy and to Numba: torch's stream and device, addresses, and numbers of the right width."""

import contextlib
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snn_delays.ops.cuda import cupy_launch, numba_launch
from snn_delays.ops.cuda.cupy_launch import Source
from snn_delays.ops.lif.cupy import SOURCE

STREAM = 4711


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list:
    """A CuPy that writes down what it is called with, and a current stream of torch."""
    log: list = []

    @contextlib.contextmanager
    def inside(what: str, value: object):
        log.append((f"enter {what}", value))
        yield
        log.append((f"leave {what}", value))

    class RawModule:
        def __init__(self, code: str, options: tuple[str, ...]) -> None:
            log.append(("compile", options))
            assert code == SOURCE.text()

        def get_function(self, name: str):
            return lambda grid, block, args: log.append((name, grid, block, args))

    stream = SimpleNamespace(from_external=lambda stream: inside("stream", stream.__cuda_stream__()))
    fake = SimpleNamespace(
        RawModule=RawModule, cuda=SimpleNamespace(Stream=stream, Device=lambda index: inside("device", index))
    )
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=STREAM))
    cupy_launch._module.cache_clear()
    yield log
    cupy_launch._module.cache_clear()


@pytest.mark.parametrize(("dtype", "real"), [(torch.float32, np.float32), (torch.float64, np.float64)], ids=str)
def test_cupy_gets_addresses_and_c_types_on_torchs_stream(log: list, dtype: torch.dtype, real: type) -> None:
    x = torch.ones(3, dtype=dtype)
    like = SimpleNamespace(dtype=dtype, device=SimpleNamespace(index=1))
    for _ in range(2):
        cupy_launch.launch(SOURCE, "lif_forward", (2,), (128,), like, (x, 5, 0.5, True, None))
    launched = [entry for entry in log if entry[0] == "lif_forward"]
    assert [entry[0] for entry in log].count("compile") == 1, "compiled once"
    assert log[0] == ("compile", SOURCE.options(dtype))
    assert [entry[0] for entry in log[1:6]] == [
        "enter device", "enter stream", "lif_forward", "leave stream", "leave device"
    ]  # fmt: skip
    assert log[1][1] == 1
    assert log[2][1] == (0, STREAM)
    _, grid, block, args = launched[0]
    assert (grid, block) == ((2,), (128,))
    assert [type(arg) for arg in args] == [np.uint64, np.int32, real, np.int32, np.uint64]
    assert list(args) == [x.data_ptr(), 5, 0.5, 1, 0]


def test_an_older_cupy_takes_the_stream_by_its_address(log: list, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def external(address: int, device: int) -> contextlib.AbstractContextManager:
        given.append((address, device))
        return contextlib.nullcontext()

    monkeypatch.setattr(sys.modules["cupy"].cuda, "Stream", SimpleNamespace())
    monkeypatch.setattr(sys.modules["cupy"].cuda, "ExternalStream", external, raising=False)
    like = SimpleNamespace(dtype=torch.float32, device=SimpleNamespace(index=1))
    cupy_launch.launch(SOURCE, "lif_forward", (2,), (128,), like, ())
    assert given == [(STREAM, 1)]
    assert log


def test_options_say_the_type_and_whether_products_may_be_fused() -> None:
    assert SOURCE.options(torch.float32) == ("--std=c++17", "-Dreal=float", "--fmad=false")
    assert Source("delay/gather.cu").options(torch.float64) == ("--std=c++17", "-Dreal=double", "--fmad=true")


@pytest.mark.parametrize(("dtype", "real"), [(torch.float32, np.float32), (torch.float64, np.float64)], ids=str)
def test_numba_gets_arrays_on_torchs_stream(dtype: torch.dtype, real: type, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict = {}

    class Kernel:
        def __getitem__(self, launch: tuple):
            seen["launch"] = launch
            return lambda *args: seen.update(args=args)

    cuda = SimpleNamespace(
        external_stream=lambda address: ("stream", address), gpus={1: contextlib.nullcontext()},
        as_cuda_array=lambda tensor: ("array", tensor.data_ptr()),
    )  # fmt: skip
    monkeypatch.setattr(numba_launch, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: SimpleNamespace(cuda_stream=STREAM))
    x = torch.ones(3, dtype=dtype, requires_grad=True)
    like = SimpleNamespace(dtype=dtype, device=SimpleNamespace(index=1))
    numba_launch.launch(Kernel(), (2,), (128,), like, (x, 5, 0.5, True))
    assert seen["launch"] == ((2,), (128,), ("stream", STREAM))
    assert seen["args"] == (("array", x.data_ptr()), 5, 0.5, 1)
    assert [type(arg) for arg in seen["args"][1:]] == [np.int32, real, np.int32]
