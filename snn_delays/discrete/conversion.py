"""Between the discrete network in torch, which is evaluated, and the canonical form, which is exported."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from snn_delays.discrete.network import DiscreteNetwork, check_constants, copied_layers, discrete_numbers, nested
from snn_delays.discrete.report import DiscretizationReport
from snn_delays.errors import ExportError
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses, check
from snn_delays.nn import LIF, DelayedLinear, LeakyIntegrator, Recurrent, SpikingModule
from snn_delays.nn.fixed_point import FixedPoint, FixedPointIntegrator, FixedPointLIF
from snn_delays.nn.neuron import Neuron


def canonical(network: DiscreteNetwork, *, dt_ms: float, notes: dict[str, str] | None = None) -> CanonicalNetwork:
    """A discrete network as plain arrays: each synapse with the neurons behind it is a population.

    A population bears the name of the group its layers are in (``hidden1``), else its synapse's. Synapses of weight
    zero are left out, which changes nothing.

    Args:
        network: what :func:`snn_delays.discrete.discretize` returned.
        dt_ms: length of a step.
        notes: where the network comes from.

    Raises:
        ExportError: not a discrete network, delays that are not whole steps in their window, numbers that are not
            finite, or layers that are no chain of (synapse, neuron): a convolution, pooling, a synapse without neuron.
    """
    if not isinstance(network, DiscreteNetwork):
        raise ExportError(f"expected a discrete network, got a {type(network).__name__}; pass discretize(network)")
    layers = copied_layers(network)
    for name, layer in layers:
        if not isinstance(layer, DelayedLinear | Neuron):
            raise ExportError(
                f"layer {name!r} ({type(layer).__name__}) has no canonical form: known are DelayedLinear, LIF, "
                "LeakyIntegrator and Recurrent. Convolutions are evaluated and drawn, not exported"
            )
    populations: list[Population] = []
    width: int | None = None
    while layers:
        (name, synapse), *layers = layers
        if not isinstance(synapse, DelayedLinear) or not layers or not isinstance(layers[0][1], Neuron):
            raise ExportError(f"layer {name!r} ({type(synapse).__name__}): expected a synapse followed by its neurons")
        (neuron_name, neuron), *layers = layers
        assert isinstance(neuron, Neuron)
        if width not in (None, synapse.in_features):
            raise ExportError(f"{name} takes {synapse.in_features} inputs, the layer before it has {width} outputs")
        width = synapse.out_features
        populations.append(_population(_name(name, neuron_name), name, synapse, neuron))
    inputs = populations[0].synapses.sources if populations else 0
    made = CanonicalNetwork(inputs, tuple(populations), float(dt_ms), dict(notes or {}))
    check(made)
    return made


def _name(synapse: str, neuron: str) -> str:
    group, _, _ = synapse.rpartition(".")
    return group if group and group == neuron.rpartition(".")[0] else synapse


def _population(name: str, synapse_name: str, synapse: DelayedLinear, neuron: Neuron) -> Population:
    recurrent = None
    if isinstance(neuron, Recurrent):
        recurrent, _ = _synapses(f"{name}.recurrent", neuron.synapse)
        neuron = neuron.neuron
    synapses, bias = _synapses(synapse_name, synapse)
    if isinstance(neuron, FixedPointLIF | FixedPointIntegrator):
        bias = neuron.bias.cpu().numpy()
        return Population(name, synapses, bias, neuron.numbers, neuron.fires, recurrent)
    check_constants(name, neuron)
    if isinstance(neuron, LIF):
        arithmetic = Membrane(
            float(neuron.tau_steps),
            neuron.decay_input,
            float(neuron.threshold),
            neuron.v_reset,
            neuron.reset,
            neuron.strict,
        )
    elif isinstance(neuron, LeakyIntegrator):
        arithmetic = Membrane(float(neuron.tau_steps), neuron.decay_input)
    else:
        raise ExportError(f"{name}: neurons of kind {type(neuron).__name__} have no canonical form")
    return Population(name, synapses, bias, arithmetic, neuron.fires, recurrent)


def _synapses(name: str, layer: DelayedLinear) -> tuple[Synapses, np.ndarray]:
    weight, whole, bias = discrete_numbers(name, layer)
    target, source, synapse = np.nonzero(weight)
    steps = np.broadcast_to(whole, weight.shape)[target, source, synapse]
    values = weight[target, source, synapse]
    return Synapses.sorted(layer.in_features, layer.out_features, source, target, steps, values, layer.sharing), bias


def network_of(network: CanonicalNetwork, *, dtype: torch.dtype = torch.float64) -> DiscreteNetwork:
    """The discrete network that a canonical form describes, as a chain of one group for each population.

    Its canonical form is the one given. A synapse's window ends at its longest delay.

    Raises ExportError for integrators that rest anywhere but at 0.
    """
    layers: dict[str, SpikingModule] = {}
    for population in network.populations:
        numbers = population.arithmetic
        whole = isinstance(numbers, FixedPoint)
        neuron: Neuron
        if isinstance(numbers, FixedPoint):
            kind = FixedPointLIF if population.fires else FixedPointIntegrator
            neuron = kind(numbers, torch.from_numpy(population.bias))
        elif population.fires:
            neuron = LIF(
                numbers.tau_steps, threshold=numbers.threshold, v_reset=numbers.v_reset, reset=numbers.reset,
                decay_input=numbers.decay_input, strict=numbers.strict,
            )  # fmt: skip
        else:
            if numbers.v_reset:
                raise ExportError(
                    f"{population.name} are integrators that rest at {numbers.v_reset:g}, LeakyIntegrator rests at 0; "
                    "where only differences between membranes count, set v_reset (v_leak in NIR) to 0"
                )
            neuron = LeakyIntegrator(numbers.tau_steps, decay_input=numbers.decay_input)
        if population.recurrent is not None:
            neuron = Recurrent(_layer(population.recurrent, None, dtype, 1), neuron)
        bias = torch.from_numpy(population.bias) if not whole and population.bias.any() else None
        layers[f"{population.name}.synapse"] = _layer(population.synapses, bias, dtype, 0)
        layers[f"{population.name}.neuron"] = neuron
    return DiscreteNetwork(DiscretizationReport(()), **nested(layers))


def _layer(synapses: Synapses, bias: Tensor | None, dtype: torch.dtype, least: int) -> DelayedLinear:
    slot = _slots(synapses)
    count = int(slot.max(initial=0)) + 1
    weight = np.zeros((synapses.targets, synapses.sources, count))
    weight[synapses.target, synapses.source, slot] = synapses.weight
    layer = DelayedLinear(
        synapses.sources, synapses.targets, max_delay_steps=max(synapses.max_delay_steps, least),
        min_delay_steps=least, delay_count=count, sharing=synapses.sharing, taps="linear", learn_delay=False,
        bias=bias is not None,
    )  # fmt: skip
    delay = np.full(layer.delay.shape, float(least))
    where = (
        np.zeros_like(synapses.target) if synapses.sharing == "axon" else synapses.target,
        np.zeros_like(synapses.source) if synapses.sharing == "dendrite" else synapses.source,
        slot,
    )
    delay[where] = synapses.delay_steps
    layer.to(dtype)
    with torch.no_grad():
        layer.weight.copy_(torch.from_numpy(weight))
        layer.delay.copy_(torch.from_numpy(delay))
        if layer.bias is not None and bias is not None:
            layer.bias.copy_(bias)
    return layer


def _slots(synapses: Synapses) -> np.ndarray:
    """Which of the synapses of its pair of neurons each one is, those that share a delay in the same place."""
    alike = np.stack([synapses.source, synapses.target, synapses.delay_steps]).astype(np.int64)
    # How many like it came before: synapses that agree in all three lie side by side.
    _, first, of = np.unique(alike, axis=1, return_index=True, return_inverse=True)
    twin = np.arange(len(synapses)) - first[of.ravel()]
    owner = {"axon": alike[0], "dendrite": alike[1]}.get(synapses.sharing, alike[0] * synapses.targets + alike[1])
    kinds, kind = np.unique(np.stack([owner, alike[2], twin]), axis=1, return_inverse=True)
    begins = np.searchsorted(kinds[0], kinds[0])
    slots: np.ndarray = (np.arange(kinds.shape[1]) - begins)[kind.ravel()]
    return slots
