"""Networks under torch.compile: the same numbers and gradients, no warning, and layers of torch compiled.

What torch.func and torch.export can hold holds; the rest is refused in a sentence.
"""

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter
from torch.func import functional_call, grad, jvp, vmap
from torch.utils.checkpoint import checkpoint

from snn_delays import use_backend
from snn_delays.errors import BackendUnavailableError, ExportError
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Dropout, LeakyIntegrator, Recurrent, Sequential, SpikingModule

STEPS = 30


class Mixed(nn.Module):
    """Layers of torch around ours: those are what compiling is for."""

    def __init__(self) -> None:
        super().__init__()
        again = DelayedLinear(9, 9, min_delay_steps=1, max_delay_steps=4)
        self.before = nn.Linear(6, 6)
        self.network = Sequential(
            DelayedLinear(6, 9, max_delay_steps=5), BatchNorm(9), LIF(2.0), Dropout(0.2), Recurrent(again, LIF(2.0)),
            LeakyIntegrator(3.0),
        )  # fmt: skip
        self.after = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        y, _ = self.network(torch.relu(self.before(x)))
        return torch.tanh(self.after(y))


@pytest.fixture(autouse=True)
def fresh_compiler() -> Iterator[None]:
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def outcome(network: nn.Module, run, x: Tensor) -> list[Tensor]:
    torch.manual_seed(4)
    y = run(x)
    leaves = [p for p in network.parameters() if p.requires_grad]
    return [y.detach(), *torch.autograd.grad(y.square().sum(), leaves)]


@pytest.mark.parametrize("training", [True, False])
def test_numbers_and_gradients_are_those_without_it(training: bool) -> None:
    network = Mixed().double().train(training)
    x = (torch.rand(STEPS, 5, 6) < 0.6).double() * 4
    counter = CompileCounter()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        compiled = torch.compile(network, backend=counter)
        for a, b in zip(outcome(network, compiled, x), outcome(network, network, x), strict=True):
            torch.testing.assert_close(a, b)
        frames = counter.frame_count
        outcome(network, compiled, x)
    assert not caught
    assert counter.op_count >= 4, "the layers of torch are compiled"
    assert counter.frame_count == frames < STEPS, "nothing is compiled a second time, and no step by itself"


def test_a_chunk_after_the_other() -> None:
    network = Sequential(DelayedLinear(6, 9, max_delay_steps=5), LIF(2.0)).eval()
    assert isinstance(network, SpikingModule)
    compiled = torch.compile(network, backend="eager")
    x = (torch.rand(STEPS, 5, 6) < 0.6).float() * 2
    with torch.no_grad():
        want, _ = network(x)
        first, state = compiled(x[:13])
        second, _ = compiled(x[13:], state)
    assert 0.02 < want.mean() < 0.9
    assert torch.equal(torch.cat([first, second]), want)


def spiking() -> Sequential:
    return Sequential(DelayedLinear(6, 9, max_delay_steps=5), LIF(2.0), LeakyIntegrator(3.0)).double()


def spikes(batch: int = 3) -> Tensor:
    return (torch.rand(STEPS, batch, 6) < 0.6).double() * 2


@pytest.mark.parametrize("backend", [None, "reference"])
def test_functional_call_computes_with_other_parameters(backend: str | None) -> None:
    network, other, x = spiking(), spiking(), spikes()
    with use_backend(backend):
        got = functional_call(network, dict(other.named_parameters()), (x,))[0]
        want = other(x)[0]
    assert 0.02 < other(x)[0].detach().abs().mean() < 5
    torch.testing.assert_close(got, want)
    for a, b in zip(
        *(torch.autograd.grad(y.square().sum(), list(other.parameters())) for y in (got, want)), strict=True
    ):
        torch.testing.assert_close(a, b)


def test_vmap_over_samples_and_networks_in_the_reference() -> None:
    network, x = spiking().eval().requires_grad_(False), spikes()
    with use_backend("reference"):
        by_sample = vmap(lambda sample: network(sample.unsqueeze(1))[0].squeeze(1), in_dims=1, out_dims=1)(x)
        torch.testing.assert_close(by_sample, network(x)[0])
    assert network(x)[0].abs().mean() > 0.02
    with (
        pytest.raises(BackendUnavailableError, match=r"torch\.func .* cannot go through backend 'numba_cpu'"),
        use_backend("reference", lif="numba_cpu"),
    ):
        vmap(lambda sample: network(sample.unsqueeze(1))[0], in_dims=1)(x)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("backend", [None, "reference"])
def test_transforms_that_differentiate_are_refused_in_a_sentence(backend: str | None, training: bool) -> None:
    network, x = spiking().train(training), spikes()
    parameters = {name: p.detach() for name, p in network.named_parameters()}

    def loss(p: dict[str, Tensor]) -> Tensor:
        return functional_call(network, p, (x,))[0].square().mean()

    with use_backend(backend):
        with pytest.raises(BackendUnavailableError, match=r"grad, vmap.* take torch\.autograd\.grad, sample by sample"):
            grad(loss)(parameters)
        with pytest.raises(BackendUnavailableError, match=r"forward-mode derivatives .* do not go through \w+"):
            jvp(lambda x: network(x)[0], (x,), (torch.ones_like(x),))
    torch.autograd.grad(network(x)[0].square().mean(), list(network.parameters()))  # what it says instead


def test_checkpointing_of_activations_changes_no_gradient() -> None:
    network, x = spiking(), spikes()
    again = checkpoint(lambda part: network(part)[0], x, use_reentrant=False)
    for a, b in zip(
        *(torch.autograd.grad(y.square().sum(), list(network.parameters())) for y in (network(x)[0], again)),
        strict=True,
    ):
        assert a.abs().max() > 0
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("layer", [spiking, lambda: LIF(2.0)])
def test_torch_export_is_refused_in_a_sentence(layer) -> None:
    with pytest.raises(ExportError, match=r"torch\.export cannot hold these layers.* snn_delays\.export writes NIR"):
        torch.export.export(layer().eval(), (spikes(),), strict=False)
