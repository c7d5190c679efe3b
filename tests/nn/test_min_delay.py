"""A shortest delay: the window of delays is min..max, and no tap reaches a shorter lag."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import DelayedConv2d, DelayedLayer, DelayedLinear, DelayLineState
from snn_delays.ops.delay.taps import TAPS
from tests.support.networks import poisson

STEPS = 20
SPREADING = sorted(TAPS)


def linear(least: int = 2, longest: int = 6, **options) -> DelayedLinear:
    torch.manual_seed(options.pop("seed", 0))
    return DelayedLinear(4, 5, max_delay_steps=longest, min_delay_steps=least, **options).double()


def conv(least: int = 2, longest: int = 6, **options) -> DelayedConv2d:
    torch.manual_seed(options.pop("seed", 0))
    return DelayedConv2d(2, 3, 3, padding=1, max_delay_steps=longest, min_delay_steps=least, **options).double()


def maps(steps: int, batch: int, seed: int = 0) -> torch.Tensor:
    return poisson(steps, batch, 2 * 4 * 5, seed=seed).view(steps, batch, 2, 4, 5)


LAYERS = {"linear": (linear, lambda: poisson(STEPS, 2, 4)), "conv": (conv, lambda: maps(STEPS, 2))}


def by_hand(layer: DelayedLinear, x: torch.Tensor) -> torch.Tensor:
    """The sum of the definition, with integer delays, one synapse after the other."""
    y = x.new_zeros(*x.shape[:2], layer.out_features)
    outputs, inputs, count = layer.weight.shape
    for o in range(outputs):
        for i in range(inputs):
            for c in range(count):
                d = int(layer.delay.expand_as(layer.weight)[o, i, c])
                y[d:, :, o] += layer.weight[o, i, c].detach() * x[: len(x) - d, :, i]
    return y


@pytest.mark.parametrize("sharing", ["synapse", "axon", "dendrite"])
@given(seed=st.integers(0, 10**6), least=st.integers(0, 6), count=st.integers(1, 2))
def test_integer_delays_are_what_they_say(sharing: str, seed: int, least: int, count: int) -> None:
    options = {"sharing": sharing, "delay_count": count, "delay_init": "uniform_rounded", "taps": "linear"}
    layer, x = linear(least, seed=seed, **options), poisson(STEPS, 2, 4, seed=seed)
    y = layer(x)[0]
    torch.testing.assert_close(y, by_hand(layer, x), rtol=1e-12, atol=1e-13)
    if least < 6:  # it can fail: one delay off by one
        with torch.no_grad():
            at = layer.delay.flatten()
            at[0] += 1 if at[0] < 6 else -1
        assert not torch.allclose(layer(x)[0], y)


@pytest.mark.parametrize("taps", SPREADING)
@given(least=st.integers(1, 5), sigma=st.floats(0.3, 8.0))
def test_no_tap_reaches_below_the_shortest_delay(taps: str, least: int, sigma: float) -> None:
    x = torch.zeros(STEPS, 1, 4, dtype=torch.float64)
    x[3] = 1
    layer = linear(least, taps=taps, sigma_steps=sigma)
    with torch.no_grad():
        layer.weight.abs_()
    y = layer(x)[0]
    assert y[: 3 + least].abs().max() == 0
    assert y[3 + least].min() >= 0
    assert y[3 + least : 10].sum() > 0
    assert y[10:].abs().max() == 0
    if taps != "delrec":  # taps sum to one
        torch.testing.assert_close(y.sum(0)[0], layer.weight.sum((1, 2)), rtol=1e-6, atol=0)
    if taps == "gaussian" and sigma > 1:  # a window from 0 would reach there
        assert linear(0, sigma_steps=sigma)(x)[0][3].abs().max() > 0


@pytest.mark.parametrize("kind", LAYERS)
@given(least=st.integers(1, 6), ends=st.lists(st.integers(0, STEPS), max_size=5))
def test_chunk_law(kind: str, least: int, ends: list[int]) -> None:
    make, inputs = LAYERS[kind]
    layer, x = make(least), inputs()
    whole, last = layer(x)
    assert len(last.history) == 6
    state, parts = None, []
    for a, b in pairwise([0, *sorted(ends), STEPS]):
        part, state = layer(x[a:b], state)
        parts.append(part)
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-12, atol=1e-13)
    assert torch.equal(state.history, last.history)
    assert torch.equal(state.history, x[-6:])
    assert not torch.allclose(torch.cat([layer(x[:9])[0], layer(x[9:])[0]]), whole), "the state does not matter"


def test_a_shifted_input_is_a_shifted_window() -> None:
    for make, inputs in LAYERS.values():
        layer, plain, x = make(2, 6), make(0, 4), inputs()
        with torch.no_grad():
            plain.weight.copy_(layer.weight)
            plain.delay.copy_(layer.delay - 2)
        y, _ = layer(x)
        torch.testing.assert_close(y[2:], plain(x)[0][:-2], rtol=1e-12, atol=1e-13)
        assert not y[:2].any()


@pytest.mark.parametrize("least", [1, 3, 6])
def test_gradients(least: int) -> None:
    layer = linear(least, sigma_steps=1.2)
    x = poisson(9, 1, 4).requires_grad_()
    history = poisson(6, 1, 4, seed=1).requires_grad_()

    def run(x, history, weight, delay):
        parameters = {"weight": weight, "delay": delay}
        y, state = torch.func.functional_call(layer, parameters, (x, DelayLineState(history)))
        return y, state.history

    delay = layer.delay.detach().clone().clamp(least + 0.01, 5.99).requires_grad_(least < 6)
    if least == 6:
        delay.fill_(6)
    assert torch.autograd.gradcheck(run, (x, history, layer.weight.detach().clone().requires_grad_(), delay))


@pytest.mark.parametrize("make", [linear, conv])
def test_initial_delays_fill_the_window(make) -> None:
    for init, top in (("uniform", 8.0), ("uniform_rounded", 8.0), ("hammouamri_2024", 8.0)):
        delays = torch.cat([make(3, 8, delay_init=init, seed=seed).delay.flatten() for seed in range(60)])
        assert delays.min() >= 3
        assert delays.max() <= top
        assert delays.min() < 3.1
        assert delays.max() > 7.9
        longest = float((delays == 8).double().mean())
        assert longest == pytest.approx(
            {"uniform": 0, "uniform_rounded": 0.1, "hammouamri_2024": 1 / 6}[init], abs=0.04
        )


def test_without_a_shortest_delay_nothing_changes() -> None:
    torch.manual_seed(3)
    old = torch.empty(5, 4, 1)
    torch.nn.init.uniform_(old, -((6 / 4) ** 0.5), (6 / 4) ** 0.5)
    delay = torch.nn.init.uniform_(torch.empty(5, 4, 1), 0, 6)
    torch.manual_seed(3)
    layer = DelayedLinear(4, 5, max_delay_steps=6)
    assert torch.equal(layer.weight, old)
    assert torch.equal(layer.delay, delay)
    assert "min_delay_steps" not in str(layer)
    assert layer.state_dict().keys() == linear(2).state_dict().keys()


def test_the_width_of_the_taps_begins_at_half_the_window() -> None:
    assert linear(0, 24).sigma == 12
    assert linear(4, 24).sigma == 10
    assert linear(24, 24).sigma == 1


def test_clamping_and_checking_respect_both_ends() -> None:
    for make, inputs in LAYERS.values():
        layer, x = make(2, 6), inputs()
        with torch.no_grad():
            layer.delay.view(-1)[:3] = torch.tensor([1.75, 0.0, 7.0]).double()
        for call in (lambda layer=layer, x=x: layer(x), layer.check_delays):
            with pytest.raises(
                ConfigError, match=r"2 of \d+ delays are shorter than min_delay_steps = 2.*is 0\).*clamp"
            ):
                call()
        with torch.no_grad():
            layer.delay.view(-1)[:2] = 2
        for call in (lambda layer=layer, x=x: layer(x), layer.check_delays):
            with pytest.raises(ConfigError, match=r"1 of \d+ delays lie outside 0\.\.6 steps \(from 2.* to 7\)"):
                call()
        with torch.no_grad():
            layer.delay.view(-1)[:2] = torch.tensor([-3.0, 1.99]).double()
        layer.clamp_delays_()
        layer.check_delays()
        assert layer.delay.view(-1)[:3].tolist() == [2.0, 2.0, 6.0]
        with torch.no_grad():
            layer.delay.view(-1)[4] = float("nan")
        with pytest.raises(ConfigError, match=r"1 of .* delays are NaN"):
            layer(x)


def test_one_step_of_window_leaves_nothing_to_learn() -> None:
    layer, x = linear(3, 3), poisson(STEPS, 2, 4)
    assert not layer.delay.requires_grad
    assert layer.delay.unique().tolist() == [3.0]
    assert layer.taps == "linear"
    want = torch.cat([x.new_zeros(3, 2, 5), x[:-3] @ layer.weight[..., 0].T])
    torch.testing.assert_close(layer(x)[0], want, rtol=1e-13, atol=1e-14)


def test_it_is_shown() -> None:
    assert "max_delay_steps=6, min_delay_steps=2, sharing" in str(linear())
    assert "max_delay_steps=6, min_delay_steps=2, sharing" in str(conv())


@pytest.mark.parametrize("make", [linear, conv])
def test_windows_that_cannot_be(make) -> None:
    with pytest.raises(ConfigError, match=r"min_delay_steps \(7\) must not exceed max_delay_steps \(6\)"):
        make(7, 6)
    with pytest.raises(ConfigError, match="min_delay_steps must be at least 0, got -1"):
        make(-1, 6)


@pytest.mark.parametrize("kind", LAYERS)
def test_states_of_another_size_are_refused(kind: str) -> None:
    make, inputs = LAYERS[kind]
    layer: DelayedLayer = make()
    x = inputs()
    for history in (x[:4], x[:6, :1], x[:6][..., :2]):
        with pytest.raises(ShapeError, match=r"delay line's state has shape .* the input needs \(6, 2, .*state=None"):
            layer(x, DelayLineState(history))
