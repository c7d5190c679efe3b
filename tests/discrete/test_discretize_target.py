"""Discretised for a target: its delays, its bits, its integers; and an error for what it cannot hold."""

from typing import Any

import numpy as np
import pytest
import torch

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.discrete.conversion import canonical
from snn_delays.errors import ConfigError, ExportError
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.trace import make_trace
from snn_delays.nn import LIF, DelayedLinear, LeakyIntegrator, Recurrent, Sequential, layers_of, record
from snn_delays.nn.neuron import FixedPointIntegrator, FixedPointLIF
from snn_delays.nn.quantize import quantize
from tests.support.networks import assert_active, poisson, warmed_classifier


def synapses(network: Sequential) -> list[DelayedLinear]:
    return [layer for _, layer in layers_of(network) if isinstance(layer, DelayedLinear)]


def spikes(network: Sequential, x: torch.Tensor) -> dict[str, torch.Tensor]:
    with torch.no_grad():
        return {name: out for name, out in record(network, x).items() if name.endswith("neuron")}


def integer_network(**neuron: Any) -> Sequential:
    """Weights that are integer codes of 8 bits already, integer delays."""
    torch.manual_seed(5)
    made = Sequential(
        hidden=Sequential(
            synapse=DelayedLinear(12, 20, max_delay_steps=7, taps="linear", delay_init="uniform_rounded"),
            neuron=LIF(neuron.pop("tau_steps", 1.0), threshold=1.0, **neuron),
        ),
        readout=Sequential(
            synapse=DelayedLinear(20, 4, max_delay_steps=7, taps="linear", delay_init="uniform_rounded"),
            integrator=LeakyIntegrator(2.0),
        ),
    ).double()
    with torch.no_grad():
        for layer in synapses(made):
            layer.weight.copy_((torch.randn(layer.weight.shape) * 20 + 6).round().clamp(-127, 127) / 64)
            layer.weight[0, 0, 0] = 127 / 64
    return made.eval()


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("target", ["loihi2", "generic"])
def test_integers_decide_as_the_network_did_where_nothing_is_lost(target: str, strict: bool) -> None:
    network = integer_network(strict=strict)  # no memory, so membranes are integer codes, ties with the threshold too
    x = poisson(120, 3, 12, rate=0.1).double()
    before, ties = spikes(network, x), record(network, x)["hidden.synapse"] == 1.0
    assert_active(network, x)
    assert ties.any(), "the test needs membranes that meet the threshold"
    whole = discretize(network, target=target)
    after = spikes(whole, x.to(next(whole.parameters()).dtype))
    assert torch.equal(before["hidden.neuron"], after["hidden.neuron"].double())


def test_a_threshold_beside_the_right_one_decides_otherwise() -> None:
    """The canary of the test above."""
    network = integer_network()
    x = poisson(120, 3, 12, rate=0.1).double()
    whole = discretize(network, target="loihi2")
    neuron = whole.get_submodule("hidden.neuron")
    assert isinstance(neuron, FixedPointLIF)
    neuron.numbers = FixedPoint(**{**vars(neuron.numbers), "threshold": neuron.numbers.threshold + 128})
    after = spikes(whole, x.to(next(whole.parameters()).dtype))
    assert not torch.equal(spikes(network, x)["hidden.neuron"], after["hidden.neuron"].double())


@pytest.mark.parametrize("bits", [8, 4, "ternary"])
@pytest.mark.parametrize("options", [{}, {"sharing": "axon"}, {"reset": "soft"}])
def test_the_integer_twin_is_the_evaluated_network(bits: int | str, options: dict[str, Any]) -> None:
    network = warmed_classifier(3, **options)
    whole = discretize(network, target="generic", weight_bits=bits)
    x = poisson(60, 3, 6, seed=3)
    form = canonical(whole, dt_ms=1.0)
    trace = make_trace(form, x.numpy())
    got = record(whole, x.to(next(whole.parameters()).dtype))
    for population in form.populations:
        if population.fires:
            assert np.array_equal(got[f"{population.name}.neuron"].numpy(), trace.outputs[population.name])
            assert 0.02 < trace.outputs[population.name].mean() < 0.6
    readout = form.populations[-1]
    np.testing.assert_allclose(
        got["readout.integrator"].numpy(), trace.outputs["readout"] * readout.arithmetic.scale, rtol=1e-5
    )
    limit = 1 if bits == "ternary" else 2 ** (int(bits) - 1) - 1
    for layer in synapses(whole):
        assert torch.equal(layer.weight, layer.weight.round())
        assert float(layer.weight.abs().max()) == limit


def test_recurrent_weights_share_the_step_of_those_onto_the_same_neurons() -> None:
    torch.manual_seed(0)
    recurrent = DelayedLinear(10, 10, max_delay_steps=6, min_delay_steps=1, taps="linear", delay_init="uniform_rounded")
    network = Sequential(
        hidden=Sequential(
            synapse=DelayedLinear(8, 10, max_delay_steps=6, taps="linear", delay_init="uniform_rounded"),
            neuron=Recurrent(recurrent, LIF(2.0)),
        ),
        readout=Sequential(synapse=DelayedLinear(10, 3, max_delay_steps=0), integrator=LeakyIntegrator(2.0)),
    ).eval()
    with torch.no_grad():
        recurrent.weight.mul_(0.1)
    grid = discretize(network, weight_bits=8)
    steps = {layer.name: layer.weight_step for layer in grid.report.layers}
    assert steps["hidden.synapse"] == steps["hidden.neuron.synapse"]
    whole = discretize(network, target="loihi2")
    x = poisson(60, 2, 8, rate=0.2)
    trace = make_trace(canonical(whole, dt_ms=1.0), x.numpy())
    got = spikes(whole, x.to(next(whole.parameters()).dtype))["hidden.neuron"].numpy()
    assert np.array_equal(got, trace.outputs["hidden"])
    assert 0.02 < got.mean() < 0.6


def test_delays_beyond_the_target_are_an_error_that_counts_them_unless_clamped() -> None:
    network = warmed_classifier(0, max_delay_steps=12)
    over = int((discretize(network).get_submodule("hidden1.synapse").delay > 7).sum())
    assert over
    with pytest.raises(ExportError, match=rf"hidden1.synapse: {over} of \d+ synapses have delays above 7 .*--clamp"):
        discretize(network, max_delay_steps=7)
    clamped = discretize(network, max_delay_steps=7, clamp=True)
    assert max(float(layer.delay.max()) for layer in synapses(clamped)) == 7
    assert clamped.report.layers[0].delays_over_limit == over
    assert f"{over} synapses' delays clamped to 7, as requested" in str(clamped.report)
    assert not clamped.report.lossless


@pytest.mark.parametrize(
    ("options", "requested", "message"),
    [
        ({"reset": "soft"}, {"target": "loihi2"}, "soft"),
        ({"max_delay_steps": 70, "sigma_steps": None}, {"target": "loihi2"}, "above 62"),
        ({}, {"target": "loihi2", "weight_bits": 9}, "has weights of 2, 3, 4, 5, 6, 7, 8 bits, not 9"),
        ({}, {"target": "dynap-se2"}, "analog"),
        ({}, {"max_delay_steps": -1}, ">= 0"),
    ],
)
def test_what_a_target_cannot_hold_is_one_clear_error(options: Any, requested: Any, message: str) -> None:
    with pytest.raises(ExportError, match=message):
        discretize(warmed_classifier(0, **options), **requested)


def test_unknown_targets_bits_and_scales() -> None:
    network = warmed_classifier(0)
    with pytest.raises(ConfigError, match="there is no profile 'loihi3'; did you mean"):
        discretize(network, target="loihi3")
    with pytest.raises(ConfigError, match="weight_bits must lie in"):
        discretize(network, weight_bits="binary")
    with pytest.raises(ConfigError, match="scale of weights must be one of"):
        discretize(network, weight_bits=8, scale="any")


def test_integer_networks_stay_as_they_are_and_are_not_discretised_twice() -> None:
    whole = discretize(warmed_classifier(0), target="generic")
    again = discretize(whole)
    assert isinstance(again, DiscreteNetwork)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    with pytest.raises(ExportError, match="in integers already"):
        discretize(whole, target="loihi2")


def test_real_keeps_real_numbers_within_the_targets_delays_and_bits() -> None:
    made = discretize(warmed_classifier(0), target="loihi2", real=True)
    assert all(not isinstance(layer, FixedPointLIF | FixedPointIntegrator) for _, layer in layers_of(made))
    assert all(layer.weight_bits == 8 for layer in made.report.layers)


def test_a_threshold_too_large_for_the_target_says_which_way_to_go() -> None:
    network = integer_network()
    with torch.no_grad():
        for layer in synapses(network):
            layer.weight.mul_(1e-6)
    with pytest.raises(ExportError, match=r"threshold 1 is \d+ units of loihi2, which has 1\.\.131071: .* too small"):
        discretize(network, target="loihi2")


def test_a_bias_on_a_grid_of_the_target() -> None:
    made = discretize(warmed_classifier(0), target="loihi2")
    neuron = made.get_submodule("hidden1.neuron")
    assert isinstance(neuron, FixedPointLIF)
    assert torch.equal(neuron.bias, neuron.bias.round())
    exponent = next(e for e in range(8) if float(neuron.bias.abs().max()) / 2**e <= 4095)
    assert torch.equal(neuron.bias, (neuron.bias / 2**exponent).round() * 2**exponent)


def test_codes_are_the_nearest_and_steps_the_smallest_that_hold_them() -> None:
    weight = torch.tensor([0.3, -1.0, 0.45, 0.05])
    codes, step = quantize(weight, 4)
    assert step == 0.25
    assert codes.tolist() == [1, -4, 2, 0]
    codes, step = quantize(weight, 4, "free")
    assert step == pytest.approx(1 / 7)
    assert codes.tolist() == [2, -7, 3, 0]
    codes, step = quantize(weight, "ternary", "free")
    assert codes.tolist() == [0, -1, 1, 0]
    assert step == pytest.approx(0.725)
    assert quantize(torch.zeros(3), 8) == (pytest.approx(torch.zeros(3)), 1.0)


@pytest.mark.parametrize("strict", [False, True])
def test_a_threshold_between_codes_decides_as_it_did(strict: bool) -> None:
    network = integer_network(strict=strict)
    x = poisson(120, 3, 12, rate=0.1).double()
    neuron = network.get_submodule("hidden.neuron")
    for threshold in (0.995, 1.0, 1.005):  # codes are multiples of 1/64
        neuron.threshold = threshold
        whole = discretize(network, target="generic")
        after = spikes(whole, x.to(next(whole.parameters()).dtype))["hidden.neuron"]
        assert torch.equal(spikes(network, x)["hidden.neuron"], after.double())


def test_leaks_that_are_cut_to_integer_units_are_a_loss() -> None:
    report = discretize(integer_network(tau_steps=2.0), target="generic").report
    assert not report.lossless
    assert "leaks are cut to whole units" in str(report)
    assert discretize(integer_network(), target="generic").report.layers[0].lossless


def test_a_limit_below_the_shortest_delay_is_kept_too() -> None:
    network = Sequential(DelayedLinear(6, 5, min_delay_steps=5, max_delay_steps=9), LIF(2.0))
    with pytest.raises(ExportError, match="30 of 30 synapses have delays above 3 steps"):
        discretize(network, max_delay_steps=3)
    clamped = discretize(network, max_delay_steps=3, clamp=True)
    assert (synapses(clamped)[0].delay == 3).all()
    recurrent = DelayedLinear(5, 5, min_delay_steps=1, max_delay_steps=9)
    looped = Sequential(DelayedLinear(6, 5, max_delay_steps=9), Recurrent(recurrent, LIF(2.0)))
    none = discretize(looped, max_delay_steps=0, clamp=True)
    assert (none.get_submodule("1.synapse").delay == 1).all(), "a recurrent delay is never below 1"
    assert (none.get_submodule("0").delay == 0).all()


def test_silent_synapses_have_no_delay_to_be_over_a_limit() -> None:
    network = Sequential(DelayedLinear(6, 5, max_delay_steps=9), LIF(2.0))
    with torch.no_grad():
        synapses(network)[0].weight.zero_()
    assert discretize(network, max_delay_steps=3).report.layers[0].delays_over_limit == 0


def test_options_that_would_be_ignored_are_refused() -> None:
    whole = discretize(warmed_classifier(0), target="generic")
    for options in ({"max_delay_steps": 2}, {"scale": "free"}):
        with pytest.raises(ExportError, match="in integers already"):
            discretize(whole, **options)
    with pytest.raises(ExportError, match=r"max_delay_steps must be an integer >= 0, got 2\.5"):
        discretize(warmed_classifier(0), max_delay_steps=2.5, clamp=True)  # type: ignore[arg-type]


def test_currents_that_overflow_are_an_error_in_evaluation_too() -> None:
    whole = discretize(warmed_classifier(0), target="loihi2")
    with pytest.raises(ExportError, match="overflows 24 bits"):
        whole(torch.full((3, 1, 6), 5e4, dtype=next(whole.parameters()).dtype))


def test_an_infinite_threshold_has_no_integer() -> None:
    network = integer_network()
    network.get_submodule("hidden.neuron").threshold = float("inf")
    with pytest.raises(ExportError, match="need a finite one"):
        discretize(network, target="generic")
