"""Weights on a grid in training: rounded forward, straight through backward, and exactly what discretize exports."""

import copy

import pytest
import torch
from torch import Tensor

from snn_delays.discrete import discretize
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import (
    LIF,
    DelayedConv2d,
    DelayedLinear,
    LeakyIntegrator,
    Recurrent,
    Sequential,
    layers_with_delays,
    quantize,
)
from snn_delays.nn.quantize import grid_of, quantize_weights

GRIDS = [(bits, scale) for bits in (2, 4, 16, "ternary") for scale in ("power_of_two", "free")]


def synapse(inputs: int = 6, outputs: int = 5, **options: object) -> DelayedLinear:
    arguments: dict = {"max_delay_steps": 4, "taps": "linear", "learn_delay": False, "delay_init": "uniform_rounded"}
    return DelayedLinear(inputs, outputs, **{**arguments, **options})


def spikes(steps: int = 30, batch: int = 3, inputs: int = 6, rate: float = 0.3) -> Tensor:
    return (torch.rand(steps, batch, inputs) < rate).float()


def network(*, recurrent: bool = False, bias: bool = True) -> Sequential:
    neurons = LIF(3.0)
    back = Recurrent(synapse(5, 5, min_delay_steps=1), neurons)
    made = Sequential(
        first=synapse(bias=bias),
        population=back if recurrent else neurons,
        last=synapse(5, 4),
        readout=LeakyIntegrator(3.0),
    )
    if bias:
        torch.nn.init.uniform_(made.first.bias, 0.05, 0.15)
    return made


def gridded(bits: int | str, scale: str, *, recurrent: bool = False) -> Sequential:
    made = network(recurrent=recurrent)
    beside = (made.population.synapse,) if recurrent else ()
    quantize_weights(made.first, *beside, bits=bits, scale=scale)
    quantize_weights(made.last, bits=bits, scale=scale)
    return made


@pytest.mark.parametrize(("bits", "scale"), GRIDS)
def test_the_weight_is_what_quantize_gives(bits: int | str, scale: str) -> None:
    layer = synapse()
    before = layer.weight
    codes, step = quantize(before.detach(), bits, scale)
    quantize_weights(layer, bits=bits, scale=scale)
    grid = grid_of(layer)
    assert grid is not None
    assert grid.step == pytest.approx(step, rel=1e-6)
    assert torch.equal(grid.codes, codes)
    assert torch.equal(layer.weight, codes * grid.step)
    assert not torch.equal(layer.weight, before)
    assert layer.parametrizations.weight.original is before  # an optimiser that holds it trains the layer


def test_gradients_pass_straight_through() -> None:
    """As if the rounded weights were the parameters: those of a plain layer that has them."""
    x, direction = spikes(), torch.randn(30, 3, 4)
    made = gridded(4, "power_of_two")
    plain = discretize(made).requires_grad_(True)
    assert 0.02 < record_rate(plain, x) < 0.6
    for net in (made, plain):
        (net(x)[0] * direction).sum().backward()
    for name in ("first", "last"):
        ours, theirs = getattr(made, name), getattr(plain, name)
        grad = ours.parametrizations.weight.original.grad
        assert float(grad.abs().max()) > 0
        assert torch.equal(grad, theirs.weight.grad)
    assert torch.equal(made.first.bias.grad, plain.first.bias.grad)
    assert made.first.delay.grad is None


def record_rate(net: Sequential, x: Tensor) -> float:
    current, _ = net.first(x)
    return float(net.population(current)[0].detach().mean())


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize(("bits", "scale"), GRIDS)
def test_discretize_gives_the_very_same_weights_and_outputs(bits: int | str, scale: str, recurrent: bool) -> None:
    made, x = gridded(bits, scale, recurrent=recurrent), spikes()
    if bits != "ternary" and bits > 2:  # fewer leave the population silent or restless
        assert 0.02 < record_rate(made, x) < 0.6
    for discrete in (discretize(made), discretize(made, weight_bits=bits)):
        theirs = layers_with_delays(discrete)
        for name, layer in layers_with_delays(made).items():
            assert grid_of(theirs[name]) is None
            assert torch.equal(theirs[name].weight, layer.weight), name
        assert torch.equal(discrete(x)[0], made(x)[0])
        assert all(layer.max_weight_error < 1e-7 for layer in discrete.report.layers)


def test_canary_a_weight_that_moved_to_another_code_is_seen() -> None:
    made, x = gridded(4, "power_of_two"), spikes()
    before = discretize(made)
    with torch.no_grad():
        made.first.parametrizations.weight.original[0].sub_(2 * grid_of(made.first).step)
    assert not torch.equal(before.first.weight, made.first.weight)
    assert not torch.equal(before(x)[0], made(x)[0])


def test_a_recurrent_population_has_one_step() -> None:
    made = network(recurrent=True)
    back = made.population.synapse
    with torch.no_grad():
        back.weight.mul_(10)
    quantize_weights(made.first, back, bits=4)
    steps = {grid_of(layer).step for layer in (made.first, back)}
    alone = quantize(made.first.parametrizations.weight.original.detach(), 4)[1]
    assert len(steps) == 1
    assert steps.pop() > 4 * alone
    assert float(grid_of(back).codes.abs().max()) > float(grid_of(made.first).codes.abs().max())


@pytest.mark.parametrize("bits", [4, "ternary"])
def test_the_step_follows_the_weights_of_either(bits: int | str) -> None:
    made = gridded(bits, "free", recurrent=True)
    back = made.population.synapse
    before = grid_of(made.first).step
    with torch.no_grad():
        back.parametrizations.weight.original.mul_(8)
    assert grid_of(made.first).step == grid_of(back).step > before


def test_recurrent_gradients_reach_the_weights_behind_the_grid() -> None:
    made, x = gridded(4, "power_of_two", recurrent=True), spikes()
    plain = discretize(made).requires_grad_(True)
    for net in (made, plain):
        net(x)[0].square().sum().backward()
    back = made.population.synapse.parametrizations.weight.original
    assert float(back.grad.abs().max()) > 0
    assert torch.equal(back.grad, plain.population.synapse.weight.grad)


def test_training_moves_the_codes() -> None:
    made, x = gridded("ternary", "power_of_two"), spikes()
    before = grid_of(made.last).codes
    optimiser = torch.optim.Adam(made.parameters(), lr=0.05)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = (made(x)[0] - 1).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.8 * losses[0]
    assert set(grid_of(made.last).codes.unique().tolist()) <= {-1.0, 0.0, 1.0}
    assert not torch.equal(grid_of(made.last).codes, before)


def test_a_copy_is_a_network_of_its_own() -> None:
    made, x = gridded(4, "free", recurrent=True), spikes()
    other = copy.deepcopy(made)
    with torch.no_grad():
        made.population.synapse.parametrizations.weight.original.mul_(8)
    assert not torch.equal(other.first.weight, made.first.weight)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other.first.weight, made.first.weight)
    assert torch.equal(other(x)[0], made(x)[0])


def test_moved_to_another_precision() -> None:
    made = gridded(4, "free", recurrent=True).double()
    assert made.first.weight.dtype == torch.float64
    assert grid_of(made.first).step == grid_of(made.population.synapse).step
    assert torch.equal(discretize(made).first.weight, made.first.weight)


def test_a_convolution_takes_a_grid() -> None:
    layer = DelayedConv2d(2, 3, 3, max_delay_steps=3, taps="linear", learn_delay=False, delay_init="uniform_rounded")
    quantize_weights(layer, bits=4)
    x = (torch.rand(6, 2, 2, 6, 6) < 0.3).float()
    assert torch.equal(discretize(layer)(x)[0], layer(x)[0])
    assert bool((layer(x)[0] != 0).any())


def test_weights_that_are_not_finite_pass_through() -> None:
    layer = synapse()
    quantize_weights(layer, bits=4)
    with torch.no_grad():
        layer.parametrizations.weight.original[0, 0, 0] = torch.inf
    assert not bool(torch.isfinite(layer.weight).all())


def test_bad_input() -> None:
    layer = synapse()
    with pytest.raises(ConfigError, match=r"weight_bits must lie in 2..16 or be 'ternary', got 1"):
        quantize_weights(layer, bits=1)
    with pytest.raises(ConfigError, match="one of power_of_two, free; got 'log'"):
        quantize_weights(layer, bits=4, scale="log")
    assert grid_of(layer) is None
    quantize_weights(layer, bits=4)
    other = synapse()
    with pytest.raises(ConfigError, match="on a grid already"):
        quantize_weights(other, layer, bits=8)
    assert grid_of(other) is None


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("bits", [4, "ternary"])
def test_weights_that_are_no_numbers_have_no_codes(bits: int | str, bad: float) -> None:
    weight = torch.randn(3, 4)
    weight[1, 2] = bad
    with pytest.raises(ConfigError, match="1 of 12 weights are not finite"):
        quantize(weight, bits)


@pytest.mark.parametrize("weight", [torch.ones(3, dtype=torch.int64), [1.0], None])
def test_what_are_no_weights_is_refused(weight) -> None:
    with pytest.raises(ShapeError, match="weights must be a tensor of floating-point numbers"):
        quantize(weight, 8)
