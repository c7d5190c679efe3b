"""What the GPU backends say where they cannot serve, and that the next backend then does."""

import importlib
import logging
from collections.abc import Iterator

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from snn_delays.errors import BackendUnavailableError
from snn_delays.ops import delayed_linear, leaky_integrator, lif
from snn_delays.ops.cuda import support
from snn_delays.ops.delay import gather_cuda
from snn_delays.ops.delay.gather_cuda import MAX_TAPS
from snn_delays.ops.depthwise import cupy as depthwise_cupy
from snn_delays.ops.wkv import WKVState, wkv

NO_GPU = torch.ones(3, 2, 4)


@pytest.fixture
def on_cuda() -> Iterator[dict[str, torch.Tensor]]:
    """Tensors that claim to be on a GPU and hold no numbers."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        yield {
            "float32": torch.empty(3, 2, 4, device="cuda:0"),
            "float64": torch.empty(3, 2, 4, device="cuda:0", dtype=torch.float64),
            "int64": torch.empty(3, 2, 4, device="cuda:0", dtype=torch.int64),
            "elsewhere": torch.empty(3, 2, 4),
        }


@pytest.fixture(autouse=True)
def nothing_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(support, "outcomes", {})
    monkeypatch.setattr(support, "capturing", lambda device: False)


@pytest.mark.parametrize("backend", ["cupy", "numba_cuda"])
def test_the_cpu_is_refused(backend: str) -> None:
    for public, name in ((lif, "lif"), (leaky_integrator, "leaky_integrator")):
        with pytest.raises(
            BackendUnavailableError,
            match=f"backend '{backend}' cannot run {name}: it runs on a CUDA GPU and the current is on cpu",
        ):
            public(NO_GPU, decay=0.5, backend=backend)
    tensors = torch.ones(5, 4, 1), torch.ones(5, 4, 1)
    with pytest.raises(BackendUnavailableError, match="it runs on a CUDA GPU and the input is on cpu"):
        delayed_linear(NO_GPU, *tensors, max_delay_steps=2, taps="linear", backend=f"gather_{backend}")
    with pytest.raises(BackendUnavailableError, match="it runs on a CUDA GPU and the key is on cpu"):
        wkv(NO_GPU, NO_GPU, torch.ones(4), torch.ones(4), backend=backend)


@pytest.mark.parametrize("backend", ["cupy", "numba_cuda"])
@pytest.mark.parametrize("which", ["value", "log_decay", "bonus", "numerator", "denominator", "exponent"])
def test_wkv_names_the_tensor_that_is_elsewhere(which: str, backend: str, on_cuda: dict[str, torch.Tensor]) -> None:
    given = dict.fromkeys(("key", "value", "log_decay", "bonus"), on_cuda["float32"])
    state = dict.fromkeys(WKVState._fields, on_cuda["float32"])
    (given if which in given else state)[which] = on_cuda["elsewhere"]
    refusal = importlib.import_module(f"snn_delays.ops.wkv.{backend}").refuses(**given, state=WKVState(**state))
    assert refusal == f"the key is torch.float32 on cuda:0, the {which} torch.float32 on cpu"


def test_the_depthwise_filter_names_the_tensor_that_is_elsewhere(on_cuda: dict[str, torch.Tensor]) -> None:
    x, elsewhere = on_cuda["float32"], on_cuda["elsewhere"]
    assert depthwise_cupy.refuses(x, x, elsewhere).endswith("cuda:0, the history torch.float32 on cpu")
    assert depthwise_cupy.refuses(elsewhere, x, x) == "it runs on a CUDA GPU and the input is on cpu"


def passes(dtype: torch.dtype, device: torch.device) -> None:
    pass


def fails(dtype: torch.dtype, device: torch.device) -> None:
    raise RuntimeError('kernels.cu\nkernels.cu(7): error: identifier "vv" is undefined\n1 error detected')


def refuses(tensors: dict[str, torch.Tensor], trial=passes, package: str = "torch") -> str | None:
    return support.refuses(package, "NVRTC", tensors, trial)


def test_sentences(on_cuda: dict[str, torch.Tensor]) -> None:
    x, double = on_cuda["float32"], on_cuda["float64"]
    assert refuses({"current": x, "state": x}) is None
    assert refuses({"current": on_cuda["int64"]}) == "it computes in float32 or float64 and the current is torch.int64"
    assert refuses({"current": x, "state": double}) == (
        "the current is torch.float32 on cuda:0, the state torch.float64 on cuda:0"
    )
    assert refuses({"current": x, "state": on_cuda["elsewhere"]}) == (
        "the current is torch.float32 on cuda:0, the state torch.float32 on cpu"
    )
    many = torch.empty(1, 2**16, 2**16, device="cuda:0")
    assert refuses({"current": many}) == "it serves up to 2147482624 lanes and the current has 4294967296"
    assert refuses({"current": x}, package="no_such_package") == (
        "the package no_such_package is not installed (pip install 'snn-delays[gpu]')"
    )


def test_a_kernel_that_cannot_compile_is_named_with_its_compiler_and_logged_once(
    on_cuda: dict[str, torch.Tensor], caplog: pytest.LogCaptureFixture
) -> None:
    sentence = 'NVRTC failed on cuda:0: kernels.cu(7): error: identifier "vv" is undefined'
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert refuses({"current": on_cuda["float32"]}, fails) == sentence
    assert [record.getMessage() for record in caplog.records] == [f"{__name__}: {sentence}; the next backend is used"]
    assert refuses({"current": on_cuda["float32"]}) is None, "one kernel's failure is not another's"


def test_nothing_is_compiled_inside_a_capture(
    on_cuda: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(support, "capturing", lambda device: True)
    tensors = {"current": on_cuda["float32"]}
    assert "call it once before a CUDA graph is captured" in refuses(tensors, fails)
    monkeypatch.setattr(support, "capturing", lambda device: False)
    assert refuses(tensors) is None
    monkeypatch.setattr(support, "capturing", lambda device: True)
    assert refuses(tensors) is None, "it was compiled by then"


def test_the_gather_counts_taps_only_outside_a_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    weight, sigma = torch.ones(2, 4, 1), torch.tensor(40.0)
    delay = torch.full((2, 4, 1), 50.0)

    def refusal(delay: torch.Tensor, sigma: torch.Tensor | None, taps: str) -> str | None:
        return gather_cuda.refuses(NO_GPU, None, weight, delay, sigma, 99, taps, lambda tensors: None)

    assert refusal(delay, sigma, "gaussian") == f"it serves up to {MAX_TAPS} taps and these delays have 100"
    assert refusal(delay, torch.tensor(0.5), "gaussian") is None
    assert refusal(delay, None, "linear") is None
    monkeypatch.setattr(gather_cuda, "without_reading", lambda device: True)
    why = "the number of taps is read back from the device, which cannot be captured in a CUDA graph"
    assert refusal(delay, torch.tensor(0.5), "gaussian") == refusal(delay, None, "linear") == why
    assert refusal(delay.requires_grad_(), None, "linear") is None


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_the_gather_takes_an_input_in_half_precision(half: torch.dtype) -> None:
    seen = []

    def kernels_refuse(tensors: dict[str, torch.Tensor]) -> None:
        seen.append({name: tensor.dtype for name, tensor in tensors.items()})

    synapses = torch.ones(2, 4, 1), torch.ones(2, 4, 1)
    assert gather_cuda.refuses(NO_GPU.to(half), None, *synapses, None, 2, "linear", kernels_refuse) is None
    assert seen == [{"weight": torch.float32, "delay": torch.float32}]
    reason = gather_cuda.refuses(NO_GPU.to(half).to("meta"), None, *synapses, None, 2, "linear", kernels_refuse)
    assert reason == "the input is on meta, the weight on cpu"
