"""Networks that exercise every case of the NIR export."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import nir
import numpy as np
import torch
from torch import Tensor

from snn_delays.discrete import discretize
from snn_delays.discrete.conversion import canonical
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.write import merged
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses
from snn_delays.ir.simulator import drive, simulate
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, LeakyIntegrator, Sequential
from snn_delays.nn.recurrent import Recurrent

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

EXPORT_CASES: dict[str, dict[str, Any]] = {
    **CASES,
    "two delays a dendrite": {"sharing": "dendrite", "delay_count": 2},
    "recurrent": {"recurrent": True},
    "recurrent, axon, strict": {"recurrent": True, "sharing": "axon", "strict": True},
    "recurrent, dendrite, norm": {"recurrent": True, "sharing": "dendrite", "norm": True},
    "recurrent, decay_input, v_reset": {"recurrent": True, "decay_input": True, "v_reset": -0.25},
    "recurrent, two synapses a pair": {"recurrent": True, "delay_count": 2, "max_delay_steps": 3},
    "recurrent, one step": {"recurrent": True, "max_delay_steps": 1},
}


def network_of(
    *, max_delay_steps: int = 12, norm: bool = False, tau_steps: float = 2.0, sharing: str = "synapse",
    delay_count: int = 1, decay_input: bool = False, recurrent: bool = False, **neuron: Any,
) -> Sequential:  # fmt: skip
    """Two hidden layers and a readout, with delays between steps, in float64."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def synapse(inputs: int, outputs: int, scale: float, mean: float = 0.25, least: int = 0) -> DelayedLinear:
        made = DelayedLinear(
            inputs, outputs, max_delay_steps=max_delay_steps, min_delay_steps=least, sharing=sharing,
            delay_count=delay_count, taps="linear",
        )  # fmt: skip
        with torch.no_grad():
            made.weight.copy_((mean + normal(*made.weight.shape)) * scale / (inputs * delay_count) ** 0.5)
            made.weight[normal(*made.weight.shape) > 1] = 0
            made.delay.copy_(least + torch.rand(made.delay.shape, generator=generator) * (max_delay_steps - least))
        return made

    def batch_norm(features: int) -> BatchNorm:
        made = BatchNorm(features)
        with torch.no_grad():
            made.weight.copy_(1 + 0.2 * normal(features))
            made.bias.copy_(0.1 * normal(features))
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
        if recurrent:
            parts["neuron"] = Recurrent(synapse(outputs, outputs, 0.5 * scale, 0.0, 1), parts["neuron"])
        layers[f"hidden{i}"] = Sequential(**parts)
    layers["readout"] = Sequential(
        synapse=synapse(widths[-1], CLASSES, 1.0), integrator=LeakyIntegrator(tau_steps, decay_input=decay_input)
    )
    return Sequential(**layers).double().eval()


def canonical_of(weight_bits: int | None = None, **options: Any) -> CanonicalNetwork:
    """The network in canonical form, its weights on a grid if requested."""
    return canonical(discretize(network_of(**options), weight_bits=weight_bits), dt_ms=DT_MS, notes={"case": "made up"})


def case_of(case: str, weight_bits: int | None = None) -> CanonicalNetwork:
    """Off the grid the time constant may be any; on it, halving keeps every sum exact and ties real."""
    return canonical_of(
        weight_bits, **(EXPORT_CASES[case] if weight_bits else {"tau_steps": 2.7, **EXPORT_CASES[case]})
    )


def counts() -> np.ndarray:
    """Input counts ``[time, channel]``, a few above one."""
    made = torch.poisson(torch.full((STEPS, INPUTS), 0.2), generator=torch.Generator().manual_seed(3))
    return made.double().numpy()


def assert_same(network: CanonicalNetwork, graph: nir.NIRGraph, x: np.ndarray) -> None:
    """Spikes equal one by one, currents and readout membranes to 1e-12, and every population active."""
    expected, got = simulate(network, x).outputs, interpret(graph, x)
    wrong, before = [], x
    for population in network.populations:
        name, want = population.name, expected[population.name]
        if population.fires:
            assert 0.02 < want.mean() < 0.6, f"{name} fires at {want.mean():.3f}: nothing is compared"
            wrong += [f"{(want != got[name]).sum()} spikes of {name} differ"] * (not np.array_equal(want, got[name]))
        else:
            assert np.abs(want).max() > 0.1
            wrong += [f"membranes of {name} differ"] * (not np.abs(want - got[name]).max() < 1e-12)
        current = drive(population.synapses, before) + population.bias
        if population.recurrent is not None:
            current += drive(population.recurrent, want)
        found = sum(got[source] for source, target in graph.edges if target == name)
        wrong += [f"currents of {name} differ"] * (not np.abs(current - found).max() < 1e-12)
        before = want
    assert np.array_equal(got["output"], got[name])
    assert not wrong, ", ".join(wrong)


def merged_network(network: CanonicalNetwork) -> CanonicalNetwork:
    """The network with synapses of one source, target and delay as one."""
    populations = tuple(
        replace(p, synapses=merged(p.synapses), recurrent=None if p.recurrent is None else merged(p.recurrent))
        for p in network.populations
    )
    return replace(network, populations=populations)


def planted() -> CanonicalNetwork:
    """Three inputs delayed by 0, 3, 5 steps, then by 5, 2, 0: a common spike arrives as three, then as one."""
    three, none = np.arange(3), np.zeros(3, int)
    first = Synapses.sorted(3, 3, three, three, [0, 3, 5], [1.0] * 3, "axon")
    second = Synapses.sorted(3, 1, three, none, [5, 2, 0], [0.4] * 3, "synapse")
    populations = (
        Population("a", first, np.zeros(3), Membrane(1.0)),
        Population("output", second, np.zeros(1), Membrane(1.0)),
    )
    return CanonicalNetwork(3, populations, 10.0)
