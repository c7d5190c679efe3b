"""How training comes to integer delays: what acts in a pass, and where its gradient goes."""

import copy

import pytest
import torch
from torch import Tensor

from snn_delays.errors import ConfigError
from snn_delays.nn import LIF, DelayedConv2d, DelayedLinear, Recurrent
from snn_delays.ops.delay import delayed_linear
from snn_delays.units import round_delays


def layer(rounding: str, taps: str = "triangle", sigma: float = 0.4, least: int = 0) -> DelayedLinear:
    torch.manual_seed(3)
    made = DelayedLinear(
        5, 4, max_delay_steps=6, min_delay_steps=least, taps=taps, sigma_steps=sigma, delay_rounding=rounding
    )
    return made.double()


def spikes() -> Tensor:
    return (torch.rand(25, 3, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) < 0.4).double()


def acted(made: DelayedLinear, delay: Tensor) -> Tensor:
    options = {"max_delay_steps": made.max_delay_steps, "taps": made.taps}
    return delayed_linear(spikes(), made.weight, delay, made.sigma, **options)[0]


@pytest.mark.parametrize("taps", ["triangle", "gaussian", "linear"])
def test_straight_through_acts_rounded_and_learns_real_valued(taps: str) -> None:
    made = layer("straight_through", taps)
    assert not torch.equal(made.delay, made.delay.round())
    current, _ = made(spikes())
    rounded = made.delay.detach().round().requires_grad_()
    expected = acted(made, rounded)
    assert torch.equal(current, expected)
    assert not torch.equal(current, acted(made, made.delay))  # canary: what acts without rounding is something else
    weight = torch.linspace(-1, 1, current.numel(), dtype=torch.float64).view_as(current)
    (current * weight).sum().backward()
    (there,) = torch.autograd.grad((expected * weight).sum(), rounded)
    assert made.delay.grad is not None
    torch.testing.assert_close(made.delay.grad, there, rtol=1e-12, atol=1e-12)
    assert made.delay.grad.abs().min() > 0
    with torch.no_grad():
        torch.testing.assert_close(made.eval()(spikes())[0], expected, rtol=1e-12, atol=1e-12)


def test_stochastic_draws_the_integer_below_or_above_with_the_right_mean() -> None:
    made = layer("stochastic")
    torch.manual_seed(0)
    drawn = torch.stack([made.acting_delay().detach() for _ in range(4000)])
    below, above = made.delay.detach().floor(), made.delay.detach().ceil()
    assert bool(((drawn == below) | (drawn == above)).all())
    assert bool((drawn.std(0) > 0).any())
    assert float((drawn.mean(0) - made.delay.detach()).abs().max()) < 5 * 0.5 / 4000**0.5
    assert torch.equal(made.eval().acting_delay(), round_delays(made.delay))  # in evaluation nothing is drawn


def test_delays_are_rounded_in_place_after_an_epoch_where_that_is_asked_for() -> None:
    for rounding in ("anneal", "epoch", "straight_through", "stochastic", "none"):
        made = layer(rounding)
        before = made.delay.detach().clone()
        made.round_after_epoch_()
        assert torch.equal(made.delay, before.round() if rounding == "epoch" else before)
        assert made.delay.requires_grad


def test_rounding_stays_within_the_window() -> None:
    made = layer("stochastic", least=1)
    with torch.no_grad():
        made.delay.fill_(6.0)
        made.delay[0] = 1.0
    for _ in range(50):
        assert set(made.acting_delay().flatten().tolist()) == {1.0, 6.0}


@pytest.mark.parametrize("rounding", ["straight_through", "stochastic"])
def test_recurrent_populations_draw_once_for_both_passes(rounding: str) -> None:
    """What the spikes met in the forward pass is what the gradient is taken of."""
    torch.manual_seed(0)
    synapse = DelayedLinear(5, 5, max_delay_steps=4, min_delay_steps=1, taps="triangle", sigma_steps=0.5)
    population = Recurrent(synapse, LIF(3.0)).double()
    plain = copy.deepcopy(population)
    synapse.delay_rounding = rounding
    x = 0.8 * spikes()
    torch.manual_seed(7)
    used = synapse.acting_delay().detach()
    torch.manual_seed(7)
    out, _ = population(x)
    with torch.no_grad():
        plain.synapse.delay.copy_(used)
    expected, _ = plain(x)
    assert 0.05 < float(out.detach().mean()) < 0.9
    assert torch.equal(out, expected)
    out.square().sum().backward()
    expected.square().sum().backward()
    torch.testing.assert_close(synapse.delay.grad, plain.synapse.delay.grad)
    assert float(synapse.delay.grad.abs().sum()) > 0


def test_convolutions_round_alike_and_unknown_names_are_refused() -> None:
    torch.manual_seed(0)
    made = DelayedConv2d(1, 2, 3, max_delay_steps=4, delay_rounding="straight_through")
    plain = copy.deepcopy(made)
    with torch.no_grad():
        plain.delay.copy_(made.delay.round())
    plain.delay_rounding = "anneal"
    x = (torch.rand(8, 2, 1, 5, 5) < 0.4).float()
    assert torch.equal(made(x)[0], plain(x)[0])
    with pytest.raises(ConfigError, match="delay_rounding"):
        layer("nearest")
    fixed = DelayedLinear(3, 2, max_delay_steps=4, learn_delay=False, delay_rounding="stochastic")
    assert fixed.delay_rounding == "anneal"  # nothing is learned, so nothing is rounded on the way
