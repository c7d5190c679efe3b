"""The discrete network: idempotent, honest about what was lost, equal where nothing was."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.errors import ConfigError, ExportError
from snn_delays.nn import (
    LIF,
    BatchNorm,
    DelayedLinear,
    Dropout,
    LeakyIntegrator,
    Sequential,
    SpikingModule,
    layers_of,
    record,
)
from tests.support.networks import assert_active, poisson, warmed_classifier

SEEDS = st.integers(0, 50)


def synapses(network: Sequential) -> list[DelayedLinear]:
    return [layer for _, layer in layers_of(network) if isinstance(layer, DelayedLinear)]


def assert_equal_networks(a: Sequential, b: Sequential) -> None:
    ours, theirs = a.state_dict(), b.state_dict()
    assert list(ours) == list(theirs)
    for name in ours:
        assert torch.equal(ours[name], theirs[name]), name


@pytest.mark.parametrize("weight_bits", [None, 4, 8])
@given(seed=SEEDS, sharing=st.sampled_from(["synapse", "axon", "dendrite"]), count=st.integers(1, 2))
def test_idempotent_and_the_second_time_lossless(weight_bits: int | None, seed: int, sharing: str, count: int) -> None:
    network = warmed_classifier(seed, sharing=sharing, delay_count=count)
    once = discretize(network, weight_bits=weight_bits)
    twice = discretize(once, weight_bits=weight_bits)
    assert_equal_networks(once, twice)
    assert not once.report.lossless
    assert twice.report.lossless
    assert "nothing lost" in str(twice.report)
    x = poisson(30, 3, 6, seed=seed)
    if weight_bits != 4:  # so coarse that a small network may fall silent
        assert_active(once, x)
    assert torch.equal(once(x)[0], twice(x)[0])


@settings(max_examples=6)
@given(seed=SEEDS)
def test_integer_delays_and_single_taps_survive_folding_unchanged(seed: int) -> None:
    network = warmed_classifier(seed, learn_delay=False, dropout=0.3)
    discrete = discretize(network)
    x = poisson(40, 4, 6, seed=seed)
    assert_active(network, x)
    assert discrete.report.lossless
    assert [layer.norm_folded for layer in discrete.report.layers] == [True, True, False]
    before, after = record(network, x), record(discrete, x)
    for name in ("hidden1.neuron", "hidden2.neuron"):
        assert torch.equal(before[name], after[name])
    torch.testing.assert_close(after["readout.integrator"], before["readout.integrator"], rtol=1e-10, atol=1e-11)


def test_folding_keeps_a_bias() -> None:
    network = Sequential(DelayedLinear(6, 5, max_delay_steps=3, taps="linear", bias=True), BatchNorm(5)).double()
    with torch.no_grad():
        synapse, norm = network
        for tensor in (synapse.bias, norm.weight, norm.bias, norm.running_mean, norm.running_var):
            tensor.add_(0.25 * torch.rand_like(tensor))
        synapse.delay.copy_(synapse.delay.round())
    x = poisson(20, 2, 6)
    torch.testing.assert_close(discretize(network)(x)[0], network.eval()(x)[0], rtol=1e-12, atol=1e-12)


def test_delays_are_the_nearest_steps_in_the_window_halves_to_even() -> None:
    layer = DelayedLinear(6, 1, max_delay_steps=4).double()
    with torch.no_grad():
        layer.delay.copy_(torch.tensor([[0.5, 1.5, 2.5, 3.4999, 4.3, -0.7]])[..., None])
    discrete = discretize(Sequential(layer))
    (made,) = synapses(discrete)
    assert made.delay.flatten().tolist() == [0, 2, 2, 3, 4, 0]
    assert made.taps == "linear"
    (report,) = discrete.report.layers
    assert report.delays_rounded == 6
    assert report.delays_clamped == 1
    assert report.max_rounding_steps == pytest.approx(0.5)
    assert report.sigma_steps == 2.0
    assert "6 delays rounded" in str(report)
    assert "1 delays brought back into the window" in str(report)
    assert "gaussian taps of sigma 2 replaced by one tap" in str(report)


@given(seed=SEEDS, bits=st.integers(2, 16))
def test_weights_lie_on_the_grid_and_the_report_knows_the_error(seed: int, bits: int) -> None:
    network = warmed_classifier(seed)
    plain, discrete = discretize(network), discretize(network, weight_bits=bits)
    for before, after, report in zip(synapses(plain), synapses(discrete), discrete.report.layers):
        whole = after.weight / report.weight_step
        assert torch.equal(whole, whole.round())
        assert whole.abs().max() <= 2 ** (bits - 1) - 1
        assert float(torch.tensor(report.weight_step).log2()).is_integer()
        error = float((after.weight - before.weight).abs().max())
        assert report.max_weight_error == error <= report.weight_step / 2
        # The smallest power of two that fits: with half the step the largest weight would not.
        assert float(before.weight.abs().max()) > report.weight_step / 2 * (2 ** (bits - 1) - 1)


def test_more_bits_lose_less() -> None:
    network = warmed_classifier(0)
    errors = [
        max(layer.max_weight_error for layer in discretize(network, weight_bits=bits).report.layers)
        for bits in (2, 4, 8, 16)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < 1e-3


def test_all_zero_weights_stay_zero() -> None:
    layer = DelayedLinear(3, 2, max_delay_steps=2)
    torch.nn.init.zeros_(layer.weight)
    discrete = discretize(Sequential(layer), weight_bits=4)
    assert not synapses(discrete)[0].weight.any()
    assert discrete.report.layers[0].weights_zeroed == 0


def test_the_network_given_stays_as_it_was() -> None:
    network = warmed_classifier(1).train()
    before = copy.deepcopy(network.state_dict())
    discrete = discretize(network, weight_bits=4)
    assert network.training
    for name, tensor in network.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert isinstance(discrete, DiscreteNetwork)
    assert not discrete.training
    assert not any(parameter.requires_grad for parameter in discrete.parameters())
    theirs = {p.data_ptr() for p in network.parameters()}
    assert not theirs & {p.data_ptr() for p in discrete.parameters()}
    assert [name for name, _ in layers_of(discrete)] == [
        "hidden1.synapse", "hidden1.neuron", "hidden2.synapse", "hidden2.neuron",
        "readout.synapse", "readout.integrator",
    ]  # fmt: skip


def test_a_discrete_network_computes_the_same_moved_to_float32_and_back() -> None:
    network = discretize(warmed_classifier(3), weight_bits=8)
    x = poisson(20, 2, 6)
    want = network(x)[0]
    assert_active(network, x)
    torch.testing.assert_close(copy.deepcopy(network).float()(x.float())[0].double(), want, rtol=1e-4, atol=1e-4)


class _Own(SpikingModule):
    def forward(self, x, state=None):
        return x, None


def _poisoned(name: str, value: float) -> Sequential:
    network = warmed_classifier(0)
    with torch.no_grad():
        dict([*network.named_parameters(), *network.named_buffers()])[name].flatten()[1] = value
    return network


NAN = float("nan")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: _poisoned("hidden1.synapse.weight", NAN), r"hidden1.synapse.weight: 1 of 54 values are not finite"),
        (lambda: _poisoned("hidden2.synapse.delay", NAN), r"hidden2.synapse.delay: 1 of 63"),
        (lambda: _poisoned("readout.synapse.weight", float("inf")), r"readout.synapse.weight: 1 of 28"),
        (lambda: _poisoned("hidden1.norm.running_var", NAN), "the norm after hidden1.synapse has values that are not"),
        (lambda: _poisoned("hidden1.norm.bias", NAN), "the norm after hidden1.synapse"),
        (lambda: Sequential(own=_Own()), r"layer 'own' \(_Own\) has no discrete form"),
        (lambda: Sequential(LIF(2.0), BatchNorm(3)), r"layer '1' \(BatchNorm\) follows no synapse"),
        (
            lambda: Sequential(DelayedLinear(3, 3, max_delay_steps=1), Dropout(0.1), BatchNorm(3)),
            "follows no synapse it could be folded into",
        ),
        (
            lambda: Sequential(DelayedLinear(3, 3, max_delay_steps=1), BatchNorm(3), BatchNorm(3)),
            "layer '2' .BatchNorm. follows no synapse",
        ),
    ],
)
def test_refusals(make, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        discretize(make())


@pytest.mark.parametrize("bits", [0, 1, 17, -4])
def test_impossible_bits(bits: int) -> None:
    with pytest.raises(ConfigError, match=rf"weight_bits must lie in 2\.\.16 or be .ternary., got {bits}"):
        discretize(Sequential(LeakyIntegrator(2.0)), weight_bits=bits)


def test_a_network_without_delays_loses_nothing() -> None:
    network = warmed_classifier(0, max_delay_steps=0, sigma_steps=None)
    discrete = discretize(network)
    x = poisson(30, 2, 6)
    assert_active(network, x)
    before, after = record(network, x), record(discrete, x)
    for name in ("hidden1.neuron", "hidden2.neuron"):
        assert torch.equal(before[name], after[name])
    # The gaussian's one tap is 1 / (1 + 1e-7), DCLS's normaliser.
    torch.testing.assert_close(discrete(x)[0], network(x)[0], rtol=1e-6, atol=1e-6)
