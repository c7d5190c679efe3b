"""Networks that exercise every case of the NIR export."""

from itertools import pairwise
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from snn_delays.export import DiscreteNetwork, discretize
from snn_delays.export.nir_interpreter import interpret
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, LeakyIntegrator, Sequential, layers_of, record

INPUTS, HIDDEN, CLASSES, STEPS, DT_MS = 14, (20, 16), 5, 150, 2.5

CASES: dict[str, dict[str, Any]] = {
    "synapse": {},
    "axon": {"sharing": "axon"},
    "dendrite": {"sharing": "dendrite"},
    "two synapses a pair": {"delay_count": 2, "max_delay_steps": 3},
    "two delays an axon": {"sharing": "axon", "delay_count": 2},
    "no delays": {"max_delay_steps": 0},
    "decay_input": {"decay_input": True},
    "decay_input, v_reset": {"decay_input": True, "v_reset": -0.25},
    "v_reset": {"v_reset": 0.25},
    "strict": {"strict": True},
    "norm": {"norm": True},
    "norm, dendrite": {"norm": True, "sharing": "dendrite"},
    "norm, axon, decay_input": {"norm": True, "sharing": "axon", "decay_input": True},
    "no memory": {"tau_steps": 1.0},
}


def network_of(
    *, max_delay_steps: int = 12, norm: bool = False, tau_steps: float = 2.0, sharing: str = "synapse",
    delay_count: int = 1, decay_input: bool = False, **neuron: Any,
) -> Sequential:  # fmt: skip
    """Two hidden layers and a readout, with delays between steps, in float64."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def synapse(inputs: int, outputs: int, scale: float) -> DelayedLinear:
        made = DelayedLinear(
            inputs, outputs, max_delay_steps=max_delay_steps, sharing=sharing, delay_count=delay_count, taps="linear"
        )
        with torch.no_grad():
            made.weight.copy_((0.25 + normal(*made.weight.shape)) * scale / (inputs * delay_count) ** 0.5)
            made.weight[normal(*made.weight.shape) > 1] = 0
            made.delay.copy_(torch.rand(made.delay.shape, generator=generator) * max_delay_steps)
        return made

    def batch_norm(features: int) -> BatchNorm:
        made = BatchNorm(features)
        with torch.no_grad():
            made.gamma.copy_(1 + 0.2 * normal(features))
            made.beta.copy_(0.1 * normal(features))
            made.running_mean.copy_(0.2 * normal(features))
            made.running_var.copy_(1 + 0.2 * normal(features).abs())
        return made

    widths, layers = (INPUTS, *HIDDEN), {}
    scale = 1.6 * (tau_steps if decay_input else 1)
    for i, (inputs, outputs) in enumerate(pairwise(widths), 1):
        parts: dict[str, Any] = {"synapse": synapse(inputs, outputs, scale)}
        if norm:
            parts["norm"] = batch_norm(outputs)
        parts["neuron"] = LIF(tau_steps, decay_input=decay_input, **neuron)
        layers[f"hidden{i}"] = Sequential(**parts)
    layers["readout"] = Sequential(
        synapse=synapse(widths[-1], CLASSES, 1.0), integrator=LeakyIntegrator(tau_steps, decay_input=decay_input)
    )
    return Sequential(**layers).double().eval()


def counts() -> Tensor:
    """Input counts ``[time, channel]``, a few above one."""
    return torch.poisson(torch.full((STEPS, INPUTS), 0.2), generator=torch.Generator().manual_seed(3)).double()


def assert_same(network: DiscreteNetwork, graph: nir.NIRGraph, x: Tensor) -> None:
    """Spikes equal one by one, readout membranes (and all currents) to 1e-9, and every layer active."""
    expected, got = record(network, x[:, None]), interpret(graph, x.numpy())
    wrong = []
    for name, layer in layers_of(network):
        want = expected[name][:, 0].numpy()
        if isinstance(layer, LIF):
            assert 0.02 < want.mean() < 0.6, f"{name} fires at {want.mean():.3f}: nothing is compared"
            wrong += [f"{(want != got[name]).sum()} spikes of {name} differ"] * (not np.array_equal(want, got[name]))
        else:
            assert np.abs(want).max() > 0.1
            wrong += [f"values of {name} differ"] * (not np.abs(want - got[name]).max() < 1e-9)
    assert np.array_equal(got["output"], got[name])
    assert not wrong, ", ".join(wrong)


def planted() -> DiscreteNetwork:
    """Three inputs delayed by 0, 3, 5 steps, then by 5, 2, 0: a common spike arrives as three, then as one."""
    first = DelayedLinear(3, 3, max_delay_steps=6, taps="linear")
    second = DelayedLinear(3, 1, max_delay_steps=6, taps="linear")
    with torch.no_grad():
        first.weight.copy_(torch.eye(3)[..., None])
        first.delay.copy_(torch.tensor([0.0, 3.0, 5.0]).expand(3, 3)[..., None])
        second.weight.fill_(0.4)
        second.delay.copy_(torch.tensor([5.0, 2.0, 0.0]).view(1, 3, 1))
    return discretize(Sequential(one=first, a=LIF(1.0), two=second, output=LIF(1.0)).double())
