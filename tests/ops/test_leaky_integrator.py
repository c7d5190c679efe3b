"""Leaky integrator: fast backends against the reference, the contract against wrong versions, finite differences."""

import pytest
import torch

from snn_delays.ops import leaky_integrator, lif
from snn_delays.ops.leaky_integrator import OPERATION
from tests.support.contracts import (
    IntegratorCase,
    assert_same,
    case_name,
    fast_backends,
    implementation,
    integrator_cases,
    integrator_contract,
)
from tests.support.mutants import INTEGRATOR_MUTATIONS, mutant_integrator

CASES = list(integrator_cases())
BACKENDS = fast_backends(OPERATION)


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("case", CASES, ids=case_name)
def test_backend_equals_reference(backend: str, case: IntegratorCase) -> None:
    integrator_contract(implementation(leaky_integrator, OPERATION.example(), backend), case)


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("backend", BACKENDS)
def test_backend_equals_reference_on_all_threads(backend: str) -> None:
    for seed in range(3):
        case = IntegratorCase(batch=3, neurons=1000, steps=9, seed=seed)
        integrator_contract(implementation(leaky_integrator, OPERATION.example(), backend), case)


def hold_to_all(run) -> None:
    for case in CASES:
        integrator_contract(run, case)


def test_contract_accepts_a_right_version() -> None:
    hold_to_all(mutant_integrator())


@pytest.mark.parametrize("mutation", INTEGRATOR_MUTATIONS)
def test_contract_rejects(mutation: str) -> None:
    with pytest.raises(AssertionError):
        hold_to_all(mutant_integrator(mutation))


@pytest.mark.parametrize("backend", ["reference", *BACKENDS])
@pytest.mark.parametrize("decay_input", [False, True])
def test_gradcheck(backend: str, decay_input: bool) -> None:
    current = torch.randn(7, 2, 3, dtype=torch.float64, requires_grad=True)
    v0 = torch.randn(2, 3, dtype=torch.float64, requires_grad=True)
    decay = torch.rand(3, dtype=torch.float64, requires_grad=True)

    def run(x, v, d):
        return leaky_integrator(x, v, decay=d, decay_input=decay_input, backend=backend)

    assert torch.autograd.gradcheck(run, (current, v0, decay))


def test_is_the_lif_that_never_fires() -> None:
    current = torch.randn(20, 2, 5, dtype=torch.float64)
    trace, v = leaky_integrator(current, decay=0.7, decay_input=True)
    spikes, v_lif = lif(current, decay=0.7, threshold=1e9, decay_input=True)
    assert not spikes.any()
    assert_same(v, v_lif, "membrane")
    assert torch.equal(trace[-1], v)
