"""From a run to an export: discretised for a target, checked against it, compared on samples, written with a report."""

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from matplotlib.figure import Figure

import snn_delays
from snn_delays import plot
from snn_delays.chips.cost import cost_of
from snn_delays.chips.fit import Fit, fit
from snn_delays.chips.profiles import Profile, profile
from snn_delays.chips.violations import Violation
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.discretize import discretize
from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.errors import ConfigError, ExportError
from snn_delays.export.targets import format_named, target_of, write_export
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace, make_trace
from snn_delays.nn import Sequential, layers_of, record
from snn_delays.nn.neuron import Neuron
from snn_delays.runs.evaluate import samples_of
from snn_delays.runs.fidelity import Fidelity, fidelity
from snn_delays.runs.load import trained_network
from snn_delays.training.runlog import Run
from snn_delays.training.sources import LoadingWatcher, Selection, selection

# Samples on which the networks before and after are compared; a raster of each is kept at once.
COMPARED = 512
# Sums of double precision in another order differ by less; membranes are of the order of one.
CLOSE = 1e-12


@dataclass(frozen=True)
class Wishes:
    """What an export is to be like: see :func:`snn_delays.discrete.discretize` for each."""

    target: str | None = None
    weight_bits: int | str | None = None
    scale: str | None = None
    max_delay_steps: int | None = None
    clamp: bool = False

    def apply(self, network: Sequential, *, real: bool, target: str | None) -> DiscreteNetwork:
        """The network made discrete accordingly."""
        return discretize(
            network, target=target, weight_bits=self.weight_bits, scale=self.scale,
            max_delay_steps=self.max_delay_steps, clamp=self.clamp, real=real,
        )  # fmt: skip


@dataclass(frozen=True, eq=False)
class Export:
    """An export that was written: its files and pictures, and its report's first lines."""

    folder: Path
    files: list[Path]
    network: CanonicalNetwork
    trace: Trace
    summary: list[str]


def export_run(
    run: Run,
    to: str,
    *,
    wishes: Wishes | None = None,
    out: Path | None = None,
    samples: int = 20,
    split: str = "validation",
    options: dict[str, Any] | None = None,
    watcher: LoadingWatcher | None = None,
) -> Export:
    """Write a run's best network in a format, with a golden trace of real samples and a report beside it.

    Nothing is left behind where anything fails.

    Args:
        run: trained.
        to: a name of :data:`snn_delays.export.targets.FORMATS`.
        wishes: target, bits and the like.
        out: folder; default ``export/FORMAT`` in the run's, or ``export/FORMAT_TARGET``.
        samples: how many go into the trace.
        split: where the trace's samples are from: ``"validation"``, or ``"test"``, which is opened for that alone.
        options: of the format: ``encoding`` and ``time_unit`` of NIR, ``relays`` of SpiNNaker 2.

    Raises:
        ConfigError: a format, target or number that does not exist.
        ExportError: what the format or the target cannot hold, or a folder that cannot be written.
    """
    wishes = wishes or Wishes()
    chosen = format_named(to)
    target = target_of(chosen, wishes.target)
    if (options or {}).get("relays"):  # they hold what is longer than the target's delays
        wishes = replace(wishes, weight_bits=wishes.weight_bits or (target.default_weight_bits if target else None))
        target = None
    if samples < 1:
        raise ConfigError(f"the trace needs at least one sample, got {samples}")
    run, data = run.pinned(), selection(run.recipe, watcher)
    before = trained_network(run)
    after = wishes.apply(before, real=chosen.arithmetic == "real", target=target.name if target else None)
    network = canonical(after, dt_ms=run.recipe.data.dt_ms, notes=_notes(run, data))
    trace = make_trace(network, *_samples(run, data, samples, split, watcher))
    changed = fidelity(before, after, data.validation, data.valid[:COMPARED], run.recipe)
    fitting = fit(network, target) if target else None
    cost = cost_of(network, trace, target)
    summary = _summary(after, network, trace, changed, fitting)
    report = [*summary, *(fitting.lines()[1:] if fitting else []), "cost", *cost.lines()]
    name = to if wishes.target is None else f"{to}_{wishes.target}"
    folder = out or run.own("export", name)
    numbers = {
        "format": to,
        "target": target.name if target else None,
        "wishes": {key: value for key, value in vars(wishes).items() if value is not None and value is not False},
        "network": network.notes,
        "discretization": [vars(layer) for layer in after.report.layers],
        "fidelity": changed.as_json(),
        "margins": trace.margins,
        "fit": fitting.as_json() if fitting else None,
        "cost": cost.as_json(),
    }
    documents = {"report.txt": "\n".join(report) + "\n", "report.json": json.dumps(numbers, indent=1) + "\n"}
    pictures = _pictures(f"{run.recipe.name} as {name}", before, after, network, trace, target)
    files = write_export(network, trace, to, folder, documents=documents, pictures=pictures, **(options or {}))
    return Export(folder, files, network, trace, summary)


def _pictures(
    title: str,
    before: Sequential,
    after: DiscreteNetwork,
    network: CanonicalNetwork,
    trace: Trace,
    target: Profile | None,
) -> dict[str, Figure]:
    """The first sample's spikes before and after, and the delays beside the longest of the target."""
    x = torch.from_numpy(trace.counts[:, :1]).unflatten(2, after.sensor or (-1,))
    with torch.inference_mode():
        rasters = [record(side, x.to(next(side.parameters()).dtype)) for side in (before, after)]
    fires = [layer for layer, module in layers_of(after) if isinstance(module, Neuron) and module.fires]
    one, other = ({layer: raster[layer][:, 0].flatten(1).numpy() for layer in fires} for raster in rasters)
    limits = {} if target is None else {target.name: target.max_delay_steps if target.has_delays else 0}
    delays = {layer: synapses.delay_steps for layer, synapses in network.all_synapses() if len(synapses)}
    spikes = plot.changed_spikes_figure(one, other, dt_ms=network.dt_ms, title=f"{title}: spikes kept, lost and new")
    return {"spikes.png": spikes, "delays.png": plot.delay_budget_figure(delays, limits)}


def check_run(run: Run, wishes: Wishes, watcher: LoadingWatcher | None = None) -> Fit:
    """Whether a run's best network fits ``wishes.target``, discretised as wished; nothing is clamped unasked.

    What only discretising shows, as a threshold that the target's numbers cannot hold, is a violation too.
    """
    if wishes.target is None:
        raise ConfigError("a check needs a target; see `snn-delays targets`")
    run, data, chip = run.pinned(), selection(run.recipe, watcher), profile(wishes.target)
    trained = trained_network(run)
    dt_ms, notes = run.recipe.data.dt_ms, _notes(run, data)
    limit = wishes.max_delay_steps if wishes.clamp else None
    plain = discretize(trained, max_delay_steps=limit, clamp=wishes.clamp)
    fitting = fit(canonical(plain, dt_ms=dt_ms, notes=notes), chip)
    if chip.arithmetic == "other" or chip.delay_kind == "analog" or not (fitting.fits or wishes.clamp):
        return fitting
    try:
        made = wishes.apply(trained, real=False, target=chip.name)
    except ExportError as error:
        return replace(fitting, violations=(*fitting.violations, Violation("numbers", "the network", str(error))))
    return fit(canonical(made, dt_ms=dt_ms, notes=notes), chip)


def _samples(
    run: Run, data: Selection, samples: int, split: str, watcher: LoadingWatcher | None
) -> tuple[Any, dict[str, str]]:
    """Counts of the first samples of a split, and where they are from."""
    dataset, chosen = samples_of(run.recipe, split, watcher, data)
    chosen = chosen[:samples]
    counts = dataset.batch(chosen, run.recipe.data.tail_steps).counts.flatten(2).numpy()
    return counts, {"data": dataset.source, "split": split}


def _notes(run: Run, data: Selection) -> dict[str, str]:
    return {
        "made_by": f"snn_delays {snn_delays.__version__}",
        "run": run.recipe.name,
        "recipe_sha256": hashlib.sha256((run.folder / "recipe.toml").read_bytes()).hexdigest(),
        "epoch": str(run.best_epoch()),
        "trained_on": data.training.source,
    }


def _summary(
    network: DiscreteNetwork, form: CanonicalNetwork, trace: Trace, changed: Fidelity, fitting: Fit | None
) -> list[str]:
    lines = ["what became discrete", *(f"  {line}" for line in str(network.report).splitlines())]
    lines += ["what that changed", *(f"  {line}" for line in changed.lines())]
    of = f"{trace.notes['split']} " if "split" in trace.notes else ""
    for name, margin in trace.margins.items():
        close = "; another order of summation may decide otherwise" if margin < CLOSE and not form.whole else ""
        lines.append(
            f"  {name}: closest decision {margin:.3g} from the threshold, over {trace.samples} {of}samples{close}"
        )
    if fitting is not None:
        verdict = fitting.lines()[0]
        known = f"; {len(fitting.unverified)} of its numbers are not verified" if fitting.unverified else ""
        lines += ["fit", f"  {verdict}{known}"]
    return lines
