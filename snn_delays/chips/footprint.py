"""How many bits a network takes on a target, and how many cores: the formulas that the fit and the cost rest on."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from snn_delays.chips.profiles import Profile
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import Population, Synapses
from snn_delays.ir.trace import Array

REAL_BITS = 32  # of weights, biases and membranes where the target computes in real numbers (single precision)


@dataclass(frozen=True)
class Footprint:
    r"""The bits of a population, without the network's program and its few shared numbers.

    Attributes:
        weights: synapses times the bits of a weight.
        delays: synapses times the bits of the longest delay (:func:`delay_bits`); sources times that where delays are
            the sources'; 0 where the target has none.
        addresses: synapses times the bits of a target's number, and what rows and words of the target add.
        ring: neurons times (longest delay + 1) times the bits of a membrane: the sums of currents under way.
        history: sources times (longest delay + 1) bits: spikes remembered instead. Not in the total.
        states: neurons times the bits of a membrane, and as many again where there are biases.
        without_delays: the total if every delay were the shortest possible (ring of one slot, no delays stored).
        pairs: different (source, delay) pairs of its synapses, each a tap of a delay line.
        entries: of buffers: neurons times (longest delay + 1), slots of the ring; where sources have delays, the sum
            over them of (longest delay + 1); 0 where the target has no delays.
    """

    name: str
    weights: int
    delays: int
    addresses: int
    ring: int
    history: int
    states: int
    without_delays: int
    pairs: int
    entries: int

    @property
    def total(self) -> int:
        """Weights, delays, addresses, ring and states."""
        return self.weights + self.delays + self.addresses + self.ring + self.states

    @property
    def delay_share(self) -> float:
        """The part of the total that is there because of delays."""
        return (self.total - self.without_delays) / self.total if self.total else 0.0

    def as_json(self) -> dict[str, Any]:
        """All numbers, the total and the share too."""
        return {**asdict(self), "total": self.total, "delay_share": self.delay_share}


def footprint(population: Population, profile: Profile) -> Footprint:
    """The bits of a population on a target, all of it on one core."""
    parts, longest = population.parts.values(), _longest(population)
    synapses = len(population.weights)
    weights = synapses * weight_bits(population, profile)
    holders = {"synaptic": synapses, "axonal": sum(part.sources for part in parts)}.get(profile.delay_kind, 0)
    delays = holders * delay_bits(longest)
    slot = population.size * (profile.state_bits or REAL_BITS)
    states = slot * (2 if population.bias.any() else 1)
    in_synapses = delays if profile.delay_kind == "synaptic" else 0
    return Footprint(
        name=population.name,
        weights=weights,
        delays=delays,
        addresses=synapse_bits(population, profile) - weights - in_synapses,
        ring=slot * (longest + 1),
        history=sum(part.sources * (part.max_delay_steps + 1) for part in parts),
        states=states,
        without_delays=synapse_bits(population, profile, delays=False) + slot + states,
        pairs=sum(map(delay_pairs, parts)),
        entries={
            "synaptic": population.size * (longest + 1), "axonal": sum(map(_line_entries, parts)),
        }.get(profile.delay_kind, 0),
    )  # fmt: skip


def delay_pairs(synapses: Synapses) -> int:
    """Different (source, delay) pairs of synapses."""
    return len(np.unique(np.stack([synapses.source, synapses.delay_steps]), axis=1).T)


def _line_entries(synapses: Synapses) -> int:
    longest = np.full(synapses.sources, -1)
    np.maximum.at(longest, synapses.source, synapses.delay_steps)
    return int((longest + 1).sum())


def _longest(population: Population) -> int:
    return max(part.max_delay_steps for part in population.parts.values())


def weight_bits(population: Population, profile: Profile) -> int:
    """Bits of a weight: the fewest the target offers that hold the weights as they are, else its default."""
    return fitting_bits(population, profile) or profile.default_weight_bits or REAL_BITS


def fitting_bits(population: Population, profile: Profile) -> int | None:
    """The fewest bits on offer that hold the weights of a population as they are; None if none do.

    Real weights must be integer multiples of some step, to 1e-4 of it; beyond 8 bits their magnitudes are only counted.
    """
    numbers, offered = population.arithmetic, sorted(profile.weight_bits)
    levels = np.unique(np.abs(population.weights))
    if not isinstance(numbers, FixedPoint):
        return next((bits for bits in offered if _on_grid(levels, bits)), None)
    common = int(np.bitwise_or.reduce(levels.astype(np.int64))) if len(levels) else 0
    # Bits that all weights share as zeros belong to the shift: codes are as small as they can be.
    spare = (common & -common).bit_length() - 1 if common else 0
    largest = int(levels.max(initial=0)) >> spare
    for bits in offered:
        up = 0 if profile.any_shift else numbers.weight_shift + spare - profile.weight_shift(bits)
        if up >= 0 and largest << up <= 2 ** (bits - 1) - 1:
            return bits
    return None


def _on_grid(levels: Array, bits: int) -> bool:
    """Whether magnitudes in ascending order are integer multiples of a step, up to what so many bits hold."""
    most = 2 ** (bits - 1) - 1
    if len(levels) > most:
        return False
    if bits > 8 or not len(levels):
        return True
    codes = np.outer(np.arange(1, most + 1), levels / levels[-1])  # the largest may have any code
    return bool((np.abs(codes - np.rint(codes)) < 1e-4).all(1).any())


def delay_bits(longest: int) -> int:
    """Bits that hold delays of ``0..longest`` steps; 0 if none is longer than 0."""
    return int(longest).bit_length()


def synapse_bits(population: Population, profile: Profile, *, cores: int = 1, delays: bool = True) -> int:
    r"""Bits that the synapses of a population take on the fullest of ``cores``, its neurons in blocks of equal size.

    .. math:: \sum_{source} \sum_{row} R \lceil (n_{row} (w + d + t + i) + h) / R \rceil

    with ``n_row`` synapses in a row, ``w`` bits of a weight, ``d`` of the longest delay, ``t`` a tag, ``i`` the
    target's number within the block, ``h`` the header and ``R`` the rounding of a row; or ``n`` words, where the
    target has synapses of one size. Not counted: pointers to rows, routing tables.
    """
    block = math.ceil(population.size / cores)
    bits = profile.synapse_word_bits
    if bits is None:
        index = max(profile.synapse_index_bits, (block - 1).bit_length())
        own_delay = delay_bits(_longest(population)) if delays and profile.delay_kind == "synaptic" else 0
        bits = weight_bits(population, profile) + own_delay + index + profile.synapse_tag_bits
    per_core = np.zeros(cores, np.int64)
    for part in population.parts.values():
        counts = np.bincount(part.source * cores + part.target // block, minlength=part.sources * cores)
        per_core += _row_bits(counts.astype(np.int64), bits, profile).reshape(part.sources, cores).sum(0)
    return int(per_core.max())


def _row_bits(counts: Array, bits: int, profile: Profile) -> Array:
    """Bits of the rows of so many synapses each."""
    length = profile.synapse_row_length or max(1, int(counts.max(initial=0)))
    full, rest = np.divmod(counts, length)

    def rounded(synapses: Array | int) -> Array:
        unit = profile.synapse_row_round_bits
        return -(-(np.asarray(synapses) * bits + profile.synapse_row_header_bits) // unit) * unit

    return np.asarray(full * rounded(length) + np.where(rest > 0, rounded(rest), 0))


def neurons_per_core(population: Population, profile: Profile) -> int | None:
    """How many neurons of a population a core holds, by number and by accumulators; None if the card knows neither."""
    limits = [profile.neurons_per_core] if profile.neurons_per_core else []
    if profile.accumulator_entries_per_core:
        slots = min(2 ** delay_bits(_longest(population)), profile.max_delay_slots or math.inf)
        limits.append(int(profile.accumulator_entries_per_core // slots))
    return min(limits) if limits else None


def cores(population: Population, profile: Profile) -> int | None:
    """Cores that a population needs: the fewest whose neurons, accumulators and synapse memory suffice.

    None if the card has none of these limits; 0 if not even one neuron fits a core.
    """
    per_core = neurons_per_core(population, profile)
    memory = profile.synapse_bits_per_core
    if per_core is None and memory is None:
        return None
    if per_core == 0:
        return 0
    count = math.ceil(population.size / per_core) if per_core else 1
    if memory is None:
        return count
    least = len(population.weights) * weight_bits(population, profile)
    count = min(population.size, max(count, least // memory))
    while synapse_bits(population, profile, cores=count) > memory:
        if count >= population.size:
            return 0
        count += 1
    return count
