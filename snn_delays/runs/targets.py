"""A trained network on every target: whether it fits, and what an inference costs there."""

from pathlib import Path
from typing import Any

from snn_delays.chips.cost import Cost, cost_of
from snn_delays.chips.fit import fit
from snn_delays.chips.footprint import footprint
from snn_delays.chips.profiles import profiles
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ExportError
from snn_delays.ir.trace import make_trace
from snn_delays.runs.load import trained
from snn_delays.runs.samples import counts_of, samples_of
from snn_delays.runs.table import Table
from snn_delays.training.callbacks import Callback
from snn_delays.training.runlog import Run

HEADS = ("target", "fits", "cores", "memory", "because of delays", "spikes", "SynOps", "updates")
COSTS = ("spikes", "synops", "neuron_updates")


def compare_targets(source: Run | Path | str | Any, samples: int = 20, callback: Callback | None = None) -> Table:
    """A row for each target, nothing clamped: numbers of one inference, the mean of validation samples.

    Spikes and operations are those of the network in the target's own numbers, where it computes as networks here do,
    else in real ones. A target that the network does not fit has no costs, only the number of limits broken;
    "unverified" says that the card has numbers from memory. Definitions: ``snn_delays.chips.cost``.

    ``samples``: how many to count on; with 0 no data set is opened, and there are no spikes and operations.
    """
    opened = trained(source, "events")
    dt_ms, counts = opened.recipe.data.dt_ms, None
    if samples:
        dataset, indices = samples_of(opened.recipe, "validation", callback)
        counts = counts_of(dataset, indices[:samples], opened.recipe)
    real = canonical(discretize(opened.network), dt_ms=dt_ms)
    rows: list[tuple[str, ...]] = []
    for chip in profiles().values():
        fitting, network = fit(real, chip), real
        broken = len(fitting.violations)
        if not broken and chip.arithmetic == "whole":
            try:
                network = canonical(discretize(opened.network, target=chip), dt_ms=dt_ms)
            except ExportError:
                broken = 1
        if broken:
            rows.append((chip.name, f"no: {broken} broken", *["-"] * (len(HEADS) - 2)))
            continue
        if counts is None:
            memory = tuple(footprint(population, chip) for population in network.populations)
            cost = Cost(0, 0, 0.0, (), memory, chip.title)
        else:
            cost = cost_of(network, make_trace(network, counts), chip)
        fits = "yes (unverified)" if chip.unverified else "yes"
        cores = "-" if fitting.cores is None else f"{fitting.cores}"
        costs = ("-" if counts is None else f"{cost.total(what):,.0f}" for what in COSTS)
        rows.append((chip.name, fits, cores, f"{cost.memory_bits / 8192:,.0f} KiB", f"{cost.delay_share:.0%}", *costs))
    return Table(HEADS, rows)
