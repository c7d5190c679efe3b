"""LIF: every fast backend against the reference, the contract against wrong versions, the reference against itself."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from snn_delays.ops import ATan, FastSigmoid, Triangle, lif
from snn_delays.ops.lif import OPERATION
from tests.support.contracts import (
    LIFCase,
    assert_same,
    case_name,
    fast_backends,
    implementation,
    lif_contract,
    lif_edge_cases,
    lif_margins,
    lif_option_cases,
)
from tests.support.mutants import LIF_MUTATIONS, mutant_lif

OPTIONS, EDGES = list(lif_option_cases()), list(lif_edge_cases())
BACKENDS = fast_backends(OPERATION)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", OPTIONS, ids=case_name)
def test_backend_equals_reference_for_every_option(backend: str, case: LIFCase) -> None:
    lif_contract(implementation(lif, OPERATION.example(), backend), case)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", EDGES, ids=case_name)
def test_backend_equals_reference_at_the_edges(backend: str, case: LIFCase) -> None:
    lif_contract(implementation(lif, OPERATION.example(), backend), case)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_backend_equals_reference_on_all_threads(backend: str, reset: str) -> None:
    case = LIFCase(batch=3, neurons=1000, reset=reset, steps=9, detach_reset=False, decay_input=True, exact=False)
    for seed in range(3):
        lif_contract(implementation(lif, OPERATION.example(), backend), replace(case, seed=seed))


def hold_to_all(run) -> None:
    for case in EDGES + OPTIONS:
        lif_contract(run, case)


def test_contract_accepts_a_right_version() -> None:
    hold_to_all(mutant_lif())


@pytest.mark.parametrize("mutation", LIF_MUTATIONS)
def test_contract_rejects(mutation: str) -> None:
    with pytest.raises(AssertionError):
        hold_to_all(mutant_lif(mutation))


@pytest.mark.parametrize("case", OPTIONS, ids=case_name)
def test_cases_are_worth_their_name(case: LIFCase) -> None:
    inputs = case.inputs()
    spikes, _ = lif(**inputs, **case.options(), backend="reference")
    assert 0.02 < spikes.mean() < 0.6
    if case.exact:
        assert (lif_margins(case, inputs) == 0).float().mean() > 0.01, "no membrane meets its threshold exactly"


def test_float32_contract_forgives_only_near_the_threshold() -> None:
    case = LIFCase(dtype=torch.float32, exact=False, steps=40, batch=16, neurons=2048, learns=("current",), seed=2)
    inputs, options = case.inputs(), case.options()
    right = mutant_lif()
    spikes = lif(**inputs, **options, backend="reference")[0]

    def moved(by: float):
        return lambda threshold, **rest: right(threshold=threshold + by, **rest)

    assert (moved(9e-6)(**inputs, **options)[0] != spikes).any(), "the draw has no membrane near its threshold"
    lif_contract(moved(9e-6), case)
    with pytest.raises(AssertionError, match="threshold"):
        lif_contract(moved(3e-5), case)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_number_and_tensor_options_mean_the_same(backend: str) -> None:
    current = torch.randn(30, 2, 7, dtype=torch.float64) + 0.3
    number = lif(current, decay=0.75, threshold=0.875, backend=backend)
    assert 0.02 < number[0].mean() < 0.6
    for shape in ((), (1,), (7,)):
        decay, threshold = torch.full(shape, 0.75), torch.full(shape, 0.875)
        tensor = lif(current, decay=decay, threshold=threshold, backend=backend)
        assert torch.equal(number[0], tensor[0])
        assert torch.equal(number[1], tensor[1])


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_below_threshold_the_gradients_are_those_of_finite_differences(backend: str) -> None:
    # A triangle is flat away from the threshold, so here the surrogate adds nothing to the true derivative.
    run = partial(lif, threshold=50.0, surrogate=Triangle(1.0), v_reset=0.2, decay_input=True, backend=backend)
    current = torch.randn(6, 2, 3, dtype=torch.float64, requires_grad=True)
    v0 = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    decay = torch.rand(3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, v, d: run(x, v, decay=d)[1], (current, v0, decay))


def test_silent_and_saturated_by_hand() -> None:
    current = torch.tensor([0.6, 0.6, 0.6, 0.0]).view(4, 1, 1)
    spikes, v = lif(current, decay=0.5, threshold=1.0)
    assert spikes.flatten().tolist() == [0, 0, 1, 0]  # 0.6, 0.9, 1.05 -> fires, rests at 0, 0
    assert v.item() == 0
    spikes, v = lif(current, decay=0.5, threshold=1.0, reset="soft")
    assert spikes.flatten().tolist() == [0, 0, 1, 0]
    assert v.item() == pytest.approx(0.025, abs=1e-6)
    equal = torch.ones(1, 1, 1)
    assert lif(equal, decay=0.5)[0].item() == 1
    assert lif(equal, decay=0.5, strict=True)[0].item() == 0


def test_constant_input_settles_where_the_equation_says() -> None:
    current = torch.full((200, 1, 1), 0.3, dtype=torch.float64)
    _, v = lif(current, decay=0.8, threshold=9.0, v_reset=-0.5, decay_input=True)
    assert v.item() == pytest.approx(-0.5 + 0.3)
    _, v = lif(current, decay=0.8, threshold=9.0, v_reset=-0.5)
    assert v.item() == pytest.approx(-0.5 + 0.3 / 0.2)


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
def test_gradient_of_a_sum_and_of_an_expanded_input(backend: str) -> None:
    """``sum()`` hands the backward pass a tensor with strides of zero, and so may the forward pass get one."""
    current = (torch.randn(1, 2, 9, dtype=torch.float64) + 0.5).requires_grad_()
    grads = []
    for name in (backend, "reference"):
        spikes, v = lif(current.expand(15, 2, 9), decay=0.6, surrogate=FastSigmoid(2.0), backend=name)
        grads += torch.autograd.grad(spikes.sum() + v.sum(), current)
    assert_same(*grads, "gradient of current")
    assert grads[0].abs().min() > 0


def test_default_surrogate_is_the_papers() -> None:
    current = torch.randn(10, 1, 5, dtype=torch.float64, requires_grad=True)
    default = torch.autograd.grad(lif(current, decay=0.5)[0].sum(), current)[0]
    named = torch.autograd.grad(lif(current, decay=0.5, surrogate=ATan(5.0))[0].sum(), current)[0]
    assert torch.equal(default, named)
