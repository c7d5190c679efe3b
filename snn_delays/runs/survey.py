"""A run's network on every target: whether it fits, and what an inference costs there."""

from snn_delays.chips.cost import cost_of
from snn_delays.chips.fit import fit
from snn_delays.chips.profiles import profiles
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ExportError
from snn_delays.ir.trace import make_trace
from snn_delays.runs.load import trained_network
from snn_delays.training.runlog import Run
from snn_delays.training.sources import LoadingWatcher, selection

HEADS = ("target", "fits", "cores", "memory", "because of delays", "spikes", "SynOps", "updates")


def survey(run: Run, samples: int = 20, watcher: LoadingWatcher | None = None) -> list[tuple[str, ...]]:
    """A row under ``HEADS`` for each target, nothing clamped: numbers of one inference, the mean of validation samples.

    Spikes and operations are those of the network in the target's own numbers, where it computes as networks here do,
    else in real ones. A target that the network does not fit has no costs, only the number of limits broken;
    "unverified" says that the card has numbers from memory. Definitions: ``snn_delays.chips.cost``.
    """
    data = selection(run.recipe, watcher)
    trained, dt_ms = trained_network(run), run.recipe.data.dt_ms
    counts = data.validation.batch(data.valid[:samples], run.recipe.data.tail_steps).counts.flatten(2).numpy()
    real = canonical(discretize(trained), dt_ms=dt_ms)
    rows = []
    for chip in profiles().values():
        fitting, network = fit(real, chip), real
        broken = len(fitting.violations)
        if not broken and chip.arithmetic == "whole":
            try:
                network = canonical(discretize(trained, target=chip), dt_ms=dt_ms)
            except ExportError:
                broken = 1
        if broken:
            rows.append((chip.name, f"no: {broken} broken", *["-"] * (len(HEADS) - 2)))
            continue
        cost = cost_of(network, make_trace(network, counts), chip)
        rows.append(
            (
                chip.name,
                "yes" + (" (unverified)" if chip.unverified else ""),
                "-" if fitting.cores is None else f"{fitting.cores}",
                f"{cost.memory_bits / 8192:,.0f} KiB",
                f"{cost.delay_share:.0%}",
                *(f"{cost.total(what):,.0f}" for what in ("spikes", "synops", "neuron_updates")),
            )
        )
    return rows


def markdown(rows: list[tuple[str, ...]]) -> str:
    """The rows as a table in a document."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (HEADS, ["---"] * len(HEADS), *rows)) + "\n"
