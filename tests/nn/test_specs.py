"""Specs of delays and neurons: fields of a recipe, arguments of layers and networks."""

import inspect
from dataclasses import fields
from typing import Any, get_type_hints

import pytest
import torch

from snn_delays import DelayClassifier, DelayedConv2d, DelayedLinear, DelaySpec, NeuronSpec
from snn_delays.errors import ConfigError
from snn_delays.models import ConvolutionalClassifier
from snn_delays.nn import LIF
from snn_delays.nn.specs import DelayOptions, NetworkOptions
from snn_delays.ops import ATan

DELAYS = DelaySpec(6, min_delay_steps=1, sharing="axon", taps="triangle", sigma_steps=1.5, delay_init="uniform_rounded")
NEURONS = NeuronSpec(1.5, threshold=0.9, reset="soft", surrogate=ATan(3.0))


def alike(a: torch.nn.Module, b: torch.nn.Module) -> None:
    assert repr(a) == repr(b)
    for name, value in a.state_dict().items():
        assert torch.equal(value, b.state_dict()[name]), name


def made(kind: type, *arguments: Any, **options: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    return kind(*arguments, **options)


@pytest.mark.parametrize(("kind", "sizes"), [(DelayedLinear, (5, 4)), (DelayedConv2d, (2, 3, 3))])
def test_a_spec_is_its_fields_by_keyword(kind: type, sizes: tuple[int, ...]) -> None:
    alike(made(kind, *sizes, DELAYS), made(kind, *sizes, **vars(DELAYS)))
    changed = made(kind, *sizes, DELAYS, taps="gaussian", sharing="dendrite")
    assert (changed.taps, changed.sharing, changed.sigma.item()) == ("gaussian", "dendrite", 1.5)


@pytest.mark.parametrize(
    ("kind", "sizes"), [(DelayClassifier, (5, (4, 3), 2)), (ConvolutionalClassifier, ((2, 9, 9), (3,), (4,), 2))]
)
def test_networks_take_specs_or_their_fields(kind: type, sizes: tuple) -> None:
    by_spec = made(kind, *sizes, DELAYS, NEURONS, dropout=0.1)
    alike(by_spec, made(kind, *sizes, **vars(DELAYS), **vars(NEURONS), dropout=0.1))
    neurons = [layer for layer in by_spec.modules() if isinstance(layer, LIF)]
    assert all(layer.surrogate == ATan(3.0) and layer.reset == "soft" for layer in neurons)
    assert made(kind, *sizes, DELAYS, NEURONS, threshold=2.0).hidden1.neuron.threshold == 2.0


def test_options_of_a_network_are_the_fields_of_its_specs() -> None:
    delays, neurons = get_type_hints(DelaySpec), get_type_hints(NeuronSpec)
    assert get_type_hints(DelayOptions) == delays
    assert get_type_hints(NetworkOptions) == {**delays, **neurons}
    of_lif = inspect.signature(LIF).parameters
    assert [field.name for field in fields(NeuronSpec)] == [n for n in of_lif if n not in ("device", "dtype")]


def test_what_a_spec_refuses() -> None:
    with pytest.raises(ConfigError, match=r"min_delay_steps \(5\) must not exceed max_delay_steps \(4\)"):
        DelaySpec(4, min_delay_steps=5)
    with pytest.raises(ConfigError, match="taps must be one of"):
        DelaySpec(4, taps="square")
    with pytest.raises(ConfigError, match="max_delay_steps must be an integer"):
        DelaySpec(4.5)  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match="sharing must be one of synapse, axon, dendrite, layer, hybrid; got 'channel'"
    ):
        DelayedLinear(3, 2, DelaySpec(4, sharing="channel"))
    with pytest.raises(ConfigError, match="delay_count = 1, got 2"):
        DelayedConv2d(3, 2, 3, DelaySpec(4, delay_count=2))
    with pytest.raises(TypeError, match="unexpected argument 'max_delay'; did you mean 'max_delay_steps'"):
        DelayedLinear(3, 2, max_delay=4)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="expected a DelaySpec, got 4"):
        DelayedLinear(3, 2, 4)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="tau_steps must be a number"):
        NeuronSpec(tau_steps="2")  # type: ignore[arg-type]


def test_layers_are_made_on_a_device_and_in_a_dtype() -> None:
    network = DelayClassifier(
        5, (4,), 2, DELAYS, NEURONS, recurrent=True, device="meta", dtype=torch.float64
    )  # fmt: skip
    tensors = [*network.parameters(), *network.buffers()]
    assert {(tensor.device.type, tensor.dtype) for tensor in tensors} == {("meta", torch.float64)}
