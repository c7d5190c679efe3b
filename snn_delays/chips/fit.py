"""Whether a network fits a target: limits, cores, memory, delays against the limit, and what is not known for sure."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from snn_delays.chips.footprint import cores, fitting_bits, synapse_bits, weight_bits
from snn_delays.chips.profiles import Profile
from snn_delays.chips.violations import Violation, violations
from snn_delays.ir.canonical import CanonicalNetwork, Population

__all__ = ["Fit", "PopulationFit", "Violation", "fit", "violations"]

# What a chip's card should say; max_delay_steps too where its delays are programmed.
LIMITS = ("max_fan_in", "fan_in_axons", "neurons_per_core", "synapse_bits_per_core", "accumulator_entries_per_core",
          "bias_bits")  # fmt: skip
ESTIMATED = (
    "the fewest whose neurons, delay slots and synapse rows suffice, each population on cores of its own; routing "
    "tables and relays not counted"
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
        page = [f"{self.title} ({self.target}): {verdict}", *(f"  - {violation}" for violation in self.violations), ""]
        page.append(_row("population", "neurons", "synapses", "weights", "synapse memory", "cores"))
        for part in self.populations:
            memory = "-" if part.synapse_bits is None else f"{part.synapse_bits / 8192:,.1f} KiB"
            count = {None: "-", 0: "none"}.get(part.cores, str(part.cores))
            cells = (f"{part.neurons:,}", f"{part.synapses:,}", f"{part.weight_bits} bit", memory, count)
            page.append(_row(part.name, *cells))
        if self.cores is not None:
            page.append(f"  {self.cores} cores; estimated: {ESTIMATED}")
        for part in self.populations:
            page += ["", *_histogram(part, self.delay_limit)]
        remarks = [*(f"note: {note}" for note in self.notes), *self.unverified]
        if self.unchecked:
            remarks.append(f"not on the card, so not checked: {', '.join(self.unchecked)}")
        return [*page, *[""] * bool(remarks), *(f"  {line}" for line in remarks)]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def fit(network: CanonicalNetwork, profile: Profile) -> Fit:
    """Compare a network with every limit on a target's card.

    A network in real numbers is taken as it would be after being discretised for the target: its numbers are not
    compared, and the target's default bits are used.
    """
    # Without programmable delays, the step after is what recurrent synapses have anyway.
    limit = profile.max_delay_steps if profile.has_delays else 0
    due = (*(["max_delay_steps"] if profile.has_delays else []), *LIMITS)
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
        unchecked=() if profile.software else tuple(name for name in due if getattr(profile, name) is None),
    )


def _population(population: Population, profile: Profile, limit: int | None) -> PopulationFit:
    delays = np.concatenate([part.delay_steps for part in population.parts.values()])
    limits = () if limit is None else (limit, max(limit, 1))
    return PopulationFit(
        name=population.name,
        neurons=population.size,
        synapses=len(delays),
        weight_bits=weight_bits(population, profile),
        synapse_bits=None if profile.software else synapse_bits(population, profile),
        cores=cores(population, profile),
        delay_counts=tuple(int(count) for count in np.bincount(delays)),
        beyond=sum(int((part.delay_steps > most).sum()) for part, most in zip(population.parts.values(), limits)),
    )


def _notes(network: CanonicalNetwork, profile: Profile) -> Iterator[str]:
    if not network.whole and (bits := profile.default_weight_bits):
        if profile.arithmetic == "whole":
            yield "still in real numbers; discretizing for this target makes them whole"
        loose = [one.name for one in network.populations if fitting_bits(one, profile) is None]
        if loose:
            yield f"weights of {', '.join(loose)} are on no grid yet; discretizing puts them on {bits} bits"
    shortest = min((p.synapses.min_delay_steps for p in network.populations if len(p.synapses)), default=0)
    if shortest < (least := profile.recommended_min_delay_steps):
        yield (
            f"the shortest delay is {shortest}: layers lag a step each; with min_delay_steps={least} rasters agree "
            "without a shift"
        )
    spiking = [population.arithmetic for population in network.populations if population.fires]
    if profile.strict_threshold and not network.whole and not all(numbers.strict for numbers in spiking):
        yield "the target fires above the threshold alone; the network also at it: keep thresholds off the grid"
    each = [cores(population, profile) for population in network.populations]
    if profile.cores_per_chip and all(each):
        chips = math.ceil(sum(count or 0 for count in each) / profile.cores_per_chip)
        yield f"chips of {profile.cores_per_chip} cores needed: {chips}"
    if profile.arithmetic == "other":
        yield "its neurons are of another kind: networks can be checked against it, not computed as it does"


def _histogram(part: PopulationFit, limit: int | None) -> list[str]:
    counts = part.delay_counts
    against = "no limit" if limit is None else f"{part.beyond / max(1, part.synapses):.1%} beyond the limit of {limit}"
    lines = [f"  delays of {part.name} (steps): longest {max(len(counts) - 1, 0)}, {against}"]
    starts = set(range(0, len(counts), max(1, math.ceil(len(counts) / BARS))))
    if limit is not None and limit + 1 < len(counts):
        starts.add(limit + 1)  # no bar on both sides of the limit
    bars = [(first, after, sum(counts[first:after])) for first, after in pairwise([*sorted(starts), len(counts)])]
    tallest = max((count for *_, count in bars), default=1) or 1
    for first, after, count in bars:
        mark = "!" if limit is not None and first > limit else " "
        label = f"{first}" if after == first + 1 else f"{first}..{after - 1}"
        lines.append(f"  {mark} {label:>9} {count:>9,} {'#' * math.ceil(WIDTH * count / tallest)}")
    return lines


def _row(name: str, *cells: str) -> str:
    return f"  {name:<14}" + "".join(f"{cell:>{width}}" for cell, width in zip(cells, (9, 11, 9, 17, 7)))
