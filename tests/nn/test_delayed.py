"""Delayed synapses: sharing, counts, initial values, clamping."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import ConfigError
from snn_delays.nn import DelayedLinear
from tests.support.networks import poisson


def copy_into(layer: DelayedLinear, weight: torch.Tensor, delay: torch.Tensor) -> DelayedLinear:
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.delay.copy_(delay)
    return layer


@pytest.mark.parametrize("sharing", ["axon", "dendrite"])
@given(seed=st.integers(0, 10**6), count=st.integers(1, 3))
def test_shared_delays_are_expanded_ones(sharing: str, seed: int, count: int) -> None:
    torch.manual_seed(seed)
    arguments = {"max_delay_steps": 6, "delay_count": count, "sigma_steps": 0.8}
    shared = DelayedLinear(4, 5, sharing=sharing, **arguments).double()
    assert shared.delay.shape == ((1, 4, count) if sharing == "axon" else (5, 1, count))
    full = copy_into(DelayedLinear(4, 5, **arguments).double(), shared.weight, shared.delay.expand(5, 4, count))
    x = poisson(20, 2, 4, seed=seed)
    torch.testing.assert_close(shared(x)[0], full(x)[0], rtol=1e-12, atol=1e-13)


@given(seed=st.integers(0, 10**6))
def test_two_synapses_are_the_sum_of_two_layers(seed: int) -> None:
    torch.manual_seed(seed)
    arguments = {"max_delay_steps": 6, "sigma_steps": 0.8}
    both = DelayedLinear(4, 5, delay_count=2, **arguments).double()
    x = poisson(20, 2, 4, seed=seed)
    alone = [
        copy_into(DelayedLinear(4, 5, **arguments).double(), both.weight[..., c : c + 1], both.delay[..., c : c + 1])
        for c in (0, 1)
    ]
    torch.testing.assert_close(both(x)[0], alone[0](x)[0] + alone[1](x)[0], rtol=1e-12, atol=1e-13)


def test_parameters_exist_and_lie_in_the_window_after_construction() -> None:
    layer = DelayedLinear(50, 40, max_delay_steps=24)
    assert layer.weight.shape == layer.delay.shape == (40, 50, 1)
    assert layer.bias is None
    assert layer.weight.abs().max() <= (6 / 50) ** 0.5
    assert layer.weight.std().item() == pytest.approx((2 / 50) ** 0.5, rel=0.05)
    assert 0 <= layer.delay.min() < 0.1
    assert 23.9 < layer.delay.max() <= 24
    assert layer.sigma.item() == 12
    assert layer.delay.requires_grad
    assert not DelayedLinear(2, 2, max_delay_steps=4, learn_delay=False).delay.requires_grad
    assert not DelayedLinear(2, 2, max_delay_steps=0).delay.requires_grad


def test_initial_delays_by_name() -> None:
    rounded = DelayedLinear(100, 100, max_delay_steps=4, delay_init="uniform_rounded").delay
    assert torch.equal(rounded, rounded.round())
    shares = torch.bincount(rounded.long().flatten(), minlength=5) / rounded.numel()
    torch.testing.assert_close(shares, torch.tensor([0.125, 0.25, 0.25, 0.25, 0.125]), atol=0.03, rtol=0)
    published = DelayedLinear(100, 100, max_delay_steps=4, delay_init="hammouamri_2024").delay
    assert float((published == 4).float().mean()) == pytest.approx(1 / 5, abs=0.03)
    assert float((published < 0).float().mean()) == 0


def test_delays_pushed_out_are_refused_until_clamped() -> None:
    layer = DelayedLinear(3, 2, max_delay_steps=5)
    x = torch.zeros(4, 1, 3)
    with torch.no_grad():
        layer.delay[0, 0] = -0.25
        layer.delay[1, 2] = 5.5
    for call in (lambda: layer(x), layer.check_delays):
        with pytest.raises(ConfigError, match=r"2 of 6 delays lie outside 0\.\.5 steps \(from -0.25 to 5.5\).*clamp"):
            call()
    layer.clamp_delays_()
    layer(x)
    assert layer.delay.min() == 0
    assert layer.delay.max() == 5
    with torch.no_grad():
        layer.delay[0, 0] = float("nan")
    with pytest.raises(ConfigError, match="1 of 6 delays are NaN"):
        layer(x)


def test_gradients_reach_weight_delay_and_bias() -> None:
    layer = DelayedLinear(3, 2, max_delay_steps=5, bias=True, sharing="dendrite")
    layer(poisson(20, 2, 3).float())[0].square().sum().backward()
    for parameter in layer.parameters():
        assert parameter.grad is not None
        assert parameter.grad.abs().min() > 0


def test_bias_is_added_at_every_step() -> None:
    layer = DelayedLinear(3, 2, max_delay_steps=5, bias=True)
    with torch.no_grad():
        layer.bias.copy_(torch.tensor([0.5, -1.0]))
    y, _ = layer(torch.zeros(4, 1, 3))
    assert torch.equal(y, torch.tensor([0.5, -1.0]).expand(4, 1, 2))


def test_same_seed_same_layer() -> None:
    layers = []
    for _ in range(2):
        torch.manual_seed(5)
        layers.append(DelayedLinear(3, 2, max_delay_steps=5))
    assert torch.equal(layers[0].weight, layers[1].weight)
    assert torch.equal(layers[0].delay, layers[1].delay)


@pytest.mark.parametrize("sharing", ["synapse", "axon", "dendrite"])
def test_a_batch_of_none_gives_none(sharing: str) -> None:
    layer = DelayedLinear(12, 10, max_delay_steps=4, sharing=sharing)
    current, state = layer(torch.zeros(5, 0, 12))
    assert current.shape == (5, 0, 10)
    assert state.history.shape == (4, 0, 12)
