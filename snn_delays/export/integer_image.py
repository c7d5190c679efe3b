"""What an engine of integers holds: each population's synapses in rows by source, and how large sums can grow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import ExportError
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Population, check
from snn_delays.ir.trace import Trace

MAX_COUNT = 255  # of events of an input channel in a step
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Image:
    r"""One population.

    Rows ``0 .. sources - 1`` are the synapses of the sources; where it is recurrent, rows ``sources ..
    sources + neurons - 1`` those of the population's own neurons. Weights are divided by the largest power of two
    common to all (Loihi's are even, and fit 8 bits so); ``shift`` makes up for it:

    .. math:: weight \; 2^{shift} = weight_{canonical} \; 2^S

    Attributes:
        number: in the chain, from 0.
        pointers: where each row begins and the last one ends, ``[rows + 1]``.
        target, delay_steps, weight: ``[synapse]``.
        bias: ``[neuron]``.
        ring_rows: longest delay + 1, the steps for which currents are kept.
        most: bound of the magnitude of any sum of weights, partial ones too, for counts up to ``MAX_COUNT``.
    """

    number: int
    name: str
    sources: int
    neurons: int
    fires: bool
    recurrent: bool
    numbers: FixedPoint
    shift: int
    pointers: Integers
    target: Integers
    delay_steps: Integers
    weight: Integers
    bias: Integers
    ring_rows: int
    most: int

    @property
    def synapses(self) -> int:
        """Number of synapses."""
        return len(self.weight)

    @property
    def soft_reset(self) -> bool:
        """Whether the threshold is subtracted from a membrane that fires."""
        return self.numbers.reset == "soft"


def refusal(network: CanonicalNetwork, what: str) -> str | None:
    """Why an engine of integers cannot hold a network, or None; ``what`` is the name of the format."""
    for population in network.populations:
        name, numbers = population.name, population.arithmetic
        if not isinstance(numbers, FixedPoint):
            return (
                f"{name} computes in real numbers, {what} takes integers: export with the profile of a chip that "
                "computes in integers, as --target generic8 or --target loihi2"
            )
        for field, least, most in (("state_bits", 2, 32), ("decay_bits", 0, 30), ("weight_shift", 0, 30)):
            value = getattr(numbers, field)
            if not least <= value <= most:
                return f"{name} has {field} {value}, {what} takes {least}..{most}: choose another profile"
        values: list[tuple[NDArray[Any], str, int]] = [(population.bias, "bias", 2**31 - 1)]
        for synapses in population.parts.values():
            values += [(synapses.weight, "weight", 2**16 - 1), (synapses.delay_steps, "delay", 2**16 - 1)]
        for array, kind, largest in values:
            bad = int((~(np.abs(array) <= largest) | (array != np.rint(array))).sum())
            if bad:
                return (
                    f"{name}: {bad} of {len(array)} values of {kind} are not integers up to {largest}, which is "
                    f"what {what} takes: quantise the network with the profile of a chip"
                )
    return None


def images(network: CanonicalNetwork, trace: Trace, what: str) -> list[Image]:
    """Every population of a network, checked against a trace.

    Raises ExportError where :func:`refusal` gives a reason, the network is impossible, or a count exceeds MAX_COUNT.
    """
    check(network)
    reason = refusal(network, what)
    if reason is not None:
        raise ExportError(reason)
    largest = int(trace.counts.max(initial=0))
    if largest > MAX_COUNT:
        raise ExportError(
            f"the trace has {largest} events of one channel in one step, {what} takes {MAX_COUNT}: use shorter steps "
            "or group fewer channels"
        )
    return [_image(number, population) for number, population in enumerate(network.populations)]


def _image(number: int, population: Population) -> Image:
    numbers, forward, recurrent = population.arithmetic, population.synapses, population.recurrent
    assert isinstance(numbers, FixedPoint)
    pointers, parts, size = forward.row_pointers, population.parts.values(), np.zeros(forward.targets)
    for part, count in zip(parts, (1 if number else MAX_COUNT, 1)):
        np.add.at(size, part.target, np.abs(part.weight) * count)
    if recurrent is not None:
        pointers = np.concatenate([pointers, recurrent.row_pointers[1:] + len(forward)])
    target, delay, weight = (
        np.concatenate([getattr(part, field) for part in parts]).astype(np.int64)
        for field in ("target", "delay_steps", "weight")
    )
    common = int(np.bitwise_or.reduce(np.abs(weight))) if len(weight) else 1
    spare = min((common & -common).bit_length() - 1, 30 - numbers.weight_shift)
    return Image(
        number=number,
        name=population.name,
        sources=forward.sources,
        neurons=forward.targets,
        fires=population.fires,
        recurrent=recurrent is not None,
        numbers=numbers,
        shift=numbers.weight_shift + spare,
        pointers=pointers,
        target=target,
        delay_steps=delay,
        weight=weight >> spare,
        bias=population.bias.astype(np.int64),
        ring_rows=int(delay.max(initial=0)) + 1,
        most=int(size.max(initial=0)) >> spare,
    )


def events(counts: ArrayLike) -> tuple[Integers, Integers]:
    """Counts ``[time, sample, channel]`` as lists: a channel is listed once per event.

    Returns:
        Where the events of each (sample, step) begin and the last ones end, ``[sample * time + 1]``; channels
        ``[event]``, samples one after the other.
    """
    x = np.asarray(counts)
    flat = x.transpose(1, 0, 2).reshape(-1, x.shape[2]).astype(np.int64)
    row, channel = np.nonzero(flat)
    starts = np.concatenate([[0], np.cumsum(flat.sum(1))])
    return starts.astype(np.int64), np.repeat(channel, flat[row, channel])
