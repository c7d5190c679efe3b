"""What a target cannot hold of a network: one sentence for each limit, with counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from snn_delays.chips.footprint import cores, fitting_bits, neurons_per_core, weight_bits
from snn_delays.chips.profiles import Profile
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses

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


def _broken(kind: str, where: str, text: str, count: int = 1, total: int = 1) -> Violation:
    return Violation(kind, where, f"{where}: {text}", count, total)


def violations(network: CanonicalNetwork, profile: Profile, *, numbers: bool = True) -> list[Violation]:
    """Every limit of a target that a network breaks; nothing is changed. One that is not verified says so.

    Args:
        network: in real or integers.
        profile: of the target.
        numbers: also compare weights, thresholds, decays and biases; False for a network that is still to be
            discretized for the target. Real numbers for a target in integers are no violation: a simulator may run
            them in its place.
    """
    found = [*_sizes(network, profile), *_shared(network, profile)]
    for population in network.populations:
        found += _delays(population.name, population.synapses, profile, recurrent=False)
        if population.recurrent is not None:
            found += _delays(f"{population.name}.recurrent", population.recurrent, profile, recurrent=True)
        found += _neurons(population, profile)
        found += _wiring(population, profile)
        found += _memory(population, profile)
        if numbers:
            found += _numbers(population, profile)
    doubtful = {kind for kind, fields in FIELDS.items() if set(fields) & set(profile.unverified)}
    return [replace(v, text=f"{v.text} (this limit is NOT verified)") if v.kind in doubtful else v for v in found]


def _delays(name: str, synapses: Synapses, profile: Profile, *, recurrent: bool) -> Iterator[Violation]:
    least = max(profile.min_delay_steps, 1 if recurrent else 0)
    # What is fired in one step is seen by its own population in the next, with or without programmable delays.
    most = profile.max_delay_steps if profile.has_delays else int(recurrent)
    delay, total = synapses.delay_steps, len(synapses)

    def example(index: int) -> str:
        return f"{delay[index]}: synapse {synapses.source[index]} -> {synapses.target[index]}"

    early = np.flatnonzero(delay < least)
    if len(early):
        yield _broken(
            "delay", name,
            f"{len(early):,} of {total:,} synapses have delays below {least} (shortest {example(early[0])}), the least "
            f"of {profile.title}; train with min_delay_steps={least}",
            len(early), total,
        )  # fmt: skip
    if most is None:
        return
    late = np.flatnonzero(delay > most)
    if len(late):
        longest = example(int(late[np.argmax(delay[late])]))
        why = "" if profile.has_delays else f", and {profile.title} has no delays that are programmed in steps"
        yield _broken(
            "delay", name,
            f"{len(late):,} of {total:,} synapses have delays above {most} (longest {longest}){why}; retrain with "
            f"max_delay_steps={most}, or clamp them with --clamp",
            len(late), total,
        )  # fmt: skip


def _shared(network: CanonicalNetwork, profile: Profile) -> Iterator[Violation]:
    """What belongs to a source, wherever its synapses lead: one delay on axonal targets, and its fan-out."""
    names = ["the inputs", *(population.name for population in network.populations)]
    for place, name in enumerate(names):
        leaving = [network.populations[place].synapses] if place < len(network.populations) else []
        own = network.populations[place - 1].recurrent if place else None
        leaving += [own] if own is not None else []
        if not leaving:
            continue
        sources = leaving[0].sources
        source = np.concatenate([part.source for part in leaving])
        delay = np.concatenate([part.delay_steps for part in leaving])
        pairs = np.unique(np.stack([source, delay]), axis=1)[0]
        several = np.flatnonzero(np.bincount(pairs, minlength=sources) > 1)
        if profile.delay_kind == "axonal" and len(several):
            yield _broken(
                "sharing", name,
                f"{len(several):,} of {sources:,} sources have synapses of different delays (first: source "
                f"{several[0]}), {profile.title} has one delay for a source; train with sharing='axon'",
                len(several), sources,
            )  # fmt: skip
        yield from _too_many(
            "fan_out", name, np.bincount(source, minlength=sources), profile.max_fan_out, "sources have", profile
        )


def _too_many(
    kind: str, name: str, counts: np.ndarray, limit: int | None, who: str, profile: Profile
) -> Iterator[Violation]:
    over = int((counts > limit).sum()) if limit else 0
    if over:
        yield _broken(
            kind, name,
            f"{over:,} of {len(counts):,} {who} more than {limit:,} synapses (most: {counts.max():,}), the limit of "
            f"{profile.title}; train a narrower or sparser layer",
            over, len(counts),
        )  # fmt: skip


def _neurons(population: Population, profile: Profile) -> Iterator[Violation]:
    name, numbers = population.name, population.arithmetic
    if population.fires and numbers.reset not in profile.resets:
        yield _broken(
            "reset", name,
            f"{profile.title} has no {numbers.reset} reset, only {' and '.join(profile.resets)}; train with "
            f"reset='{profile.resets[0]}'",
        )  # fmt: skip
    decay = numbers.decay if isinstance(numbers, Membrane) else numbers.decay_code / 2**numbers.decay_bits
    if profile.decay_rule == "none" and decay < 1:
        yield _broken(
            "decay", name,
            f"membranes keep {decay:.4g} of their value in a step, those of {profile.title} keep all of it; no leaky "
            "network of this package fits",
        )  # fmt: skip
    if not population.fires and not profile.integrator_readout:
        yield _broken(
            "readout", name,
            f"{profile.title} gives out spikes alone, and {population.size} leaky integrators are read by their "
            "membranes; read them elsewhere, or train a readout that fires",
        )  # fmt: skip
    if population.recurrent is not None and not profile.recurrent:
        yield _broken(
            "recurrence", name,
            f"{len(population.recurrent):,} recurrent synapses, and {profile.title} has none; train with "
            "recurrent=false",
            len(population.recurrent), len(population.recurrent),
        )  # fmt: skip


def _wiring(population: Population, profile: Profile) -> Iterator[Violation]:
    name, parts = population.name, population.parts.values()
    target = np.concatenate([part.target for part in parts])
    into = np.bincount(target, minlength=population.size)
    yield from _too_many("fan_in", name, into, profile.max_fan_in, "neurons take", profile)
    axons = sum(len(np.unique(part.source)) for part in parts)
    if profile.fan_in_axons and axons > profile.fan_in_axons:
        yield _broken(
            "fan_in", name,
            f"spikes come from {axons:,} sources, a core of {profile.title} receives from {profile.fan_in_axons:,}; "
            "train with fewer inputs or a narrower layer before it",
            axons - profile.fan_in_axons, axons,
        )  # fmt: skip
    if profile.distinct_weights:
        weight = np.concatenate([part.weight for part in parts])
        pairs = np.unique(np.stack([target, weight]), axis=1)[0].astype(np.int64)
        values = np.bincount(pairs, minlength=population.size)
        over = int((values > profile.distinct_weights).sum())
        if over:
            yield _broken(
                "weight", name,
                f"{over:,} of {population.size:,} neurons have more than {profile.distinct_weights} different weights "
                f"(most: {values.max():,}), the limit of {profile.title}; train ternary weights",
                over, population.size,
            )  # fmt: skip


def _memory(population: Population, profile: Profile) -> Iterator[Violation]:
    if cores(population, profile) == 0:
        what = "its delay slots" if neurons_per_core(population, profile) == 0 else "the synapses of one neuron"
        yield _broken(
            "memory", population.name,
            f"a core of {profile.title} cannot hold {what}; train shorter delays or a narrower layer",
        )  # fmt: skip


def _sizes(network: CanonicalNetwork, profile: Profile) -> Iterator[Violation]:
    hidden = sum(population.size for population in network.populations[:-1])
    for where, size, limit, what in (
        ("the inputs", network.inputs, profile.max_inputs, "input channels"),
        ("the hidden populations", hidden, profile.max_hidden, "hidden neurons"),
        (network.populations[-1].name, network.populations[-1].size, profile.max_outputs, "output neurons"),
    ):
        if limit and size > limit:
            yield _broken(
                "size", where,
                f"{size:,} {what}, {profile.title} has {limit:,}; train a smaller network",
                size - limit, size,
            )  # fmt: skip


def _numbers(population: Population, profile: Profile) -> Iterator[Violation]:
    name, numbers = population.name, population.arithmetic
    if not isinstance(numbers, FixedPoint):
        yield from _levels(population, profile)
    elif profile.arithmetic == "real":
        yield _broken(
            "arithmetic", name,
            f"computes in integers, {profile.title} in real ones; discretize without a chip as target",
        )  # fmt: skip
    elif profile.arithmetic == "whole":
        yield from _whole(population, numbers, profile)


def _levels(population: Population, profile: Profile) -> Iterator[Violation]:
    if not profile.weight_bits or fitting_bits(population, profile) is not None:
        return
    levels = len(np.unique(np.abs(population.weights)))
    bits = max(profile.weight_bits)
    held = 2 ** (bits - 1) - 1
    yield _broken(
        "weight", population.name,
        f"weights of {levels:,} magnitudes are not integer multiples, up to {held:,}, of any step, as {profile.title} "
        f"has them ({bits} bits, sign included); discretize with target='{profile.name}'",
        max(levels - held, 1), levels,
    )  # fmt: skip


def _whole(population: Population, numbers: FixedPoint, profile: Profile) -> Iterator[Violation]:
    name = population.name
    again = f"discretize with target='{profile.name}'"
    if fitting_bits(population, profile) is None:
        most = max(profile.weight_bits)
        weights = np.abs(population.weights)
        over = int((weights > 2 ** (most - 1) - 1).sum())
        yield _broken(
            "weight", name,
            f"weights up to {int(weights.max()):,}, shifted left by {numbers.weight_shift}, do not fit the {most} bits "
            f"of {profile.title} ({over:,} of {len(weights):,} above {2 ** (most - 1) - 1:,}; its shift is "
            f"{profile.weight_shift(weight_bits(population, profile))}); {again}",
            over, len(weights),
        )  # fmt: skip
    if population.fires:
        if profile.strict_threshold is not None and numbers.strict != profile.strict_threshold:
            rule = "above the threshold alone" if profile.strict_threshold else "at the threshold too"
            yield _broken("threshold", name, f"{profile.title} fires {rule}, the neurons otherwise; {again}")
        step, bits = 2**profile.threshold_shift, profile.threshold_bits or 64
        if numbers.threshold % step or numbers.threshold // step >= 2**bits:
            yield _broken(
                "threshold", name,
                f"the threshold {numbers.threshold:,} is not a multiple of {step} below {step * 2**bits:,}, as "
                f"{profile.title} has them; {again}",
            )  # fmt: skip
    decay = numbers.decay_code / 2**numbers.decay_bits
    if profile.decay_rule == "shift" and decay not in (0.0, 1.0) and not np.log2(1 - decay).is_integer():
        yield _broken("decay", name, f"the decay {decay:.6g} is not 1 - 2^-n, as on {profile.title}; {again}")
    if profile.decay_bits and (numbers.decay_code * 2**profile.decay_bits) % 2**numbers.decay_bits:
        yield _broken(
            "decay", name,
            f"the decay {decay:.6g} is no integer multiple of 2^-{profile.decay_bits}, as on {profile.title}; {again}",
        )  # fmt: skip
    if profile.state_bits and numbers.state_bits > profile.state_bits:
        yield _broken(
            "state", name,
            f"membranes of {numbers.state_bits} bits, {profile.title} has {profile.state_bits}; {again}",
        )  # fmt: skip
    yield from _bias(population, profile, again)


def _bias(population: Population, profile: Profile, again: str) -> Iterator[Violation]:
    if profile.bias_bits is None or not population.bias.any():
        return
    bias = np.abs(population.bias.astype(np.int64))
    common = int(np.bitwise_or.reduce(bias))
    exponent = min(profile.bias_exponent_max, (common & -common).bit_length() - 1)
    limit = (2 ** max(profile.bias_bits - 1, 0) - 1) << exponent
    over = int((bias > limit).sum())
    if over:
        yield _broken(
            "bias", population.name,
            f"{over:,} of {len(bias):,} biases exceed {limit:,} (largest {bias.max():,}), the most that "
            f"{profile.bias_bits} bits times 2^{exponent} hold on {profile.title}; {again}",
            over, len(bias),
        )  # fmt: skip
