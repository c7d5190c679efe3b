"""Discrete networks for the streaming engine, and the comparison that it is held to."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.models import ConvolutionalClassifier
from snn_delays.nn import (
    LIF,
    BatchNorm,
    DelayedLinear,
    LeakyIntegrator,
    MaxPool2d,
    Recurrent,
    Sequential,
    layers_of,
    record,
)
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


RECURRENT: dict[str, dict[str, Any]] = {
    "recurrent": {},
    "recurrent, several delays": {"delay_count": 2, "max_delay_steps": 6},
    "recurrent, one delay a dendrite": {"sharing": "dendrite"},
    "recurrent, a common delay": {"sharing": "layer"},
    "recurrent, the next step alone": {"max_delay_steps": 1},
}


def recurrent(kind: str) -> DiscreteNetwork:
    """Two recurrent populations between a synapse and a readout, soft and hard resets."""
    generator = torch.Generator().manual_seed(3)
    options = {"max_delay_steps": 4, "taps": "linear", **RECURRENT[kind]}

    def synapse(inputs: int, outputs: int, scale: float, least: int = 0, **more: Any) -> DelayedLinear:
        made = DelayedLinear(inputs, outputs, min_delay_steps=least, **{**options, **more}).double()
        with torch.no_grad():
            made.weight.copy_(scale * torch.randn(made.weight.shape, generator=generator) / inputs**0.5)
            made.weight.add_(0.4 / inputs if not least else 0)
            drawn = torch.rand(made.delay.shape, generator=generator)
            made.delay.copy_(least + drawn * (made.max_delay_steps - least))
        return made

    return discretize(
        Sequential(
            hidden1=Sequential(
                synapse=synapse(INPUTS, 18, 2.0, bias=True), neuron=Recurrent(synapse(18, 18, 2.5, 1), LIF(2.3))
            ),
            hidden2=Sequential(
                synapse=synapse(18, 11, 2.5),
                neuron=Recurrent(synapse(11, 11, 1.0, 1), LIF(1.7, reset="soft", v_reset=0.1, decay_input=True)),
            ),
            readout=Sequential(synapse=synapse(11, 4, 1.0), integrator=LeakyIntegrator(5.0)),
        ).double()
    )


SENSOR = (2, 9, 8)
MAPS: dict[str, dict[str, Any]] = {
    "max": {"pooling": "max"},
    "mean, a delay a pair of maps": {"pooling": "avg", "sharing": "channel", "hidden": ()},
    "sum, a delay an input map": {"pooling": "sum", "sharing": "axon", "padding": 1, "kernel_size": 3},
    "no pooling, a delay an output map": {"pool": 1, "sharing": "dendrite", "padding": (0, 1), "kernel_size": (3, 2)},
    "windows that leave a row": {"padding": 1, "kernel_size": 3, "reset": "soft"},
}


def maps(kind: str) -> DiscreteNetwork:
    """A convolutional network whose norms have seen its own activity."""
    torch.manual_seed(4)
    options = {
        "kernel_size": 2,
        "hidden": (10,),
        "max_delay_steps": 4,
        "tau_steps": 2.3,
        "taps": "linear",
        **MAPS[kind],
    }
    network = ConvolutionalClassifier(SENSOR, (4, 5), classes=3, **options).double()
    norms = [module for module in network.modules() if isinstance(module, BatchNorm)]
    x = torch.from_numpy(spikes(100, 144, 0.25, seed=9)).view(50, 2, *SENSOR)
    with torch.no_grad():
        for norm in norms:
            norm.momentum = 1.0
        network.train()(x)
        for norm in norms:
            norm.weight.uniform_(0.8, 1.2)
            norm.bias.uniform_(-0.2, 0.2)
    return discretize(network.eval())


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
        outputs = record(network, as_tensor(x, network).to(next(network.parameters())))
    for name, layer in layers_of(network):
        rate = float(outputs[name].mean())
        assert not isinstance(layer, LIF | Recurrent) or 0.02 < rate < 0.6, (
            f"{name} fires at {rate:.3f}: nothing is compared"
        )
    return {name: out[:, 0].flatten(1).numpy() for name, out in outputs.items()}


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
        if isinstance(layer, LIF | Recurrent | MaxPool2d) or exact:
            wrong += [f"{int((got[name] != want[name]).sum())} values of {name}"] * (
                not np.array_equal(got[name], want[name])
            )
        else:
            size = np.abs(want[name]).max()
            assert size > 0.1, f"{name} does nothing"
            wrong += [f"values of {name}"] * (not np.abs(got[name] - want[name]).max() <= 1e-12 * size)
    assert not wrong, f"differ: {', '.join(wrong)}"


def as_tensor(x: np.ndarray, network: DiscreteNetwork | None = None) -> Tensor:
    """A recording ``[time, input]`` as a batch of one, in maps where the network takes them."""
    batch = torch.from_numpy(x)[:, None]
    return batch if network is None or network.sensor is None else batch.unflatten(2, network.sensor)
