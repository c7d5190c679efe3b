"""Recurrent populations in one kernel: equal to the loop, and the comparison rejects implementations that are wrong."""

from functools import partial

import pytest
import torch
from torch import Tensor

from snn_delays.errors import BackendUnavailableError
from snn_delays.ops import ATan, lif, recurrent_lif, use_backend
from snn_delays.ops.delay.taps import delay_kernel
from snn_delays.ops.recurrent import OPERATION
from tests.support.contracts import case_name, fast_backends, implementation
from tests.support.recurrent_contract import RecurrentCase, recurrent_cases, recurrent_contract


@pytest.mark.parametrize("case", list(recurrent_cases()), ids=case_name)
@pytest.mark.parametrize("backend", fast_backends(OPERATION))
def test_equal_to_the_loop(backend: str, case: RecurrentCase) -> None:
    recurrent_contract(implementation(recurrent_lif, OPERATION.example(), backend), case)


@pytest.mark.parametrize("sharing", ["axon", "synapse"])
@pytest.mark.parametrize("backend", fast_backends(OPERATION))
def test_in_single_precision_to_its_rounding(backend: str, sharing: str) -> None:
    """Sums in another order: no membrane here is so near its threshold that it would matter."""
    for wide in (0.0, 9.0):
        case = RecurrentCase(sharing=sharing, wide=wide, dtype=torch.float32, longest=20, neurons=8, steps=15, seed=2)
        recurrent_contract(implementation(recurrent_lif, OPERATION.example(), backend), case)


MUTATIONS = (
    "right", "a step late", "transposed", "history ignored", "mask ignored", "feedback without gradient",
    "reset before", "window one shorter",
)  # fmt: skip


def mutant(mutation: str, current: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor, history, v0, mask, **options):
    """The sum of the definition, step by step in plain autograd, right or wrong in one way."""
    least, longest = options.pop("min_delay_steps"), options.pop("max_delay_steps")
    end = longest - (mutation == "window one shorter")
    kernel = delay_kernel(weight, delay - least, sigma, end - least, options.pop("taps"))
    past = list(torch.zeros_like(history) if mutation == "history ignored" else history)
    v = v0
    for x in current:
        at = len(past) - least - (mutation == "a step late")
        heard = [past[at - k].detach() if "without" in mutation else past[at - k] for k in range(len(kernel))]
        fed = sum(s @ (w if mutation == "transposed" else w.T) for s, w in zip(heard, kernel))
        if mutation == "reset before":
            v = v * 0.9
        s, v = lif((x + (fed if mutation == "mask ignored" else mask * fed))[None], v, **options)
        past.append(s[0])
    return torch.stack(past[longest:]), v


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_the_contract_rejects_what_is_wrong(mutation: str) -> None:
    case = RecurrentCase(sharing="synapse", masked=True, taps="gaussian", least=2)
    if mutation == "right":
        recurrent_contract(partial(mutant, mutation), case)
        return
    with pytest.raises(AssertionError):
        recurrent_contract(partial(mutant, mutation), case)


@pytest.mark.parametrize("sharing", ["axon", "synapse"])
def test_samples_and_threads_make_no_difference(sharing: str) -> None:
    case = RecurrentCase(sharing=sharing, batch=37, neurons=20, dtype=torch.float32)
    given = {name: value for name, value in case.inputs().items() if name != "mask"}
    whole, _ = recurrent_lif(**given, **case.options())
    assert 0.02 < float(whole.mean()) < 0.6
    one = {name: value[:, 30:31] if name in ("current", "history") else value for name, value in given.items()}
    assert torch.equal(recurrent_lif(**{**one, "v0": given["v0"][30:31]}, **case.options())[0], whole[:, 30:31])
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2 if threads == 1 else 1)
        assert torch.equal(recurrent_lif(**given, **case.options())[0], whole)
    finally:
        torch.set_num_threads(threads)


def test_what_has_no_kernel_runs_in_the_loop() -> None:
    class Own(ATan):
        pass

    case = RecurrentCase(surrogate=Own(5.0))
    options = case.options()
    with pytest.raises(BackendUnavailableError, match="no kernel for the surrogate Own"):
        recurrent_lif(**case.inputs(), **options, backend="numba_cpu")
    given = case.inputs()
    given["decay"].requires_grad_()
    with use_backend(lif="reference"):
        spikes, _ = recurrent_lif(**given, **options)
    (grad,) = torch.autograd.grad(spikes.sum(), given["decay"])
    assert grad.abs().max() > 0
