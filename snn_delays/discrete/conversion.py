"""Between the discrete network in torch, which is evaluated, and the canonical form, which is exported."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from snn_delays.discrete.network import DiscreteNetwork, nested
from snn_delays.discrete.report import DiscretizationReport
from snn_delays.discrete.stages import (
    MOST_SYNAPSES,
    NeuronStage,
    PoolStage,
    Shape,
    Stage,
    SynapseStage,
    stages_of,
)
from snn_delays.errors import ExportError
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses, check
from snn_delays.nn import LIF, DelayedLinear, LeakyIntegrator, Recurrent, SpikingModule
from snn_delays.nn.fixed_point import FixedPointIntegrator, FixedPointLIF
from snn_delays.nn.neuron import Neuron


def canonical(
    network: DiscreteNetwork, *, dt_ms: float, notes: dict[str, str] | None = None, sensor: Shape | None = None
) -> CanonicalNetwork:
    """A discrete network as plain arrays: each synapse with the neurons after it is a population.

    A population bears the name of the group its layers are in (``hidden1``), else its synapse's. Synapses of weight
    zero are left out, which changes nothing. A convolution becomes its synapses one by one, on maps laid out flat. Sums
    and means of pooling become part of the synapses after them; max pooling of spikes becomes a population that fires
    in the step in which any neuron of its window does.

    Args:
        network: what :func:`snn_delays.discrete.discretize` returned.
        dt_ms: length of a step.
        notes: where the network comes from.
        sensor: channels, rows and columns of the input of a convolutional network; None: ``network.sensor``.

    Raises:
        ExportError: not a discrete network, delays that are not integer steps in their window, numbers that are not
            finite, layers that are no chain of (synapse, neuron) and pooling, or maxima of anything but spikes.
    """
    if not isinstance(network, DiscreteNetwork):
        raise ExportError(f"expected a discrete network, got a {type(network).__name__}; pass discretize(network)")
    populations: list[Population] = []
    pooled: PoolStage | None = None  # its sums are part of the synapses that come next
    synapse: SynapseStage | None = None
    for stage in stages_of(network, sensor):
        if synapse is not None and isinstance(stage, SynapseStage | PoolStage):
            break
        if isinstance(stage, SynapseStage):
            synapse = stage if pooled is None else replace(stage, synapses=_after(pooled, stage.name, stage.synapses))
            pooled = None
        elif isinstance(stage, NeuronStage):
            if synapse is None:
                raise _no_chain(stage)
            bias = synapse.bias if stage.bias is None else stage.bias
            name = _name(synapse.name, stage.name)
            populations.append(Population(name, synapse.synapses, bias, stage.arithmetic, stage.fires, stage.recurrent))
            synapse = None
        elif isinstance(stage, PoolStage):
            if pooled is not None:
                raise ExportError(f"{stage.name} pools what {pooled.name} pooled; such networks are not exported")
            if stage.kind != "max":
                pooled = stage
            elif populations and populations[-1].fires:
                populations.append(_any_of(stage))
            else:
                raise ExportError(f"{stage.name} takes the maximum of what are not spikes, which has no canonical form")
    left = synapse or pooled
    if left is not None:
        raise _no_chain(left)
    inputs = populations[0].synapses.sources if populations else 0
    made = CanonicalNetwork(inputs, tuple(populations), float(dt_ms), dict(notes or {}))
    check(made)
    return made


def _no_chain(stage: Stage) -> ExportError:
    return ExportError(f"layer {stage.name!r}: expected a synapse followed by its neurons")


def _name(synapse: str, neuron: str) -> str:
    group, _, _ = synapse.rpartition(".")
    return group if group and group == neuron.rpartition(".")[0] else synapse


def _after(pool: PoolStage, name: str, synapses: Synapses) -> Synapses:
    """The synapses of pooled inputs as those of the inputs themselves, each as often as its window has places."""
    size = pool.windows.shape[1]
    if len(synapses) * size > MOST_SYNAPSES:
        raise ExportError(
            f"{name} has {len(synapses) * size:,} synapses behind {pool.name}; {MOST_SYNAPSES:,} are the most"
        )
    target, delay, weight = (np.repeat(part, size) for part in (synapses.target, synapses.delay_steps, synapses.weight))
    scaled = weight / size if pool.kind == "mean" else weight
    source = pool.windows[synapses.source].ravel()
    return Synapses.sorted(math.prod(pool.before), synapses.targets, source, target, delay, scaled, synapses.sharing)


def _any_of(pool: PoolStage) -> Population:
    """Neurons without memory that fire where a spike arrives from their window."""
    outputs, size = pool.windows.shape
    target, source = np.repeat(np.arange(outputs), size), pool.windows.ravel()
    synapses = Synapses.sorted(
        math.prod(pool.before), outputs, source, target, np.zeros(len(source)), np.ones(len(source)), "axon"
    )
    return Population(pool.name, synapses, np.zeros(outputs), Membrane(1.0, threshold=0.5))


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
