"""Discrete networks for the streaming engine, and the comparison that it is held to."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, LeakyIntegrator, Sequential, layers_of, record
from snn_delays.ops.backends import use_backend
from tests.support.nir_networks import CASES, INPUTS, network_of

Outputs = dict[str, np.ndarray]

OPTIONS: dict[str, dict[str, Any]] = {
    **CASES,
    "soft reset": {"reset": "soft"},
    "soft reset, strict, v_reset": {"reset": "soft", "strict": True, "v_reset": -0.25},
    "norm, three delays an axon": {"norm": True, "sharing": "axon", "delay_count": 3, "max_delay_steps": 5},
    "two delays a dendrite": {"sharing": "dendrite", "delay_count": 2},
    "one step": {"max_delay_steps": 1},
}


def options_network(case: str, weight_bits: int | None = None) -> DiscreteNetwork:
    """Off a grid of weights the time constant is odd too; on it, halving keeps every sum exact and ties real."""
    arguments = OPTIONS[case] if weight_bits else {"tau_steps": 2.7, **OPTIONS[case]}
    return discretize(network_of(**arguments), weight_bits=weight_bits)


def chain(kind: str) -> DiscreteNetwork:
    """Chains other than the classifier's."""
    generator = torch.Generator().manual_seed(11)

    def synapse(inputs: int, outputs: int, **options: Any) -> DelayedLinear:
        made = DelayedLinear(inputs, outputs, max_delay_steps=4, taps="linear", **options).double()
        with torch.no_grad():
            made.weight.copy_((0.5 + torch.randn(made.weight.shape, generator=generator)) * 1.5 / inputs**0.5)
            made.delay.copy_(torch.rand(made.delay.shape, generator=generator) * 4)
        return made

    layers: dict[str, list[Any]] = {
        "ends in spikes": [synapse(INPUTS, 12, bias=True), LIF(2.3), synapse(12, 6), LIF(1.7)],
        "begins with neurons": [LIF(3.1), synapse(INPUTS, 9), LIF(1.5)],
        "begins with a readout": [LeakyIntegrator(2.2, decay_input=True), synapse(INPUTS, 9), LIF(1.5)],
        "two synapses in a row": [synapse(INPUTS, 7), synapse(7, 9, bias=True, sharing="dendrite"), LIF(2.0)],
        "two neurons in a row": [synapse(INPUTS, 10), LIF(2.0), LIF(1.2, threshold=0.5), LeakyIntegrator(4.0)],
        "one neuron": [synapse(INPUTS, 1), LIF(2.0), synapse(1, 1), LeakyIntegrator(4.0)],
    }
    return discretize(Sequential(*layers[kind]).double())


CHAINS = (
    "ends in spikes", "begins with neurons", "begins with a readout", "two synapses in a row", "two neurons in a row",
    "one neuron",
)  # fmt: skip


def trained_like(seed: int, weight_bits: int | None = None) -> DiscreteNetwork:
    """Weights of a few sizes and signs, most of them small; biases from norms; delays crowded at both ends."""
    generator = torch.Generator().manual_seed(seed)
    layers: dict[str, Sequential] = {}
    for i, (inputs, outputs) in enumerate(((40, 64), (64, 48), (48, 5))):
        synapse = DelayedLinear(inputs, outputs, max_delay_steps=24, taps="linear").double()
        norm = BatchNorm(outputs).double()
        with torch.no_grad():
            weight = torch.randn(synapse.weight.shape, generator=generator, dtype=torch.float64)
            synapse.weight.copy_((weight**3 / 4 + 0.08) * 1.5 / inputs**0.5)
            synapse.delay.copy_((torch.rand(synapse.delay.shape, generator=generator) * 40 - 8).clamp(0, 24))
            norm.weight.uniform_(0.8, 1.2, generator=generator)
            norm.bias.uniform_(-0.1, 0.25, generator=generator)
        neuron = LeakyIntegrator(8.0) if i == 2 else LIF(1.7 + i)
        layers[f"hidden{i}" if i < 2 else "readout"] = Sequential(synapse=synapse, norm=norm, neuron=neuron)
    return discretize(Sequential(**layers).eval(), weight_bits=weight_bits)


def spikes(steps: int, inputs: int, rate: float = 0.15, seed: int = 5) -> np.ndarray:
    """Counts ``[time, input]``, a few above one."""
    return np.random.default_rng(seed).poisson(rate, (steps, inputs)).astype(np.float64)


def batched(network: DiscreteNetwork, x: np.ndarray) -> Outputs:
    """What every layer puts out for the whole recording at once, by the reference; it must be active."""
    with torch.no_grad(), use_backend("reference"):
        outputs = record(network, torch.from_numpy(x).to(next(network.parameters()))[:, None])
    for name, layer in layers_of(network):
        rate = float(outputs[name].mean())
        assert not isinstance(layer, LIF) or 0.02 < rate < 0.6, f"{name} fires at {rate:.3f}: nothing is compared"
    return {name: out[:, 0].numpy() for name, out in outputs.items()}


def stepped(engine: StreamingEngine, x: np.ndarray) -> Outputs:
    """What every layer puts out, step by step, from the engine's present state."""
    steps: dict[str, list[np.ndarray]] = {name: [] for name in engine.outputs}
    for x_t in x:
        returned = engine.step(x_t)
        for name, out in engine.outputs.items():
            steps[name].append(out.copy())
        assert np.array_equal(returned, out)
    return {name: np.array(values) for name, values in steps.items()}


def assert_same(network: DiscreteNetwork, got: Outputs, want: Outputs, exact: bool = False) -> None:
    """Spikes equal one by one; currents and membranes to 1e-12 of their size, or bit by bit."""
    assert list(got) == list(want)
    wrong = []
    for name, layer in layers_of(network):
        if isinstance(layer, LIF) or exact:
            wrong += [f"{int((got[name] != want[name]).sum())} values of {name}"] * (
                not np.array_equal(got[name], want[name])
            )
        else:
            size = np.abs(want[name]).max()
            assert size > 0.1, f"{name} does nothing"
            wrong += [f"values of {name}"] * (not np.abs(got[name] - want[name]).max() <= 1e-12 * size)
    assert not wrong, f"differ: {', '.join(wrong)}"


def as_tensor(x: np.ndarray) -> Tensor:
    """A recording ``[time, input]`` as a batch of one."""
    return torch.from_numpy(x)[:, None]
