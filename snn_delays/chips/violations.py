"""What a target cannot hold of a network: one sentence for each limit, with counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from snn_delays.chips.footprint import cores, fitting_bits, neurons_per_core, weight_bits
from snn_delays.chips.profiles import Profile
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses

# A kind of violation, how many of how many break the limit (none: it is kept), and the sentence.
Rule = tuple[str, int, int, str]
# The fields of a card on which each kind of violation rests.
FIELDS = {
    "delay": ("delay_kind", "min_delay_steps", "max_delay_steps"),
    "sharing": ("delay_kind",),
    "arithmetic": ("arithmetic",),
    "weight": ("weight_bits", "distinct_weights", "membrane_shift", "weight_align_bits"),
    "reset": ("resets",),
    "threshold": ("strict_threshold", "threshold_bits", "threshold_shift"),
    "decay": ("decay_rule", "decay_bits"),
    "state": ("state_bits",),
    "bias": ("bias_bits", "bias_exponent_max"),
    "recurrence": ("recurrent",),
    "readout": ("integrator_readout",),
    "fan_in": ("max_fan_in", "fan_in_axons"),
    "fan_out": ("max_fan_out",),
    "size": ("max_inputs", "max_hidden", "max_outputs"),
    "memory": ("neurons_per_core", "accumulator_entries_per_core", "synapse_bits_per_core"),
}


@dataclass(frozen=True)
class Violation:
    """A limit that a network breaks.

    Attributes:
        kind: one of :data:`FIELDS`.
        where: the population or its recurrent synapses.
        text: the sentence: what, how many, the limit, what to do.
        count, total: how many of how many break it.
    """

    kind: str
    where: str
    text: str
    count: int = 1
    total: int = 1

    def __str__(self) -> str:
        return self.text


def violations(network: CanonicalNetwork, profile: Profile, *, numbers: bool = True) -> list[Violation]:
    """Every limit of a target that a network breaks; nothing is changed. One that is not verified says so.

    Args:
        network: in real numbers or integers.
        profile: of the target.
        numbers: also compare weights, thresholds, decays and biases; False for a network that is still to be
            discretised for the target. Real numbers for a target in integers are no violation: a simulator may run
            them in its place.
    """
    rules: list[tuple[str, Rule]] = [*_sizes(network, profile), *_shared(network, profile)]
    for population in network.populations:
        for name, synapses in population.parts.items():
            rules += [(name, rule) for rule in _delays(synapses, profile, synapses is population.recurrent)]
        checks = [_neurons, _wiring, *([_numbers] if numbers else [])]
        rules += [(population.name, rule) for check in checks for rule in check(population, profile)]
    doubtful = {kind for kind, fields in FIELDS.items() if set(fields) & set(profile.unverified)}
    return [
        Violation(
            kind, where, f"{where}: {text}{' (this limit is NOT verified)' * (kind in doubtful)}", int(count), total
        )
        for where, (kind, count, total, text) in rules
        if count
    ]


def _sizes(network: CanonicalNetwork, profile: Profile) -> Iterator[tuple[str, Rule]]:
    hidden = sum(population.size for population in network.populations[:-1])
    last = network.populations[-1]
    for where, size, limit, what in (
        ("the inputs", network.inputs, profile.max_inputs, "input channels"),
        ("the hidden populations", hidden, profile.max_hidden, "hidden neurons"),
        (last.name, last.size, profile.max_outputs, "output neurons"),
    ):
        if limit:
            text = f"{size:,} {what}, {profile.title} has {limit:,}; train a smaller network"
            yield where, ("size", max(size - limit, 0), size, text)


def _shared(network: CanonicalNetwork, profile: Profile) -> Iterator[tuple[str, Rule]]:
    """What belongs to a source, wherever its synapses lead: one delay on axonal targets, and its fan-out."""
    senders = ["the inputs", *(population.name for population in network.populations)]
    leaving = [[population.synapses] for population in network.populations] + [[]]
    for parts, population in zip(leaving[1:], network.populations):
        parts += [] if population.recurrent is None else [population.recurrent]
    for name, parts in zip(senders, leaving):
        if not parts:
            continue
        sources = parts[0].sources
        source = np.concatenate([part.source for part in parts])
        delay = np.concatenate([part.delay_steps for part in parts])
        several = np.flatnonzero(_distinct(source, delay, sources) > 1)
        if profile.delay_kind == "axonal" and len(several):
            yield name, (
                "sharing", len(several), sources,
                f"{len(several):,} of {sources:,} sources have synapses of different delays (first: source "
                f"{several[0]}), {profile.title} has one delay for a source; train with sharing='axon'",
            )  # fmt: skip
        counts = np.bincount(source, minlength=sources)
        yield name, _too_many("fan_out", counts, profile.max_fan_out, "sources have", profile)


def _distinct(neuron: np.ndarray, values: np.ndarray, size: int) -> np.ndarray:
    """How many different values each neuron has."""
    pairs = np.unique(np.stack([neuron, values]), axis=1)
    return np.bincount(pairs[0].astype(np.int64), minlength=size)


def _too_many(kind: str, counts: np.ndarray, limit: int | None, who: str, profile: Profile) -> Rule:
    if not limit:
        return kind, 0, len(counts), ""
    over = int((counts > limit).sum())
    return kind, over, len(counts), (
        f"{over:,} of {len(counts):,} {who} more than {limit:,} synapses (most: {counts.max(initial=0):,}), the limit "
        f"of {profile.title}; train a narrower or sparser layer"
    )  # fmt: skip


def _delays(synapses: Synapses, profile: Profile, recurrent: bool) -> Iterator[Rule]:
    delay, total = synapses.delay_steps, len(synapses)
    if not total:
        return
    least = max(profile.min_delay_steps, int(recurrent))
    # What is fired in one step is seen by its own population in the next, with or without programmable delays.
    most = profile.max_delay_steps if profile.has_delays else int(recurrent)
    shortest, longest = (
        f"{delay[n]}: synapse {synapses.source[n]} -> {synapses.target[n]}" for n in (delay.argmin(), delay.argmax())
    )
    early, late = int((delay < least).sum()), 0 if most is None else int((delay > most).sum())
    yield "delay", early, total, (
        f"{early:,} of {total:,} synapses have delays below {least} (shortest {shortest}), the least of "
        f"{profile.title}; train with min_delay_steps={least}"
    )  # fmt: skip
    why = "" if profile.has_delays else f", and {profile.title} has no delays that are programmed in steps"
    yield "delay", late, total, (
        f"{late:,} of {total:,} synapses have delays above {most} (longest {longest}){why}; retrain with "
        f"max_delay_steps={most}, or clamp them with --clamp"
    )  # fmt: skip


def _neurons(population: Population, profile: Profile) -> Iterator[Rule]:
    title, numbers, recurrent = profile.title, population.arithmetic, len(population.recurrent or ())
    yield "reset", population.fires and numbers.reset not in profile.resets, 1, (
        f"{title} has no {numbers.reset} reset, only {' and '.join(profile.resets)}; train with "
        f"reset='{profile.resets[0]}'"
    )  # fmt: skip
    decay = numbers.decay if isinstance(numbers, Membrane) else numbers.decay_code / 2**numbers.decay_bits
    yield "arithmetic", isinstance(numbers, Membrane) and numbers.filters, 1, (
        f"currents are filtered (CubaLIF), for which no export to {title} has neurons; train with LIF neurons"
    )  # fmt: skip
    yield "decay", profile.decay_rule == "none" and decay < 1, 1, (
        f"membranes keep {decay:.4g} of their value in a step, those of {title} keep all of it; no leaky network of "
        "this package fits"
    )  # fmt: skip
    yield "readout", not (population.fires or profile.integrator_readout), 1, (
        f"{title} gives out spikes alone, and {population.size} leaky integrators are read by their membranes; read "
        "them elsewhere, or train a readout that fires"
    )  # fmt: skip
    yield "recurrence", 0 if profile.recurrent else recurrent, recurrent, (
        f"{recurrent:,} recurrent synapses, and {title} has none; train with recurrent=false"
    )  # fmt: skip


def _wiring(population: Population, profile: Profile) -> Iterator[Rule]:
    title, size, parts = profile.title, population.size, population.parts.values()
    target = np.concatenate([part.target for part in parts])
    yield _too_many("fan_in", np.bincount(target, minlength=size), profile.max_fan_in, "neurons take", profile)
    if limit := profile.fan_in_axons:
        axons = sum(len(np.unique(part.source)) for part in parts)
        yield "fan_in", max(axons - limit, 0), axons, (
            f"spikes come from {axons:,} sources, a core of {title} receives from {limit:,}; train with fewer inputs "
            "or a narrower layer before it"
        )  # fmt: skip
    if limit := profile.distinct_weights:
        values = _distinct(target, population.weights, size)
        over = int((values > limit).sum())
        yield "weight", over, size, (
            f"{over:,} of {size:,} neurons have more than {limit} different weights (most: {values.max():,}), the "
            f"limit of {title}; train ternary weights"
        )  # fmt: skip
    what = "its delay slots" if neurons_per_core(population, profile) == 0 else "the synapses of one neuron"
    yield "memory", cores(population, profile) == 0, 1, (
        f"a core of {title} cannot hold {what}; train shorter delays or a narrower layer"
    )  # fmt: skip


def _numbers(population: Population, profile: Profile) -> Iterator[Rule]:
    again = f"discretize with target='{profile.name}'"
    if isinstance(population.arithmetic, FixedPoint) and profile.arithmetic == "real":
        text = f"computes in integers, {profile.title} in real ones; discretize without a chip as target"
        yield "arithmetic", 1, 1, text
    elif not isinstance(population.arithmetic, FixedPoint):
        if profile.weight_bits and fitting_bits(population, profile) is None:
            levels, bits = len(np.unique(np.abs(population.weights))), max(profile.weight_bits)
            held = 2 ** (bits - 1) - 1
            yield "weight", max(levels - held, 1), levels, (
                f"weights of {levels:,} magnitudes are not integer multiples, up to {held:,}, of any step, as "
                f"{profile.title} has them ({bits} bits, sign included); {again}"
            )  # fmt: skip
    elif profile.arithmetic == "whole":
        yield from _integers(population, population.arithmetic, profile, again)


def _integers(population: Population, numbers: FixedPoint, profile: Profile, again: str) -> Iterator[Rule]:
    title = profile.title
    if fitting_bits(population, profile) is None:
        most, weights = max(profile.weight_bits), np.abs(population.weights)
        held = 2 ** (most - 1) - 1
        over = int((weights > held).sum())
        yield "weight", over or len(weights), len(weights), (  # where none is too large, the shift of all is another
            f"weights up to {int(weights.max()):,}, shifted left by {numbers.weight_shift}, do not fit the {most} bits "
            f"of {title} ({over:,} of {len(weights):,} above {held:,}; its shift is "
            f"{profile.weight_shift(weight_bits(population, profile))}); {again}"
        )  # fmt: skip
    strict, step, bits = profile.strict_threshold, 2**profile.threshold_shift, profile.threshold_bits or 64
    rule = "above the threshold alone" if strict else "at the threshold too"
    yield "threshold", population.fires and strict not in (None, numbers.strict), 1, (
        f"{title} fires {rule}, the neurons otherwise; {again}"
    )  # fmt: skip
    off = bool(numbers.threshold % step) or numbers.threshold // step >= 2**bits
    yield "threshold", population.fires and off, 1, (
        f"the threshold {numbers.threshold:,} is not a multiple of {step} below {step * 2**bits:,}, as {title} has "
        f"them; {again}"
    )  # fmt: skip
    decay = numbers.decay_code / 2**numbers.decay_bits
    off = profile.decay_rule == "shift" and decay not in (0.0, 1.0) and not np.log2(1 - decay).is_integer()
    yield "decay", off, 1, f"the decay {decay:.6g} is not 1 - 2^-n, as on {title}; {again}"
    off = bool(profile.decay_bits and (numbers.decay_code * 2**profile.decay_bits) % 2**numbers.decay_bits)
    yield "decay", off, 1, (
        f"the decay {decay:.6g} is no integer multiple of 2^-{profile.decay_bits}, as on {title}; {again}"
    )  # fmt: skip
    yield "state", bool(profile.state_bits) and numbers.state_bits > (profile.state_bits or 0), 1, (
        f"membranes of {numbers.state_bits} bits, {title} has {profile.state_bits}; {again}"
    )  # fmt: skip
    if profile.bias_bits is not None:
        bias = np.abs(population.bias.astype(np.int64))
        common = int(np.bitwise_or.reduce(bias))
        exponent = min(profile.bias_exponent_max, max((common & -common).bit_length() - 1, 0))
        limit = (2 ** max(profile.bias_bits - 1, 0) - 1) << exponent
        over = int((bias > limit).sum())
        yield "bias", over, len(bias), (
            f"{over:,} of {len(bias):,} biases exceed {limit:,} (largest {bias.max():,}), the most that "
            f"{profile.bias_bits} bits times 2^{exponent} hold on {title}; {again}"
        )  # fmt: skip
