"""Networks under torch.compile: the same numbers and gradients, no warning, and layers of torch compiled."""

import warnings
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounter

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
