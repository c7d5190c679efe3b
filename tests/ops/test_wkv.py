"""WKV: backends against the reference, the contract against wrong versions, the definition, finite differences."""

import math

import numpy as np
import pytest
import torch
from numba import njit
from torch import Tensor

from snn_delays.errors import BackendUnavailableError, ShapeError
from snn_delays.ops.wkv import OPERATION, REST_EXPONENT, WKVState, wkv
from snn_delays.ops.wkv.numba_cpu import exp
from tests.support.contracts import assert_same, case_name, fast_backends
from tests.support.wkv_contract import (
    MUTATIONS,
    TENSORS,
    WKV,
    WKVCase,
    mutant_wkv,
    wkv_cases,
    wkv_contract,
    wkv_implementation,
)

CASES = list(wkv_cases())
BACKENDS = fast_backends(OPERATION)
ALL = ["reference", *BACKENDS]


def drawn(case: WKVCase) -> tuple[dict[str, Tensor], WKVState]:
    """The tensors of a case: those of every step, and the state before."""
    inputs = case.inputs()
    return {n: inputs[n] for n in ("key", "value", "log_decay", "bonus")}, WKVState(
        *(inputs[n] for n in WKVState._fields)
    )


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_backend_equals_reference(backend: str, case: WKVCase) -> None:
    wkv_contract(wkv_implementation(backend), case)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_equals_reference_on_all_threads(backend: str) -> None:
    for seed in range(3):
        wkv_contract(wkv_implementation(backend), WKVCase(batch=3, neurons=1000, steps=9, seed=seed))


def hold_to_all(run: WKV) -> None:
    for case in CASES:
        wkv_contract(run, case)


def test_contract_accepts_a_right_version() -> None:
    hold_to_all(mutant_wkv())


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_contract_rejects(mutation: str) -> None:
    with pytest.raises(AssertionError):
        hold_to_all(mutant_wkv(mutation))


def test_contract_accepts_sums_in_another_scale() -> None:
    def run(**call):
        y, (p, q, o) = wkv(**call, backend="reference")
        scale = torch.where(o > REST_EXPONENT, 4.0, 1.0).to(o)  # where there are sums
        return y, WKVState(p / scale, q / scale, o + scale.log())

    hold_to_all(run)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("gain", [1.0, 5.0])
def test_gradcheck(backend: str, gain: float) -> None:
    tensors, state = drawn(WKVCase(steps=6, neurons=3, gain=gain))
    leaves = [tensor.requires_grad_() for tensor in (*tensors.values(), state.numerator, state.denominator)]

    # The exponents move with the keys: what is differentiated are sums in a scale that does not.
    def in_fixed_scale(*inputs):
        y, (p, q, o) = wkv(*inputs[:4], WKVState(*inputs[4:], state.exponent), backend=backend)
        return y, p * torch.exp(o - fixed), q * torch.exp(o - fixed)

    with torch.no_grad():
        fixed = wkv(*leaves[:4], WKVState(*leaves[4:], state.exponent), backend=backend)[1].exponent
    assert torch.autograd.gradcheck(in_fixed_scale, leaves)


def defined(k: list[float], v: list[float], w: float, u: float) -> list[float]:
    """The published sum for one neuron, term by term."""
    y = []
    for t in range(len(k)):
        terms = [(math.exp((t - 1 - i) * w + k[i]), v[i]) for i in range(t)] + [(math.exp(u + k[t]), v[t])]
        y.append(sum(a * b for a, b in terms) / sum(a for a, _ in terms))
    return y


@pytest.mark.parametrize("backend", ALL)
def test_is_the_published_sum(backend: str) -> None:
    tensors, _ = drawn(WKVCase(steps=7, batch=2, neurons=3))
    y, (p, q, o) = wkv(**tensors, backend=backend)
    k, v, w, u = (tensor.tolist() for tensor in tensors.values())
    for b in range(2):
        for n in range(3):
            lane_k, lane_v = [row[b][n] for row in k], [row[b][n] for row in v]
            assert y[:, b, n].tolist() == pytest.approx(defined(lane_k, lane_v, w[n], u[n]), rel=1e-12)
            weights = [math.exp((6 - i) * w[n] + lane_k[i]) for i in range(7)]
            scale = math.exp(o[b, n])
            assert float(q[b, n]) * scale == pytest.approx(sum(weights), rel=1e-12)
            assert float(p[b, n]) * scale == pytest.approx(sum(map(math.prod, zip(weights, lane_v))), rel=1e-10)


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("cuts", [(0,), (1,), (16,), (17,), (8, 9), (3, 3, 11)], ids=str)
def test_chunk_law(backend: str, cuts: tuple[int, ...]) -> None:
    tensors, state = drawn(WKVCase(steps=17, neurons=5))
    leaves = [tensor.requires_grad_() for tensor in (*tensors.values(), state.numerator, state.denominator)]
    k, v, w, u, p, q = leaves
    want, final = wkv(k, v, w, u, WKVState(p, q, state.exponent), backend=backend)
    pieces, after = [], WKVState(p, q, state.exponent)
    for begin, end in zip((0, *cuts), (*cuts, 17)):
        y, after = wkv(k[begin:end], v[begin:end], w, u, after, backend=backend)
        pieces.append(y)
    got = torch.cat(pieces)
    assert_same(got, want, "output")
    for name, g, e in zip(WKVState._fields, after, final):
        assert_same(g, e, name)
    if backend != "scan":  # where time is walked through, chunks give the very bits
        assert torch.equal(got, want)
        assert all(map(torch.equal, after, final))
    cotangent = torch.randn_like(want)
    ends = [(y * cotangent).sum() + s.numerator.sum() - s.denominator.sum() for y, s in ((got, after), (want, final))]
    for name, g, e in zip(TENSORS, *(torch.autograd.grad(end, leaves) for end in ends)):
        assert_same(g, e, f"gradient of {name}")


@pytest.mark.parametrize("backend", BACKENDS)
def test_longer_than_the_published_kernel_allows(backend: str) -> None:
    wkv_contract(wkv_implementation(backend), WKVCase(steps=1100, batch=1, neurons=3))


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_is_summed_in_float32(backend: str, half: torch.dtype) -> None:
    tensors, state = drawn(WKVCase(steps=40, dtype=torch.float32))
    k, v = (tensors[name].to(half).requires_grad_() for name in ("key", "value"))
    w, u = tensors["log_decay"], tensors["bonus"]
    want, after = wkv(k.float(), v.float(), w, u, state, backend=backend)
    with torch.autocast("cpu", torch.bfloat16):
        y, got = wkv(k, v, w, u, state, backend=backend)
    assert y.dtype == half
    assert torch.equal(y, want.to(half))
    assert all(map(torch.equal, got, after))
    assert all(part.dtype == torch.float32 for part in got)
    assert {grad.dtype for grad in torch.autograd.grad(y.float().sum(), [k, v])} == {half}


@pytest.mark.parametrize("backend", ALL)
def test_later_steps_change_nothing_before(backend: str) -> None:
    tensors, state = drawn(WKVCase(steps=12))
    changed = {name: tensor.clone() for name, tensor in tensors.items()}
    changed["key"][7:] += 50
    changed["value"][7:] -= 3
    before, after = (wkv(**call, state=state, backend=backend)[0] for call in (tensors, changed))
    assert torch.equal(before[:7], after[:7])
    assert (before[7:] != after[7:]).all()


@pytest.mark.parametrize("backend", ALL)
def test_no_step_and_one_step(backend: str) -> None:
    tensors, state = drawn(WKVCase(steps=1))
    none = {name: tensor[:0] if tensor.ndim == 3 else tensor for name, tensor in tensors.items()}
    y, same = wkv(**none, state=state, backend=backend)
    assert y.shape == (0, 2, 21)
    assert all(map(torch.equal, same, state))
    y, after = wkv(**tensors, backend=backend)
    assert_same(y, tensors["value"], "the average of one value")
    assert_same(after.numerator, tensors["value"][0], "numerator")
    assert torch.equal(after.denominator, torch.ones_like(after.denominator))
    assert torch.equal(after.exponent, tensors["key"][0])


@pytest.mark.parametrize("backend", ALL)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_keys_of_any_size_stay_finite(backend: str, dtype: torch.dtype) -> None:
    tensors, state = drawn(WKVCase(steps=50, dtype=dtype, gain=200.0))
    leaves = [tensor.requires_grad_() for tensor in (*tensors.values(), state.numerator, state.denominator)]
    assert leaves[0].abs().max() > 500
    y, after = wkv(*leaves[:4], WKVState(*leaves[4:], state.exponent), backend=backend)
    grads = torch.autograd.grad(y.sum() + after.numerator.sum(), leaves)
    assert all(tensor.isfinite().all() for tensor in (y, *after, *grads))
    bound = torch.cat([leaves[1], (leaves[4] / leaves[5]).nan_to_num()[None]]).abs().amax(0)
    assert (y.abs() <= bound * (1 + 1e-5)).all()  # averages


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("broken", [torch.inf, torch.nan])
@pytest.mark.parametrize("which", ["key", "value"])
def test_broken_keys_and_values_are_not_hidden(backend: str, which: str, broken: float) -> None:
    tensors, state = drawn(WKVCase(steps=6, batch=1, neurons=20, dtype=torch.float32))
    tensors[which][3, 0, 4] = broken
    y, after = wkv(**tensors, state=state, backend=backend)
    want, _ = wkv(**tensors, state=state, backend="reference")
    assert torch.equal(y.isnan(), want.isnan())
    assert torch.equal(y.isfinite(), want.isfinite())
    assert not want[3:, 0, 4].isfinite().any()
    assert not after.numerator[0, 4].isfinite()


def test_lanes_do_not_depend_on_their_neighbours() -> None:
    for neurons in (1, 7, 17, 513):
        tensors, state = drawn(WKVCase(batch=3, neurons=neurons, dtype=torch.float32))
        y, after = wkv(**tensors, state=state, backend="numba_cpu")
        for b in range(3):
            alone = {n: tensor[:, b : b + 1] if tensor.ndim == 3 else tensor for n, tensor in tensors.items()}
            y_b, after_b = wkv(**alone, state=WKVState(*(part[b : b + 1] for part in state)), backend="numba_cpu")
            assert torch.equal(y_b, y[:, b : b + 1])
            assert torch.equal(after_b.numerator[0], after.numerator[b])


def test_exponential() -> None:
    @njit(fastmath={"contract"})  # as the kernels are compiled
    def row(x, y):
        for j in range(len(x)):
            y[j] = exp(x[j])

    x = np.concatenate([np.linspace(-87, 88, 300_001), np.linspace(-0.01, 0.01, 10_001)]).astype(np.float32)
    y = np.empty_like(x)
    row(x, y)
    want = np.array([math.exp(number) for number in x])
    assert (np.abs(y - want) / np.spacing(want.astype(np.float32))).max() < 2
    x = np.array([-87.1, -100, -1e4, REST_EXPONENT, -np.inf, np.nan, 0, -0.0, -1e-45], np.float32)
    y = np.empty_like(x)
    row(x, y)
    assert np.array_equal(y, np.array([0, 0, 0, 0, 0, np.nan, 1, 1, 1], np.float32), equal_nan=True)
    x = np.linspace(-740, 700, 1001)
    y = np.empty_like(x)
    row(x, y)
    assert y.tolist() == [math.exp(number) for number in x]


@pytest.mark.usefixtures("own_shape_errors")
def test_bad_shapes() -> None:
    key, row = torch.zeros(4, 2, 3), torch.zeros(3)
    zero = torch.zeros(2, 3)
    with pytest.raises(ShapeError, match=r"key and value must both be .*\(4, 2, 3\) and \(4, 2, 2\)"):
        wkv(key, key[..., :2], row, row)
    with pytest.raises(ShapeError, match=r"\[time, batch, neuron\], got \(2, 3\)"):
        wkv(zero, zero, row, row)
    with pytest.raises(ShapeError, match=r"log_decay has shape \(2,\); give one value per neuron \(3\)"):
        wkv(key, key, row[:2], row)
    with pytest.raises(ShapeError, match=r"bonus has shape \(\)"):
        wkv(key, key, row, row[0])
    with pytest.raises(ShapeError, match=r"the state's denominator has shape \(1, 3\), the key needs \(2, 3\)"):
        wkv(key, key, row, row, WKVState(zero, zero[:1], zero))


def test_refuses_what_it_cannot_serve() -> None:
    key, row = torch.zeros(2, 1, 3, device="meta"), torch.zeros(3, device="meta")
    with pytest.raises(BackendUnavailableError, match="runs on the CPU and the key is on meta"):
        wkv(key, key, row, row, backend="numba_cpu")
    example = OPERATION.example()
    with pytest.raises(BackendUnavailableError, match=r"in float32 or float64 and the key is torch\.int64"):
        OPERATION.choose(example | {"key": example["key"].long()}, "numba_cpu")


def test_fastest_serves_first() -> None:
    assert OPERATION.choose(OPERATION.example()).name == "numba_cpu"
