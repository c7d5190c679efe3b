"""Whether a network fits a target: limits, cores, memory, delays against the limit, and what is not known for sure."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from snn_delays.chips.footprint import cores, fitting_bits, synapse_bits, weight_bits
from snn_delays.chips.profiles import Profile
from snn_delays.chips.violations import Violation, violations
from snn_delays.ir.canonical import CanonicalNetwork, Population

__all__ = ["Fit", "PopulationFit", "Violation", "fit", "violations"]

LIMITS = (
    "max_delay_steps",
    "max_fan_in",
    "fan_in_axons",
    "neurons_per_core",
    "synapse_bits_per_core",
    "accumulator_entries_per_core",
    "bias_bits",
)
BARS, WIDTH = 16, 30


@dataclass(frozen=True)
class PopulationFit:
    """A population on a target.

    Attributes:
        synapses: recurrent ones too.
        synapse_bits: :func:`snn_delays.chips.footprint.synapse_bits`, all on one core; None for software.
        cores: :func:`snn_delays.chips.footprint.cores`; None where the card has no such limit, 0 where no number of
            cores suffices.
        delay_counts: synapses by delay in steps, from 0 to the longest.
        beyond: synapses whose delay is above the target's.
    """

    name: str
    neurons: int
    synapses: int
    weight_bits: int
    synapse_bits: int | None
    cores: int | None
    delay_counts: tuple[int, ...]
    beyond: int


@dataclass(frozen=True)
class Fit:
    """What :func:`fit` found; ``str`` of it is a page to print."""

    target: str
    title: str
    software: bool
    delay_limit: int | None
    inputs: int
    populations: tuple[PopulationFit, ...]
    violations: tuple[Violation, ...]
    notes: tuple[str, ...]
    unverified: tuple[str, ...]
    unchecked: tuple[str, ...]

    @property
    def fits(self) -> bool:
        """Whether no limit on the card is broken."""
        return not self.violations

    @property
    def cores(self) -> int | None:
        """Cores of all populations; None where any is not known, or none suffices."""
        each = [population.cores for population in self.populations]
        return None if not all(each) else sum(count or 0 for count in each)

    def as_json(self) -> dict[str, Any]:
        """All of it in plain types."""
        return {**asdict(self), "fits": self.fits, "cores": self.cores}

    def lines(self) -> list[str]:
        """The page, line by line."""
        verdict = "fits" if self.fits else f"does not fit: {len(self.violations)} limits broken"
        page = [f"{self.title} ({self.target}): {verdict}"]
        page += [f"  - {violation}" for violation in self.violations]
        page += ["", _row("population", "neurons", "synapses", "weights", "synapse memory", "cores")]
        for part in self.populations:
            memory = "-" if part.synapse_bits is None else f"{part.synapse_bits / 8192:,.1f} KiB"
            count = {None: "-", 0: "none"}.get(part.cores, str(part.cores))
            page.append(
                _row(part.name, f"{part.neurons:,}", f"{part.synapses:,}", f"{part.weight_bits} bit", memory, count)
            )
        if self.cores is not None:
            page.append(f"  {self.cores} cores; estimated: {_FORMULA}")
        for part in self.populations:
            page += ["", *_histogram(part, self.delay_limit)]
        page += [""] * bool(self.notes or self.unverified or self.unchecked)
        page += [f"  note: {note}" for note in self.notes]
        page += [f"  {line}" for line in self.unverified]
        if self.unchecked:
            page.append(f"  not on the card, so not checked: {', '.join(self.unchecked)}")
        return page

    def __str__(self) -> str:
        return "\n".join(self.lines())


_FORMULA = (
    "the fewest whose neurons, delay slots and synapse rows suffice, each population on cores of its own; routing "
    "tables and relays not counted"
)


def _row(name: str, *cells: str) -> str:
    return f"  {name:<14}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, (9, 11, 9, 17, 7)))


def fit(network: CanonicalNetwork, profile: Profile) -> Fit:
    """Compare a network with every limit on a target's card.

    A network in real numbers is taken as it would be after being discretized for the target: its numbers are not
    compared, and the target's default bits are used.
    """
    # Without programmable delays, the step after is what recurrent synapses have anyway.
    limit = profile.max_delay_steps if profile.has_delays else 0
    return Fit(
        target=profile.name,
        title=profile.title,
        software=profile.software,
        delay_limit=limit,
        inputs=network.inputs,
        populations=tuple(_population(population, profile, limit) for population in network.populations),
        violations=tuple(violations(network, profile, numbers=network.whole)),
        notes=tuple(_notes(network, profile)),
        unverified=tuple(profile.cite(*profile.unverified)),
        unchecked=() if profile.software else tuple(name for name in LIMITS if _silent(profile, name)),
    )


def _silent(profile: Profile, name: str) -> bool:
    """Whether a card says nothing of a limit that could apply."""
    if name == "max_delay_steps" and not profile.has_delays:
        return False
    return getattr(profile, name) is None


def _population(population: Population, profile: Profile, limit: int | None) -> PopulationFit:
    parts = population.parts.values()
    delays = np.concatenate([part.delay_steps for part in parts])
    beyond = 0
    if limit is not None:
        own = population.recurrent
        beyond = int((population.synapses.delay_steps > limit).sum())
        beyond += int((own.delay_steps > max(limit, 1)).sum()) if own is not None else 0
    return PopulationFit(
        name=population.name,
        neurons=population.size,
        synapses=len(delays),
        weight_bits=weight_bits(population, profile),
        synapse_bits=None if profile.software else synapse_bits(population, profile),
        cores=cores(population, profile),
        delay_counts=tuple(int(count) for count in np.bincount(delays)),
        beyond=beyond,
    )


def _notes(network: CanonicalNetwork, profile: Profile) -> list[str]:
    notes = []
    if not network.whole and profile.default_weight_bits:
        if profile.arithmetic == "whole":
            notes.append("still in real numbers; discretizing for this target makes them whole")
        loose = [one.name for one in network.populations if fitting_bits(one, profile) is None]
        if loose:
            bits = profile.default_weight_bits
            notes.append(f"weights of {', '.join(loose)} are on no grid yet; discretizing puts them on {bits} bits")
    shortest = min((p.synapses.min_delay_steps for p in network.populations if len(p.synapses)), default=0)
    if shortest < profile.recommended_min_delay_steps:
        notes.append(
            f"the shortest delay is {shortest}: layers lag a step each; with "
            f"min_delay_steps={profile.recommended_min_delay_steps} rasters agree without a shift"
        )
    spiking = [population.arithmetic for population in network.populations if population.fires]
    if profile.strict_threshold and not network.whole and not all(numbers.strict for numbers in spiking):
        notes.append("the target fires above the threshold alone; the network also at it: keep thresholds off the grid")
    each = [cores(population, profile) for population in network.populations]
    if profile.cores_per_chip and all(each):
        total = sum(count or 0 for count in each)
        notes.append(f"chips of {profile.cores_per_chip} cores needed: {math.ceil(total / profile.cores_per_chip)}")
    if profile.arithmetic == "other":
        notes.append("its neurons are of another kind: networks can be checked against it, not computed as it does")
    return notes


def _histogram(part: PopulationFit, limit: int | None) -> list[str]:
    counts = np.array(part.delay_counts, dtype=np.int64)
    total = max(1, part.synapses)
    against = "no limit" if limit is None else f"{part.beyond / total:.1%} beyond the limit of {limit}"
    lines = [f"  delays of {part.name} (steps): longest {len(counts) - 1 if len(counts) else 0}, {against}"]
    starts = set(range(0, len(counts), max(1, math.ceil(len(counts) / BARS))))
    if limit is not None and limit + 1 < len(counts):
        starts.add(limit + 1)  # no bar on both sides of the limit
    edges = [*sorted(starts), len(counts)]
    sums = [int(counts[first:after].sum()) for first, after in pairwise(edges)]
    for first, after, count in zip(edges, edges[1:], sums):
        mark = "!" if limit is not None and first > limit else " "
        label = f"{first}" if after == first + 1 else f"{first}..{after - 1}"
        lines.append(f"  {mark} {label:>9} {count:>9,} {'#' * math.ceil(WIDTH * count / max(1, max(sums)))}")
    return lines
