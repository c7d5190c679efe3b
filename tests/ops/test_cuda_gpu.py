"""On a GPU: the contracts for real, torch's streams, and capture in a CUDA graph. Skipped where there is none."""

import importlib
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch

from snn_delays.ops import delayed_linear, leaky_integrator, lif, recurrent_lif
from snn_delays.ops.delay.gather_cuda import MAX_TAPS
from snn_delays.ops.delay.taps import tap_count
from snn_delays.ops.depthwise import depthwise
from snn_delays.ops.wkv import wkv
from tests.support.contracts import (
    DelayCase,
    IntegratorCase,
    LIFCase,
    case_name,
    delay_cases,
    delay_contract,
    implementation,
    integrator_cases,
    integrator_contract,
    lif_contract,
    lif_edge_cases,
    lif_option_cases,
)
from tests.support.depthwise_contract import DepthwiseCase, depthwise_cases, depthwise_contract
from tests.support.recurrent_contract import RecurrentCase, recurrent_cases, recurrent_contract
from tests.support.wkv_contract import WKVCase, wkv_cases, wkv_contract, wkv_implementation

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU: the kernels are NOT run here")
BACKENDS = ["cupy", "numba_cuda"]


def on_gpu(public: Callable, operation: str, backend: str) -> Callable:
    return implementation(public, importlib.import_module(f"snn_delays.ops.{operation}").OPERATION.example(), backend)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [*lif_option_cases(), *lif_edge_cases()], ids=case_name)
def test_lif(backend: str, case: LIFCase) -> None:
    lif_contract(on_gpu(lif, "lif", backend), case)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", list(integrator_cases()), ids=case_name)
def test_integrator(backend: str, case: IntegratorCase) -> None:
    integrator_contract(on_gpu(leaky_integrator, "leaky_integrator", backend), case)


@pytest.mark.parametrize("case", list(recurrent_cases()), ids=case_name)
def test_recurrent(case: RecurrentCase) -> None:
    recurrent_contract(on_gpu(recurrent_lif, "recurrent", "cupy"), case)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", list(delay_cases()), ids=case_name)
def test_delay(backend: str, case: DelayCase) -> None:
    inputs = case.inputs()
    if tap_count(inputs["delay"], inputs["sigma"], case.max_delay_steps, case.taps) > MAX_TAPS:
        pytest.skip("more taps than the gather serves")
    delay_contract(on_gpu(delayed_linear, "delay", f"gather_{backend}"), case)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", [*wkv_cases(), WKVCase(steps=1024, batch=12, neurons=512, dtype=torch.float32)],
                         ids=case_name)  # fmt: skip
def test_wkv(backend: str, case: WKVCase) -> None:
    wkv_contract(wkv_implementation(backend), case)


@pytest.mark.parametrize("case", list(depthwise_cases()), ids=case_name)
def test_depthwise(case: DepthwiseCase) -> None:
    depthwise_contract(on_gpu(depthwise, "depthwise", "cupy"), case)


@pytest.mark.parametrize("backend", BACKENDS)
def test_delay_at_full_size(backend: str) -> None:
    case = DelayCase(steps=100, batch=70, inputs_=140, outputs=250, max_delay_steps=24, taps="linear")
    run = on_gpu(delayed_linear, "delay", f"gather_{backend}")
    for dtype in (torch.float32, torch.float64):
        delay_contract(run, replace(case, dtype=dtype))


def gradients(run: Callable, tensors: list[torch.Tensor]) -> list[torch.Tensor]:
    return list(torch.autograd.grad(sum(y.sum() for y in run(*tensors)), tensors))


def call(operation: str, backend: str) -> tuple[Callable, list[torch.Tensor]]:
    """An operation with every gradient requested, and its tensors on the GPU."""
    x = (torch.randn(30, 4, 70) + 0.3).cuda().requires_grad_()
    if operation == "lif":
        return lambda x, d: lif(x, decay=d, threshold=0.9, decay_input=True, backend=backend), [
            x, torch.rand(70).cuda().requires_grad_()
        ]  # fmt: skip
    if operation == "leaky_integrator":
        return lambda x, d: leaky_integrator(x, decay=d, backend=backend), [x, torch.rand(70).cuda().requires_grad_()]
    if operation == "wkv":
        value, rates = torch.randn(30, 4, 70).cuda().requires_grad_(), torch.rand(2, 70).cuda().requires_grad_()

        def averaged(x: torch.Tensor, value: torch.Tensor, rates: torch.Tensor) -> tuple[torch.Tensor, ...]:
            y, after = wkv(x, value, -rates[0], rates[1], backend=backend)
            return y, after.numerator, after.denominator

        return averaged, [x, value, rates]
    synapses = [torch.randn(9, 70, 1).cuda().requires_grad_(), (torch.rand(9, 70, 1) * 6).cuda().requires_grad_()]

    def delayed(x: torch.Tensor, weight: torch.Tensor, delay: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return delayed_linear(x, weight, delay, max_delay_steps=6, taps="linear", backend=f"gather_{backend}")

    return delayed, [x, *synapses]


OPERATIONS = ["lif", "leaky_integrator", "delay", "wkv"]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_runs_on_torchs_current_stream(operation: str, backend: str) -> None:
    run, tensors = call(operation, backend)
    want = gradients(run, tensors)
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        late = [tensor.detach().clone() for tensor in tensors]
        torch.cuda._sleep(10**8)  # what a kernel on another stream would not wait for
        for tensor, by in zip(late, tensors):
            tensor.mul_(0).add_(by.detach())
        got = gradients(run, [tensor.requires_grad_() for tensor in late])
    stream.synchronize()
    for g, w in zip(got, want):
        torch.testing.assert_close(g, w)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("operation", OPERATIONS)
def test_forward_and_backward_are_captured_in_a_cuda_graph(operation: str, backend: str) -> None:
    run, tensors = call(operation, backend)
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        gradients(run, tensors)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = gradients(run, tensors)
    with torch.no_grad():
        tensors[0].copy_(torch.randn_like(tensors[0]) + 0.3)
    graph.replay()
    for got, want in zip(captured, gradients(run, tensors)):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("backend", BACKENDS)
def test_two_runs_agree_to_the_last_bit(backend: str) -> None:
    run, tensors = call("delay", backend)
    for first, second in zip(gradients(run, tensors), gradients(run, tensors)):
        assert torch.equal(first, second)


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("backend", BACKENDS)
def test_half_precision_keeps_membranes_in_float32(backend: str, half: torch.dtype) -> None:
    x = ((torch.randn(30, 4, 70) + 0.3) * 64).round().div(64).cuda()
    with torch.autocast("cuda", half):
        spikes, v = lif(x.to(half), decay=0.75, threshold=0.9, backend=backend)
    assert spikes.dtype == half
    assert torch.equal(v, lif(x.to(half).float(), decay=0.75, threshold=0.9, backend=backend)[1])
