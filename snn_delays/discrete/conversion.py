"""Between the discrete network in torch, which is evaluated, and the canonical form, which is exported."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from snn_delays.discrete.network import DiscreteNetwork, DiscretizationReport, fixed_delays, nested
from snn_delays.discrete.stages import MOST_SYNAPSES, NeuronStage, PoolStage, Shape, Stage, SynapseStage, stages_of
from snn_delays.errors import ExportError
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses, check
from snn_delays.nn import LIF, CubaLIF, DelayedLinear, LeakyIntegrator, Recurrent, SpikingModule
from snn_delays.nn.neuron import FixedPointIntegrator, FixedPointLIF, Neuron


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
        if isinstance(stage, NeuronStage):
            if synapse is None:
                raise _no_chain(stage)
            bias = synapse.bias if stage.bias is None else stage.bias
            group = synapse.name.rpartition(".")[0]
            name = group if group and group == stage.name.rpartition(".")[0] else synapse.name
            populations.append(Population(name, synapse.synapses, bias, stage.arithmetic, stage.fires, stage.recurrent))
            synapse = None
        elif synapse is not None and isinstance(stage, SynapseStage | PoolStage):
            raise _no_chain(synapse)
        elif isinstance(stage, SynapseStage):
            synapse = stage if pooled is None else replace(stage, synapses=_after(pooled, stage.name, stage.synapses))
            pooled = None
        elif isinstance(stage, PoolStage):
            if pooled is not None:
                raise ExportError(f"{stage.name} pools what {pooled.name} pooled; such networks are not exported")
            if stage.kind != "max":
                pooled = stage
            elif populations and populations[-1].fires:
                populations.append(_any_of(stage))
            else:
                raise ExportError(f"{stage.name} takes the maximum of what are not spikes, which has no canonical form")
    if last := synapse or pooled:
        raise _no_chain(last)
    inputs = populations[0].synapses.sources if populations else 0
    converted = CanonicalNetwork(inputs, tuple(populations), float(dt_ms), dict(notes or {}))
    check(converted)
    return converted


def _no_chain(stage: Stage) -> ExportError:
    return ExportError(f"layer {stage.name!r}: expected a synapse followed by its neurons")


def _after(pool: PoolStage, name: str, synapses: Synapses) -> Synapses:
    """The synapses of pooled inputs as those of the inputs themselves, each as often as its window has places."""
    size = pool.windows.shape[1]
    if (count := len(synapses) * size) > MOST_SYNAPSES:
        raise ExportError(f"{name} has {count:,} synapses after {pool.name}; {MOST_SYNAPSES:,} are the most")
    target, delay, weight = (np.repeat(part, size) for part in (synapses.target, synapses.delay_steps, synapses.weight))
    scaled = weight / size if pool.kind == "mean" else weight
    source = pool.windows[synapses.source].ravel()
    return Synapses.sorted(math.prod(pool.before), synapses.targets, source, target, delay, scaled, synapses.sharing)


def _any_of(pool: PoolStage) -> Population:
    """Neurons without memory that fire where a spike arrives from their window."""
    outputs, size = pool.windows.shape
    target, source = np.repeat(np.arange(outputs), size), pool.windows.ravel()
    none, one = np.zeros(len(source)), np.ones(len(source))
    synapses = Synapses.sorted(math.prod(pool.before), outputs, source, target, none, one, "axon")
    return Population(pool.name, synapses, np.zeros(outputs), Membrane(1.0, threshold=0.5))


def network_of(network: CanonicalNetwork, *, dtype: torch.dtype = torch.float64) -> DiscreteNetwork:
    """The discrete network that a canonical form describes, as a chain of one group for each population.

    Its canonical form is the one given. A synapse's window ends at its longest delay.

    Raises ExportError for integrators that rest anywhere but at 0.
    """
    layers: dict[str, SpikingModule] = {}
    for population in network.populations:
        bias = None if population.whole or not population.bias.any() else torch.from_numpy(population.bias)
        layers[f"{population.name}.synapse"] = _synapse(population.synapses, bias, dtype)
        neuron = _neuron(population)
        if population.recurrent is not None:
            neuron = Recurrent(_synapse(population.recurrent, None, dtype, least=1), neuron)
        layers[f"{population.name}.neuron"] = neuron
    return DiscreteNetwork(DiscretizationReport(()), **nested(layers))


def _neuron(population: Population) -> Neuron:
    numbers = population.arithmetic
    if isinstance(numbers, FixedPoint):
        kind = FixedPointLIF if population.fires else FixedPointIntegrator
        return kind(numbers, torch.from_numpy(population.bias))
    if population.fires:
        return (CubaLIF if numbers.filters else LIF)(**numbers.numbers)
    if numbers.v_reset:
        raise ExportError(
            f"{population.name} are integrators that rest at {numbers.v_reset:g}, LeakyIntegrator rests at 0; "
            "where only differences between membranes count, set v_reset (v_leak in NIR) to 0"
        )
    return LeakyIntegrator(numbers.tau_steps, decay_input=numbers.decay_input)


def _synapse(synapses: Synapses, bias: Tensor | None, dtype: torch.dtype, least: int = 0) -> DelayedLinear:
    source, target, delay = (part.astype(np.int64) for part in (synapses.source, synapses.target, synapses.delay_steps))
    # A delay belongs to an axon, a dendrite or a pair of neurons, and is used once for each of those that are alike.
    owner = {"axon": source, "dendrite": target}.get(synapses.sharing, source * synapses.targets + target)
    delays, which = np.unique(np.stack([owner, delay, synapses.twin]), axis=1, return_inverse=True)
    slots = np.arange(delays.shape[1]) - np.searchsorted(delays[0], delays[0])
    slot, count = slots[which.ravel()], int(slots.max(initial=0)) + 1
    weight = np.zeros((synapses.targets, synapses.sources, count))
    weight[target, source, slot] = synapses.weight
    rows, columns = int(synapses.sharing != "axon"), int(synapses.sharing != "dendrite")
    steps = np.full((weight.shape[0] if rows else 1, weight.shape[1] if columns else 1, count), float(least))
    steps[target * rows, source * columns, slot] = delay
    return fixed_delays(
        DelayedLinear, synapses.sources, synapses.targets, max_delay_steps=max(synapses.max_delay_steps, least),
        min_delay_steps=least, delay_count=count, sharing=synapses.sharing,
        weight=torch.from_numpy(weight).to(dtype), delay=torch.from_numpy(steps), bias=bias,
    )  # fmt: skip
