"""Time constants and thresholds of each neuron: trained around, evaluated, saved; refused by name where none can be."""

import copy
import math

import pytest
import torch

from snn_delays import use_backend
from snn_delays.discrete import discretize
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.errors import ConfigError, ExportError, ShapeError
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Dropout, LeakyIntegrator, Recurrent, Sequential
from tests.support.networks import poisson

STEPS, BATCH, N = 40, 3, 6
TAU, THRESHOLD = torch.linspace(1.0, 9.0, N), torch.linspace(0.4, 1.6, N)


def one_by_one(x: torch.Tensor, **options) -> torch.Tensor:
    """Each neuron by a layer of its own, with plain numbers."""
    parts = [
        LIF(float(tau), threshold=float(threshold), **options)(x[..., i : i + 1])[0]
        for i, (tau, threshold) in enumerate(zip(TAU, THRESHOLD))
    ]
    return torch.cat(parts, 2)


@pytest.mark.parametrize("backend", [None, "reference"])
@pytest.mark.parametrize("options", [{}, {"reset": "soft", "decay_input": True, "strict": True}])
def test_each_neuron_is_as_one_alone(backend: str | None, options: dict) -> None:
    x = (2 if options else 0.45) * poisson(STEPS, BATCH, N).float()
    with use_backend(backend):
        want = one_by_one(x, **options)
        layer = LIF(TAU, threshold=THRESHOLD, **options)
        whole, state = layer(x)
        first, middle = layer(x[:17])
        second, last = layer(x[17:], middle)
    assert 0.02 < want.mean() < 0.8
    assert torch.equal(whole, want)
    assert torch.equal(torch.cat([first, second]), want)
    assert torch.equal(last.v, state.v)
    assert not torch.equal(whole, LIF(float(TAU.mean()), threshold=1.0, **options)(x)[0])


def test_integrators_too() -> None:
    x = poisson(STEPS, BATCH, N).float()
    want = torch.cat([LeakyIntegrator(float(tau))(x[..., i : i + 1])[0] for i, tau in enumerate(TAU)], 2)
    assert torch.equal(LeakyIntegrator(TAU)(x)[0], want)


def test_maps_have_as_many_neurons_as_places() -> None:
    x = 2 * poisson(STEPS, BATCH, N).float()
    layer = LIF(TAU, threshold=THRESHOLD)
    assert torch.equal(layer(x.view(STEPS, BATCH, 1, 2, 3))[0].flatten(2), layer(x)[0])
    with pytest.raises(ShapeError, match=r"tau_steps has 6 numbers, one for each neuron, .* has 5 neurons"):
        layer(x[..., :5])


@pytest.mark.parametrize("training", [True, False])
def test_behind_norm_and_dropout_they_run_as_one_by_one(training: bool) -> None:
    """In training norm, neurons and dropout are one operation, whose kernel has one number for all."""
    x = poisson(STEPS, BATCH, N).float()
    network = Sequential(BatchNorm(N), LIF(TAU, threshold=THRESHOLD), Dropout(0.0)).train(training)
    current, _ = next(iter(copy.deepcopy(network)))(x)
    want = one_by_one(current)
    got, _ = network(x)
    assert 0.02 < want.mean() < 0.8
    assert (got != want).double().mean() < 0.002  # sums in another order


def test_they_learn_around_them_and_in_recurrence() -> None:
    synapse = DelayedLinear(N, N, max_delay_steps=3, min_delay_steps=1)
    layer = Recurrent(synapse, LIF(TAU, threshold=THRESHOLD))
    y, _ = layer(2 * poisson(STEPS, BATCH, N).float())
    y.sum().backward()
    assert 0.02 < y.mean() < 0.8
    assert synapse.weight.grad.abs().max() > 0


def test_constants_are_buffers_that_keep_their_precision() -> None:
    layer = LIF(TAU, threshold=THRESHOLD)
    assert set(layer.state_dict()) == {"tau_steps", "threshold"}
    assert LIF(2.0).state_dict() == {}
    for dtype in (torch.bfloat16, torch.float32, torch.float64):
        layer.to(dtype)
        assert torch.equal(layer.tau_steps, TAU.double())
    other = LIF(torch.ones(N), threshold=torch.ones(N))
    other.load_state_dict(layer.state_dict())
    x = 2 * poisson(STEPS, BATCH, N).float()
    assert torch.equal(other(x)[0], layer(x)[0])
    assert layer.to("meta").tau_steps.is_meta
    assert "tau_steps=[6 neurons], threshold=[6 neurons]" in repr(other)


def test_the_decay_follows_the_time_constant() -> None:
    layer = LIF(2.0)
    assert layer.decay == 0.5
    layer.tau_steps = 4.0
    assert layer.decay == 0.75
    x = poisson(STEPS, BATCH, N).float()
    assert torch.equal(layer(x)[0], LIF(4.0)(x)[0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LIF(torch.tensor([2.0, 0.5])), "tau must be at least one step, got 0.5"),
        (lambda: LIF(torch.tensor([2.0, math.nan])), "tau must be at least one step, got nan"),
        (lambda: LIF(2.0, threshold=torch.tensor([1.0, 0.0])), "must lie above v_reset"),
        (lambda: LIF(torch.ones(2, 3)), r"a tensor \[neuron\].*got a Tensor of shape \(2, 3\)"),
        (lambda: LIF(torch.ones(0)), "a tensor"),
        (lambda: LIF(torch.ones(3), threshold=torch.ones(4)), "different numbers of neurons"),
        (lambda: LIF(torch.nn.Parameter(TAU)), "tau_steps is a constant of the layer, the tensor given learns.*lif"),
        (lambda: LIF(TAU > 2), "a tensor"),
    ],
)
def test_constants_that_cannot_be(make, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_a_tensor_of_one_number_is_a_number() -> None:
    layer = LIF(torch.tensor(2.0), threshold=torch.tensor(1.5, dtype=torch.float64))
    assert (layer.tau_steps, layer.threshold, layer.state_dict()) == (2.0, 1.5, {})


def test_discretised_they_are_evaluated_and_not_exported() -> None:
    network = Sequential(
        s=DelayedLinear(N, N, max_delay_steps=4), n=LIF(TAU, threshold=THRESHOLD),
        o=DelayedLinear(N, 2, max_delay_steps=4), out=LeakyIntegrator(3.0),
    ).eval()  # fmt: skip
    with torch.no_grad():
        network.s.weight.mul_(3)
        for synapse in (network.s, network.o):
            synapse.delay.copy_(synapse.delay.round())
            synapse.set_sigma(1e-3)
    x = poisson(STEPS, BATCH, N).float()
    made = discretize(network)
    assert made(x)[0].abs().max() > 0
    torch.testing.assert_close(made(x)[0], network(x)[0], rtol=1e-4, atol=1e-4)
    for take in (
        lambda: canonical(made, dt_ms=1.0), lambda: StreamingEngine(made), lambda: discretize(network, target="loihi2"),
    ):  # fmt: skip
        with pytest.raises(ExportError, match="tau_steps is a tensor of 6 numbers, one for each neuron"):
            take()
