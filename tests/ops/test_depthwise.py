"""Depthwise filters: backends against the reference, the contract against wrong versions, a plain loop, laws."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.errors import BackendUnavailableError, ShapeError
from snn_delays.ops.depthwise import OPERATION, depthwise, numba_cpu
from tests.support.contracts import assert_same, case_name, fast_backends, implementation
from tests.support.depthwise_contract import (
    DEPTHWISE_MUTATIONS,
    DepthwiseCase,
    depthwise_cases,
    depthwise_contract,
    mutant_depthwise,
)

CASES = list(depthwise_cases())
BACKENDS = fast_backends(OPERATION)
ALL = ["reference", *BACKENDS]


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_backend_equals_reference(backend: str, case: DepthwiseCase) -> None:
    depthwise_contract(implementation(depthwise, OPERATION.example(), backend), case)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("lags", [2, 9])
def test_numba_equals_reference_on_all_threads(lags: int) -> None:
    for batch, neurons, dtype in ((5, 150, torch.float64), (1, 600, torch.float32)):
        case = DepthwiseCase(batch=batch, neurons=neurons, lags=lags, steps=140, dtype=dtype)
        depthwise_contract(implementation(depthwise, OPERATION.example(), "numba_cpu"), case)


def hold_to_all(run) -> None:
    for case in CASES:
        depthwise_contract(run, case)


def test_contract_accepts_a_right_version() -> None:
    hold_to_all(mutant_depthwise())


@pytest.mark.parametrize("mutation", DEPTHWISE_MUTATIONS)
def test_contract_rejects(mutation: str) -> None:
    with pytest.raises(AssertionError):
        hold_to_all(mutant_depthwise(mutation))


@pytest.mark.parametrize("backend", ALL)
def test_the_sum_written_out(backend: str) -> None:
    """The equation itself, number by number: reference and canaries could share a misunderstanding."""
    given = DepthwiseCase(steps=4, neurons=2, mixes=2, lags=3).inputs()
    y, after = depthwise(**given, backend=backend)
    line = torch.cat([given["history"], given["x"]])
    for m, t, b, c in torch.cartesian_prod(*map(torch.arange, y.shape)).tolist():
        want = sum(float(given["kernel"][k, m, c] * line[2 + t - k, b, c]) for k in range(3))
        assert float(y[m, t, b, c]) == pytest.approx(want, abs=1e-12)
    assert torch.equal(after, given["x"][2:])


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("lags", [1, 2, 5])
def test_gradcheck(backend: str, lags: int) -> None:
    case = DepthwiseCase(steps=7, neurons=3, mixes=2, lags=lags)
    tensors = [value.requires_grad_() for value in case.inputs().values()]
    assert torch.autograd.gradcheck(lambda *call: depthwise(*call, backend=backend), tensors)


@pytest.mark.parametrize("backend", ALL)
@given(seed=st.integers(0, 10**6), lags=st.sampled_from([1, 2, 3, 8]), cut=st.integers(0, 70))
def test_chunk_law(backend: str, seed: int, lags: int, cut: int) -> None:
    case = DepthwiseCase(steps=70, neurons=5, lags=lags, seed=seed)
    x, kernel, history = (value.requires_grad_() for value in case.inputs().values())
    whole, after = depthwise(x, kernel, history, backend=backend)
    first, state = depthwise(x[:cut], kernel, history, backend=backend)
    second, state = depthwise(x[cut:], kernel, state, backend=backend)
    assert_same(torch.cat([first, second], 1), whole, "output")
    assert torch.equal(state, after)
    toward = torch.randn(whole.shape, generator=torch.Generator().manual_seed(seed), dtype=whole.dtype)
    want = torch.autograd.grad(whole, (x, kernel, history), toward, allow_unused=True)
    got = torch.autograd.grad(
        (first, second), (x, kernel, history), (toward[:, :cut], toward[:, cut:]), allow_unused=True
    )
    for name, a, b in zip(("x", "kernel", "history"), got, want):
        if name != "history" or lags > 1:
            assert_same(a, b, f"gradient of {name}")


@pytest.mark.parametrize("backend", ALL)
@given(lags=st.sampled_from([1, 2, 5, 33]), step=st.integers(0, 68))
def test_nothing_comes_from_the_future(backend: str, lags: int, step: int) -> None:
    given = DepthwiseCase(steps=70, neurons=5, lags=lags).inputs()
    before, _ = depthwise(**given, backend=backend)
    given["x"][step + 1 :] = 1e3
    after, _ = depthwise(**given, backend=backend)
    assert torch.equal(after[:, : step + 1], before[:, : step + 1])
    assert (after[:, step + 1] != before[:, step + 1]).any()


@pytest.mark.parametrize("backend", ["reference", "numba_cpu"])
@pytest.mark.parametrize("lags", [1, 2, 6])
def test_a_broken_input_breaks_what_sees_it_and_no_more(backend: str, lags: int) -> None:
    given = DepthwiseCase(steps=150, neurons=130, lags=lags).inputs()
    given["x"][70, 1, 65] = float("nan")
    y, _ = depthwise(**given, backend=backend)
    seen = torch.zeros_like(y, dtype=torch.bool)
    seen[:, 70 : 70 + lags, 1, 65] = True
    assert torch.equal(y.isnan(), seen)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("lags", [2, 8])
def test_integer_delay_is_the_input_shifted_exactly(backend: str, lags: int) -> None:
    x = torch.randn(20, 2, 3)
    for lag in range(lags):
        kernel = torch.zeros(lags, 1, 3)
        kernel[lag] = 1
        y, after = depthwise(x, kernel, backend=backend)
        assert torch.equal(y[0], torch.cat([x.new_zeros(lag, 2, 3), x])[:20])
        assert torch.equal(after, torch.cat([x.new_zeros(lags - 1, 2, 3), x])[20:])


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_filtered_in_float32(backend: str, dtype: torch.dtype) -> None:
    given = DepthwiseCase(lags=4, dtype=torch.float32).inputs()
    x, kernel = given["x"].to(dtype), given["kernel"]
    want, _ = depthwise(x.float(), kernel, given["history"], backend=backend)
    leaves = [x.requires_grad_(), kernel.requires_grad_()]
    y, after = depthwise(*leaves, given["history"], backend=backend)
    assert torch.equal(y, want.to(dtype))
    assert torch.equal(after, x[-3:].float())
    grads = torch.autograd.grad(y.float().square().sum(), leaves)
    assert [grad.dtype for grad in grads] == [dtype, torch.float32]
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(depthwise(x.float(), kernel, given["history"], backend=backend)[0], want)


@pytest.mark.parametrize("lags", [2, 9])
def test_threads_change_no_digit(lags: int, all_threads: None) -> None:
    given = DepthwiseCase(lags=lags, steps=100, batch=3, neurons=200, dtype=torch.float32).inputs()
    found = []
    for threads in (torch.get_num_threads(), torch.get_num_threads(), 1):
        torch.set_num_threads(threads)
        tensors = [value.clone().requires_grad_() for value in given.values()]
        y, _ = depthwise(*tensors, backend="numba_cpu")
        found.append([y, *torch.autograd.grad(y.square().sum(), tensors)])
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other))


@pytest.mark.parametrize("steps", [0, 1, 70])
@pytest.mark.parametrize("lags", [1, 2, 6])
def test_every_number_is_written(monkeypatch: pytest.MonkeyPatch, steps: int, lags: int) -> None:
    def poisoned(shape, dtype) -> Tensor:
        return torch.full(tuple(shape), float("nan"), dtype=dtype)

    monkeypatch.setattr(numba_cpu, "empty", poisoned)
    for neurons in (1, 65):
        case = DepthwiseCase(steps=steps, lags=lags, neurons=neurons)
        depthwise_contract(implementation(depthwise, OPERATION.example(), "numba_cpu"), case)


def test_only_gradients_asked_for_are_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = DepthwiseCase(lags=6).inputs()

    def never(*_: object) -> None:
        raise AssertionError("computed for nobody")

    for names, idle in ((("x", "history"), "_correlate"), (("kernel",), "_filter_backward")):
        tensors = {name: value.clone().requires_grad_(name in names) for name, value in given.items()}
        y, _ = depthwise(**tensors, backend="numba_cpu")
        with monkeypatch.context() as patched:
            patched.setattr(numba_cpu, idle, never)
            y.sum().backward()
        assert all((tensors[name].grad is not None) == (name in names) for name in tensors)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("shape", [(4, 0, 3, 2), (4, 2, 0, 2), (4, 2, 3, 0), (0, 0, 0, 0)])
def test_nothing_to_do(backend: str, shape: tuple[int, ...]) -> None:
    steps, batch, neurons, mixes = shape
    for lags in (1, 2, 5):
        x = torch.zeros(steps, batch, neurons, requires_grad=True)
        kernel = torch.ones(lags, mixes, neurons, requires_grad=True)
        y, after = depthwise(x, kernel, backend=backend)
        assert y.shape == (mixes, steps, batch, neurons)
        assert after.shape == (lags - 1, batch, neurons)
        grads = torch.autograd.grad(y.sum(), (x, kernel), allow_unused=True)
        assert all(grad is None or not grad.any() for grad in grads)


@pytest.mark.parametrize("backend", ALL)
def test_inference_mode(backend: str) -> None:
    given = DepthwiseCase().inputs()
    want, _ = depthwise(**given, backend=backend)
    with torch.inference_mode():
        y, state = depthwise(**given, backend=backend)
    assert torch.equal(y, want)
    assert torch.equal(depthwise(given["x"], given["kernel"], state, backend=backend)[0][:, 5:], want[:, 5:])


def test_what_serves() -> None:
    assert OPERATION.choose(OPERATION.example()).name == "numba_cpu"
    meta = {name: value.to("meta") for name, value in OPERATION.example().items()}
    assert OPERATION.choose(meta).name == "conv"
    with pytest.raises(BackendUnavailableError, match="'numba_cpu' cannot run depthwise: it runs on the CPU"):
        OPERATION.choose(meta, "numba_cpu")
    mixed = {**OPERATION.example(), "kernel": torch.zeros(2, 1, 1, dtype=torch.float64)}
    assert "the input is torch.float32, the kernel torch.float64" in numba_cpu.refuses(**mixed)


X, KERNEL = torch.zeros(5, 2, 3), torch.zeros(4, 2, 3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ((X[0], KERNEL), r"got \(2, 3\) and \(4, 2, 3\)"),
        ((X, KERNEL[0]), r"kernel \[lag, mix, neuron\] .* got \(5, 2, 3\) and \(2, 3\)"),
        ((X, KERNEL[..., :2]), r"of as many neurons"),
        ((X, KERNEL[:0]), r"at least one lag, got \(5, 2, 3\) and \(0, 2, 3\)"),
        ((X, KERNEL, X[:4]), r"state has shape \(4, 2, 3\), the input needs \(3, 2, 3\)"),
        ((X, KERNEL, X[:3, :1]), r"state has shape \(3, 1, 3\), the input needs \(3, 2, 3\)"),
    ],
)
@pytest.mark.usefixtures("own_shape_errors")
def test_wrong_shapes(call: tuple[Tensor, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        depthwise(*call)
