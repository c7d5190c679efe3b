"""Networks of other neurons than LIF: made by a spec, trained, discretised, evaluated; exports refuse them by name."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch

from snn_delays import DelayClassifier, use_backend
from snn_delays.discrete import discretize
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.errors import ConfigError, ExportError
from snn_delays.models import ConvolutionalClassifier
from snn_delays.nn import LIF, CellSpec, NeuronSpec, population
from snn_delays.nn.population import KINDS, LIKE_LIF
from snn_delays.ops import ATan, Boxcar, Exponential
from tests.support.networks import poisson

OPTIONS: dict[str, dict[str, Any]] = {"cuba_lif": {"tau_syn_steps": 2.0, "learn_tau": True}}
pytestmark = pytest.mark.usefixtures("plain")
REFUSED = [kind for kind in KINDS if kind not in LIKE_LIF]


@pytest.fixture
def plain() -> Iterator[None]:
    """Kernels are compared in tests/ops; here they need not be compiled."""
    with use_backend(cells="reference"):
        yield


def network(kind: str, **fields: Any) -> DelayClassifier:
    torch.manual_seed(0)
    spec = CellSpec(3.0, kind=kind, options=OPTIONS.get(kind, {}), **fields)
    made = DelayClassifier(8, (7, 6), 3, neurons=spec, max_delay_steps=5, sigma_steps=0.5)
    gain = {"brf": 100.0, "se_adlif": 20.0, "ef_adlif": 20.0, "silif": 6.0}.get(kind, 2.0)
    with torch.no_grad():
        for layer in (made.hidden1, made.hidden2):
            layer.norm.weight.fill_(gain)
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_networks_are_made_trained_and_discretised(kind: str) -> None:
    made, x = network(kind), poisson(30, 4, 8).float()
    assert type(made.hidden1.neuron) is KINDS[kind]
    y, _ = made(x)
    y.square().mean().backward()
    for name, parameter in made.named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name
    made.eval()
    with torch.no_grad():
        for synapse in (made.hidden1.synapse, made.hidden2.synapse, made.readout.synapse):
            synapse.delay.copy_(synapse.delay.round())
            synapse.set_sigma(1e-3)
        discrete = discretize(made)
        spikes, _ = made.hidden2(made.hidden1(x)[0])
        assert 0.01 < spikes.mean() < 0.8
        torch.testing.assert_close(discrete(x)[0], made(x)[0], rtol=1e-4, atol=1e-4)
    assert not list(discrete.hidden1.neuron.parameters()) or kind not in LIKE_LIF


def test_plif_is_exported_as_the_lif_that_it_has_become() -> None:
    made = network("plif", decay_input=True).eval()
    with torch.no_grad():
        made.hidden1.neuron.tau_steps_w.fill_(-1.5)
    discrete = discretize(made)
    assert type(discrete.hidden1.neuron) is LIF
    first = canonical(discrete, dt_ms=1.0).populations[0].arithmetic
    assert first.tau_steps == pytest.approx(float(1 + torch.tensor(1.5).exp()), rel=1e-6)
    assert first.tau_steps == discrete.hidden1.neuron.tau_steps
    StreamingEngine(discrete)
    each = discretize(network("plif", per_neuron=True).eval())
    with pytest.raises(ExportError, match=r"hidden1\.neuron\.tau_steps is a tensor of 7 numbers"):
        canonical(each, dt_ms=1.0)


@pytest.mark.parametrize("kind", REFUSED)
def test_what_no_format_has_is_refused_by_name(kind: str) -> None:
    discrete = discretize(network(kind).eval())
    name = KINDS[kind].__name__
    for take in (lambda: canonical(discrete, dt_ms=1.0), lambda: StreamingEngine(discrete)):
        with pytest.raises(ExportError, match=f"hidden1.neuron.*{name}"):
            take()
    with pytest.raises(ExportError, match=f"hidden1.synapse.*{name}"):
        discretize(network(kind).eval(), target="loihi2")


def test_specs_say_what_their_neurons_get() -> None:
    assert type(population(NeuronSpec(2.0, threshold=0.8), 5)) is LIF
    cell: Any = population(CellSpec(kind="c_adlif", threshold=0.8, options={"random_state": True}), 5)
    assert (cell.size, cell.threshold, cell.random_state, cell.detach_reset) == (5, 0.8, True, False)
    assert cell.surrogate == Boxcar(0.5)
    cell = population(CellSpec(kind="se_adlif", surrogate=ATan(3.0), detach_reset=False), 5, dtype=torch.float64)
    assert (cell.surrogate, cell.detach_reset, cell.a.dtype) == (ATan(3.0), False, torch.float64)
    assert population(CellSpec(kind="se_adlif"), 5).surrogate == Exponential(5.0, 0.4)
    plif: Any = population(CellSpec(4.0, kind="plif", per_neuron=True, options={"learn_threshold": True}), 5)
    assert plif.tau_steps_w.shape == plif.threshold.shape == (5,)
    assert population(CellSpec(4.0, kind="plif"), 5).tau_steps_w.shape == ()
    assert population(CellSpec(kind="brf"), 5, device="meta").omega.is_meta


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: CellSpec(kind="se_adliv"), "kind must be one of"),
        (lambda: CellSpec(kind="silif", reset="soft"), "reset = 'soft' is not read by neurons of kind 'silif'"),
        (lambda: CellSpec(kind="brf", per_neuron=True), "per_neuron = True is not read by neurons of kind 'brf'"),
        (lambda: CellSpec(kind="brf", options={"omegas": (1, 2)}), "brf has no option 'omegas'; did you mean 'omega'"),
        (lambda: CellSpec(kind="plif", options={"tau_steps": 3.0}), "plif has no option 'tau_steps'"),
        (
            lambda: ConvolutionalClassifier((1, 6, 6), (2,), (), 2, neurons=CellSpec(kind="silif"), max_delay_steps=2),
            "silif neurons with parameters of their own need populations of known size",
        ),
    ],
)
def test_what_cannot_be(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
