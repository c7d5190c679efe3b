"""Torch modules in a chain: each acts on every step alike, has no state, and keeps the chunk law."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from snn_delays import LIF, BatchNorm, DelayedLinear, LeakyIntegrator, Sequential, SpikingModule, discretize
from snn_delays.errors import ConfigError, ExportError, ShapeError
from snn_delays.nn import layers_of, record
from tests.support.networks import poisson


def chain() -> Sequential:
    torch.manual_seed(0)
    return Sequential(
        embed=nn.Sequential(nn.Linear(6, 12), nn.ReLU()),
        maps=nn.Unflatten(1, (3, 2, 2)),
        conv=nn.Conv2d(3, 4, 2),
        flat=nn.Flatten(),
        synapse=DelayedLinear(4, 9, max_delay_steps=3, taps="linear"),
        neuron=LIF(2.0),
        dropout=nn.Dropout(0.5),
        norm=nn.LayerNorm(9),
        head=nn.Linear(9, 2, bias=False),
        readout=LeakyIntegrator(2.0),
    ).double()


@given(cut=st.integers(0, 20), seed=st.integers(0, 100))
def test_the_chunk_law_holds(cut: int, seed: int) -> None:
    network = chain().eval()
    x = poisson(20, 3, 6, seed=seed) * 4
    assert 0.02 < record(network, x)["neuron"].mean() < 0.9
    whole, after = network(x)
    first, state = network(x[:cut])
    second, last = network(x[cut:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole, rtol=1e-12, atol=1e-13)
    assert state[0] is None
    assert torch.equal(last[-1].v, after[-1].v) or torch.allclose(last[-1].v, after[-1].v)


def test_every_step_is_treated_alike_and_hooks_fire() -> None:
    network, seen = chain(), []
    network.head.register_forward_hook(lambda _, given, y: seen.append((given[0].shape, y.shape)))
    x = poisson(20, 3, 6)
    y, _ = network(x)
    assert y.shape == (20, 3, 2)
    assert seen == [((60, 9), (60, 2))]
    by_hand = torch.stack([network.embed(step) for step in x])
    torch.testing.assert_close(record(network, x)["embed"], by_hand)
    assert [name for name, _ in layers_of(network)][:2] == ["embed", "maps"]
    y.sum().backward()
    assert all(p.grad is not None for p in network.parameters())


def test_counts_become_numbers_and_tokens_stay_integers() -> None:
    counts = torch.randint(0, 3, (5, 2, 6), dtype=torch.uint8)
    linear = nn.Linear(6, 3).double()
    assert torch.equal(Sequential(linear)(counts)[0], linear(counts.double()))
    table = nn.Embedding(7, 3)
    assert Sequential(table, nn.Flatten())(torch.randint(0, 7, (5, 2)))[0].shape == (5, 2, 3)
    with pytest.raises(ShapeError, match=r"Linear computes in float32, the input is float64"):
        Sequential(nn.Linear(6, 3))(torch.zeros(5, 2, 6, dtype=torch.float64))


class Swallows(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean(0)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (nn.LSTM(6, 3), "layer '0' has a torch.nn.LSTM, which relates steps or samples"),
        (nn.Sequential(nn.TransformerEncoderLayer(6, 2)), "layer '0' has a torch.nn.TransformerEncoderLayer"),
        (nn.Sequential(nn.Linear(6, 3), LIF(2.0)), "a Sequential with a LIF inside, whose state would be lost"),
        (nn.ReLU, "layer '0' is a type, not a SpikingModule or a torch module"),
        (torch.relu, "layer '0' is a builtin_function_or_method"),
    ],
)
def test_what_would_be_silently_wrong_is_refused(layer: object, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Sequential(layer)  # type: ignore[arg-type]


def test_outputs_of_other_rows_and_unmasked_statistics_are_refused() -> None:
    with pytest.raises(ShapeError, match=r"Swallows received \[time \* batch, ...\] = \(10, 6\)"):
        Sequential(Swallows())(torch.zeros(5, 2, 6))
    with pytest.raises(ShapeError, match="Identity has no state"):
        Sequential(nn.Identity())(torch.zeros(5, 2, 6), (torch.zeros(2),))
    valid = torch.ones(5, 2, dtype=torch.bool)
    norm = Sequential(nn.BatchNorm1d(6))
    with pytest.raises(ConfigError, match="BatchNorm1d counts padded steps"):
        norm(torch.randn(5, 2, 6), None, valid)
    norm.eval()(torch.randn(5, 2, 6), None, valid)


def test_discretising_refuses_them_by_name() -> None:
    with pytest.raises(ExportError, match=r"layer 'head' \(Linear\) has no discrete form"):
        discretize(Sequential(synapse=DelayedLinear(4, 9, max_delay_steps=3), neuron=LIF(2.0), head=nn.Linear(9, 2)))


class TakesValid(SpikingModule):
    def forward(self, x: Tensor, state: None = None, valid: Tensor | None = None) -> tuple[Tensor, None]:
        self.seen = valid
        return x, None


def test_valid_reaches_those_that_take_it() -> None:
    inner = TakesValid()
    network = Sequential(Sequential(LIF(2.0), inner), nn.ReLU(), BatchNorm(6))
    valid = torch.ones(5, 2, dtype=torch.bool)
    network(torch.zeros(5, 2, 6), None, valid)
    assert inner.seen is valid
    assert {layer.takes_valid for layer in (inner, network, BatchNorm(3))} == {True}
    assert not LIF(2.0).takes_valid
    with pytest.raises(TypeError, match="positional arguments"):
        LIF(2.0)(torch.zeros(5, 2, 6), None, valid)


class Forgetful(Sequential):
    def forward(self, x: Tensor, state: tuple | None = None) -> tuple[Tensor, tuple]:  # type: ignore[override]
        return super().forward(x, state)


def test_a_layer_that_keeps_valid_from_a_norm_inside_is_refused() -> None:
    network = Sequential(Forgetful(BatchNorm(6)))
    valid = torch.ones(5, 2, dtype=torch.bool)
    with pytest.raises(ConfigError, match=r"'0' in a Forgetful leaves out padded steps"):
        network(torch.randn(5, 2, 6), None, valid)
    network.eval()(torch.randn(5, 2, 6), None, valid)
