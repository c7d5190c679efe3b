"""The reference simulator of the canonical form: numpy alone, float64 or integers, one sample at a time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import ExportError, ShapeError
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses

Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Response:
    """What a network did with one sample.

    Attributes:
        outputs: by population ``[time, neuron]``: spikes (uint8), or membranes of integrators (float64 in the units
            of the network the export came from; int64 membranes in integer arithmetic).
        margins: by spiking population the least ``|h - threshold|`` over neurons and steps, in the units of the network
            the export came from; how far the closest decision was from falling otherwise.
    """

    outputs: dict[str, Array]
    margins: dict[str, float]

    @property
    def margin(self) -> float:
        """The least of all margins."""
        return min(self.margins.values(), default=np.inf)


def simulate(network: CanonicalNetwork, counts: ArrayLike) -> Response:
    r"""Run one sample from rest.

    .. math:: x_t[i] = \sum_n w_n \; s_{t - d_n}[j_n], \qquad j_n \to i

    then each neuron as :func:`snn_delays.ops.lif.lif` (real numbers) or :class:`snn_delays.fixed_point.FixedPoint`
    (integers: the integer twin of what chips compute). A spike with delay 0 is seen in the same step, one of a
    population by itself no earlier than the next.

    Args:
        network: the canonical form.
        counts: events per channel and step, ``[time, inputs]``.

    Raises:
        ShapeError: ``counts`` does not fit.
        ExportError: integer currents that would overflow the membrane's bits, which chips wrap around.
    """
    x = np.asarray(counts)
    if x.ndim != 2 or x.shape[1] != network.inputs:
        raise ShapeError(f"the sample has shape {x.shape}, the network takes [time, {network.inputs}]")
    outputs: dict[str, Array] = {}
    margins: dict[str, float] = {}
    for population in network.populations:
        x, nearest = _run(population, x)
        outputs[population.name] = x
        if population.fires:
            margins[population.name] = nearest
    return Response(outputs, margins)


def drive(synapses: Synapses, spikes: Array) -> NDArray[np.float64]:
    """Currents that spikes or counts ``[time, source]`` cause, ``[time, target]``; all synapses at their delays."""
    steps = len(spikes)
    when, source = np.nonzero(spikes)
    event, synapse, arrival = _arrivals(synapses, when, source, steps)
    strength = synapses.weight[synapse] * spikes[when, source].astype(np.float64)[event]
    place = arrival * synapses.targets + synapses.target[synapse]
    flat: Array = np.bincount(place, strength, minlength=steps * synapses.targets)
    return flat.reshape(steps, synapses.targets)


def _arrivals(synapses: Synapses, when: Array, source: Array, steps: int) -> tuple[Array, Array, Array]:
    """Events spread over the synapses of their sources: number of event, synapse, and step before ``steps``."""
    pointers = synapses.row_pointers
    lengths = np.diff(pointers)[source]
    event = np.repeat(np.arange(len(source)), lengths)
    synapse = np.arange(len(event)) + (pointers[source] - np.cumsum(lengths) + lengths)[event]
    arrival = when[event] + synapses.delay_steps[synapse]
    within = arrival < steps
    return event[within], synapse[within], arrival[within]


def _run(population: Population, x: Array) -> tuple[Array, float]:
    current = drive(population.synapses, x)
    numbers = population.arithmetic
    if isinstance(numbers, Membrane):
        v: Array = np.full(population.size, numbers.v_reset)
        step: Callable[[Array, Array], Array] = _real(numbers, population.bias)
    else:
        v = np.zeros(population.size, np.int64)
        step = _integer(population.name, numbers, population.bias.astype(np.int64))
    out = np.zeros(current.shape, np.uint8 if population.fires else v.dtype)
    margin = np.inf
    feedback = np.zeros_like(current)
    for t in range(len(current)):
        h = step(v, current[t] + feedback[t])
        if not population.fires:
            v = out[t] = h
            continue
        margin = min(margin, float(np.abs(h - numbers.threshold).min()))
        fired = h > numbers.threshold if numbers.strict else h >= numbers.threshold
        rest = numbers.v_reset if isinstance(numbers, Membrane) else 0
        v = np.where(fired, h - numbers.threshold if numbers.reset == "soft" else rest, h)
        out[t] = fired
        if population.recurrent is not None and fired.any():
            source = np.flatnonzero(fired)
            _, synapse, arrival = _arrivals(population.recurrent, np.full(len(source), t), source, len(feedback))
            target, weight = population.recurrent.target[synapse], population.recurrent.weight[synapse]
            np.add.at(feedback, (arrival, target), weight)
    return out, float(margin) * (1.0 if isinstance(numbers, Membrane) else numbers.scale)


def _real(numbers: Membrane, bias: Array) -> Callable[[Array, Array], Array]:
    decay, gain, rest = numbers.decay, numbers.gain, numbers.v_reset
    if not numbers.filters:
        return lambda v, x: decay * (v - rest) + rest + gain * (x + bias)
    syn = 1.0 - 1.0 / numbers.tau_syn_steps
    share, current = 1.0 - syn if numbers.decay_input else 1.0, np.zeros_like(bias)

    def step(v: Array, x: Array) -> Array:
        current[:] = syn * current + share * (x + bias)
        return np.asarray(decay * (v - rest) + rest + gain * current)

    return step


def _integer(name: str, numbers: FixedPoint, bias: Array) -> Callable[[Array, Array], Array]:
    def step(v: Array, x: Array) -> Array:
        current = np.rint(x).astype(np.int64) << numbers.weight_shift
        if np.abs(current).max(initial=0) > numbers.limit:
            raise ExportError(
                f"{name}: a current of {int(np.abs(current).max())} overflows {numbers.state_bits} bits, where chips "
                "wrap around; fewer weight bits or a smaller input avoid it"
            )
        leaked = np.sign(v) * ((np.abs(v) * numbers.decay_code) >> numbers.decay_bits)
        return np.asarray(np.clip(leaked + current + bias, -numbers.limit, numbers.limit))

    return step
