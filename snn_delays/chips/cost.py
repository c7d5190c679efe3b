"""What an inference costs: spikes, synaptic operations, neuron updates and bits, counted on real rasters."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from snn_delays.chips.footprint import REAL_BITS, Footprint, footprint
from snn_delays.chips.profiles import Profile
from snn_delays.errors import ExportError, ShapeError
from snn_delays.ir.canonical import CanonicalNetwork, Population
from snn_delays.ir.trace import Array, Trace

DEFINITIONS = (
    "spikes: events given out per inference; rate: spikes per neuron and step, silent steps after a sample's end too",
    "SynOps: for every event, the synapses stored for its source (weight not zero); a count of 3 in a step is 3 events",
    "graded SynOps: the same, but a count of 3 in a step is one event that carries a number",
    "ANN MACs: steps times synapses, what the same network does if every synapse is used in every step",
    "neuron updates: steps times neurons; membranes change in every step whether spikes come or not",
)
MEMORY_DEFINITIONS = (
    f"bits: synapses times (weight + delay + address); real numbers have {REAL_BITS}; programs and shared numbers are "
    "left out",
    "ring: neurons times (longest delay + 1) times the bits of a membrane; history: spikes remembered instead, sources "
    "times (longest delay + 1), not in the sum",
    "pairs: different (source, delay) pairs, each a tap of a delay line; entries: slots of the ring, or where sources "
    "have the delays, the sum over them of (longest delay + 1)",
    "because of delays: what the network would take less if no delay were stored and the ring had one slot",
)
WORK = ("synops", "graded_synops", "ann_macs", "neuron_updates")


@dataclass(frozen=True)
class PopulationCost:
    """A population's cost of one inference, the mean over samples, by :data:`DEFINITIONS`.

    Synaptic operations are those onto it; integrators give out no spikes.
    """

    name: str
    neurons: int
    synapses: int
    spikes: float
    rate: float
    synops: float
    graded_synops: float
    ann_macs: float
    neuron_updates: float


@dataclass(frozen=True)
class Cost:
    """What :func:`cost_of` found; ``str`` of it is a page to print.

    Attributes:
        samples, steps: of the trace; without samples what depends on them is NaN.
        input_events: per inference.
        populations: in order.
        memory: bits by population on a target, or empty.
        target: its title.
    """

    samples: int
    steps: int
    input_events: float
    populations: tuple[PopulationCost, ...]
    memory: tuple[Footprint, ...] = ()
    target: str = ""

    def total(self, what: str) -> float:
        """The sum of a field over populations."""
        return float(sum(getattr(part, what) for part in self.populations))

    @property
    def memory_bits(self) -> int:
        """Bits of all populations."""
        return sum(part.total for part in self.memory)

    @property
    def delay_share(self) -> float:
        """The part of these bits that is there because of delays."""
        return sum(part.total - part.without_delays for part in self.memory) / max(1, self.memory_bits)

    def as_json(self) -> dict[str, Any]:
        """All numbers, totals and definitions in plain types."""
        return _null_for_nan(
            {
                **asdict(self),
                "memory": [part.as_json() for part in self.memory],
                "total": {name: self.total(name) for name in ("spikes", *WORK)},
                "memory_bits": self.memory_bits,
                "delay_share": self.delay_share,
                "definitions": DEFINITIONS,
            }
        )

    def lines(self) -> list[str]:
        """The page, line by line."""
        page = ["no samples, so spikes and synaptic operations are not counted"]
        if self.samples:
            page = [
                f"one inference: {self.steps} steps, mean of {self.samples} samples, "
                f"{self.input_events:,.0f} input events",
                _row("population", "spikes", "rate", "SynOps", "graded", "ANN MACs", "updates"),
            ]
            for part in self.populations:
                page.append(_row(part.name, part.spikes, f"{part.rate:.1%}", *(getattr(part, what) for what in WORK)))
            page.append(_row("total", self.total("spikes"), "", *map(self.total, WORK)))
        if self.memory:
            page += ["", f"bits on {self.target}: {self.memory_bits:,}, {self.delay_share:.1%} because of delays"]
            page.append(
                _row("population", "weights", "delays", "addresses", "ring", "states", "or history", "pairs", "entries")
            )
            for bits in self.memory:
                each = (bits.weights, bits.delays, bits.addresses, bits.ring, bits.states, bits.history)
                page.append(_row(bits.name, *each, bits.pairs, bits.entries))
        return [*page, "", *(DEFINITIONS if self.samples else ()), *(MEMORY_DEFINITIONS if self.memory else ())]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def cost_of(network: CanonicalNetwork, trace: Trace, profile: Profile | None = None) -> Cost:
    """Count what the samples of a trace cost, and with a profile the bits the network takes on it.

    An event counts at its source, even if it would arrive after the last step.

    Raises ShapeError if the trace is not of this network, ExportError if its samples have no steps.
    """
    steps, samples = trace.counts.shape[:2]
    if samples and not steps:
        raise ExportError(f"the trace has {samples} samples of no steps; there is nothing to count")
    if trace.counts.shape[2] != network.inputs:
        raise ShapeError(f"the trace has {trace.counts.shape[2]} input channels, the network {network.inputs}")
    rows, arriving = [], trace.counts
    for population in network.populations:
        out, shape = trace.outputs.get(population.name), (steps, samples, population.size)
        if out is None or out.shape != shape:
            raise ShapeError(f"{population.name}: expected outputs {shape}, got {None if out is None else out.shape}")
        rows.append(_population(population, arriving, out))
        arriving = out
    return Cost(
        samples=samples,
        steps=steps,
        input_events=_mean(trace.counts.sum(dtype=np.int64), samples),
        populations=tuple(rows),
        memory=tuple(footprint(population, profile) for population in network.populations) if profile else (),
        target=profile.title if profile else "",
    )


def _population(population: Population, arriving: Array, out: Array) -> PopulationCost:
    steps, samples = out.shape[:2]
    spikes = _mean(out.sum(dtype=np.int64) if population.fires else 0.0, samples)
    each = float(steps) if samples else math.nan
    synapses = len(population.weights)

    def operations(graded: bool) -> float:
        events = [(part, given != 0 if graded else given) for part, given in zip(parts, (arriving, out))]
        every = (given.sum((0, 1), dtype=np.int64) @ np.diff(part.row_pointers) for part, given in events)
        return _mean(float(sum(every)), samples)

    parts = population.parts.values()
    return PopulationCost(
        name=population.name,
        neurons=population.size,
        synapses=synapses,
        spikes=spikes,
        rate=_mean(spikes, population.size * steps),
        synops=operations(graded=False),
        graded_synops=operations(graded=True),
        ann_macs=each * synapses,
        neuron_updates=each * population.size,
    )


def _mean(total: float, count: int) -> float:
    return float(total) / count if count else math.nan


@dataclass(frozen=True)
class Energy:
    """An energy and what it rests on; printed together."""

    nanojoule: float
    synops: float
    picojoule_per_synop: float
    assumption: str

    def __str__(self) -> str:
        return (
            f"{self.nanojoule:,.4g} nJ per inference = {self.synops:,.0f} SynOps x {self.picojoule_per_synop:g} pJ; "
            f"ASSUMED, not measured: {self.assumption}"
        )


def energy(cost: Cost, *, picojoule_per_synop: float, assumption: str) -> Energy:
    """Synaptic operations times the energy of one, which the caller must know and say where from.

    Only synaptic operations are counted: not neuron updates, leakage, memory at rest, or moving data on and off a chip.

    Raises ExportError for an energy that is not a positive number, or an assumption that says nothing.
    """
    if not (math.isfinite(picojoule_per_synop) and picojoule_per_synop > 0):
        raise ExportError(f"picojoule_per_synop must be a positive number, got {picojoule_per_synop}")
    if not assumption.strip():
        raise ExportError("an energy needs its assumption: say which chip, voltage and publication the number is from")
    synops = cost.total("synops")
    if math.isnan(synops):
        raise ExportError("the cost has no samples, so no synaptic operations were counted; take a trace of samples")
    return Energy(synops * picojoule_per_synop / 1000, synops, picojoule_per_synop, assumption.strip())


def _null_for_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _null_for_nan(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_null_for_nan(inner) for inner in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def _row(name: str, *cells: float | str) -> str:
    return f"  {name:<14}" + "".join(f"{c:>13}" if isinstance(c, str) else f"{c:>13,.0f}" for c in cells)
