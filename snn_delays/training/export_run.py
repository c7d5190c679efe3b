"""From a run to an export: discretised for a target, checked against it, compared on samples, written with a report."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import snn_delays
from snn_delays import plot
from snn_delays.errors import ConfigError
from snn_delays.export.canonical import CanonicalNetwork
from snn_delays.export.convert import canonical
from snn_delays.export.cost import cost_of
from snn_delays.export.discretize import discretize
from snn_delays.export.fit import Fit, fit
from snn_delays.export.network import DiscreteNetwork
from snn_delays.export.profiles import Profile, profile
from snn_delays.export.targets import format_named, target_of, write_export
from snn_delays.export.trace import Trace, make_trace
from snn_delays.nn import Sequential, layers_of, record
from snn_delays.nn.neuron import Neuron
from snn_delays.training.evaluate import trained_network
from snn_delays.training.fidelity import Fidelity, fidelity
from snn_delays.training.runlog import Run
from snn_delays.training.sources import LoadingWatcher, Selection, selection

# Samples on which the networks before and after are compared; a raster of each is kept at once.
COMPARED = 512


@dataclass(frozen=True)
class Wishes:
    """What an export is to be like: see :func:`snn_delays.export.discretize` for each."""

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
    options: dict[str, Any] | None = None,
    watcher: LoadingWatcher | None = None,
) -> Export:
    """Write a run's best network in a format, with a golden trace of validation samples and a report beside it.

    Never opens test data. Nothing is left behind where anything fails.

    Args:
        run: trained.
        to: a name of :data:`snn_delays.export.targets.FORMATS`.
        wishes: target, bits and the like.
        out: folder; default ``export/FORMAT`` in the run's, or ``export/FORMAT_TARGET``.
        samples: how many go into the trace.
        options: of the format.

    Raises:
        ConfigError: a format, target or number that does not exist.
        ExportError: what the format or the target cannot hold, or a folder that cannot be written.
    """
    wishes = wishes or Wishes()
    chosen = format_named(to)
    target = target_of(chosen, wishes.target)
    if samples < 1:
        raise ConfigError(f"the trace needs at least one sample, got {samples}")
    data = selection(run.recipe, watcher)
    before = trained_network(run, data.training)
    after = wishes.apply(before, real=chosen.arithmetic == "real", target=target.name if target else None)
    network = canonical(after, dt_ms=run.recipe.data.dt_ms, notes=_notes(run, data))
    trace = make_trace(network, _counts(run, data, samples), {"data": data.validation.source, "split": "validation"})
    changed = fidelity(before, after, data.validation, data.valid[:COMPARED], run.recipe)
    fitting = fit(network, target) if target else None
    cost = cost_of(network, trace, target)
    summary = _summary(after, network, trace, changed, fitting)
    report = [*summary, *(fitting.lines()[1:] if fitting else []), "cost", *cost.lines()]
    name = to if wishes.target is None else f"{to}_{wishes.target}"
    folder = out or run.folder / "export" / name
    numbers = {
        "format": to,
        "target": target.name if target else None,
        "wishes": {key: value for key, value in vars(wishes).items() if value},
        "network": network.notes,
        "discretization": [vars(layer) for layer in after.report.layers],
        "fidelity": changed.as_json(),
        "margin": trace.margin,
        "fit": fitting.as_json() if fitting else None,
        "cost": cost.as_json(),
    }
    documents = {"report.txt": "\n".join(report) + "\n", "report.json": json.dumps(numbers, indent=1) + "\n"}
    files = write_export(network, trace, to, folder, documents=documents, **(options or {}))
    files += _draw(run, name, before, after, network, trace, target)
    return Export(folder, files, network, trace, summary)


def _draw(
    run: Run,
    name: str,
    before: Sequential,
    after: DiscreteNetwork,
    network: CanonicalNetwork,
    trace: Trace,
    target: Profile | None,
) -> list[Path]:
    """Pictures of a sample's spikes before and after, and of the delays beside the longest of the target."""
    x = torch.from_numpy(trace.counts[:, :1])
    with torch.inference_mode():
        rasters = [record(side, x.to(next(side.parameters()).dtype)) for side in (before, after)]
    fires = [layer for layer, module in layers_of(after) if isinstance(module, Neuron) and module.fires]
    one, other = ({layer: raster[layer][:, 0].numpy() for layer in fires} for raster in rasters)
    title = f"{run.recipe.name} as {name}: a validation sample, spikes kept, lost and new"
    figure = plot.changed_spikes_figure(one, other, dt_ms=network.dt_ms, title=title)
    drawn = [plot.save_figure(figure, run.figures / f"export_{name}.png")]
    limits = {} if target is None else {target.name: target.max_delay_steps if target.has_delays else 0}
    delays = {layer: synapses.delay_steps for layer, synapses in network.all_synapses() if len(synapses)}
    return [*drawn, plot.save_figure(plot.delay_budget_figure(delays, limits), run.figures / f"delays_{name}.png")]


def check_run(run: Run, target: str, watcher: LoadingWatcher | None = None) -> Fit:
    """Whether a run's best network fits a target as it is, delays rounded, nothing clamped."""
    data = selection(run.recipe, watcher)
    network = discretize(trained_network(run, data.training))
    return fit(canonical(network, dt_ms=run.recipe.data.dt_ms, notes=_notes(run, data)), profile(target))


def _counts(run: Run, data: Selection, samples: int) -> Any:
    batch = data.validation.batch(data.valid[:samples], run.recipe.data.tail_steps)
    return batch.counts.flatten(2).numpy()


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
    unit = "units of the membrane" if form.whole else "of a membrane"
    lines.append(f"  closest decision: {trace.margin:.3g} {unit} from the threshold, over {trace.samples} samples")
    if fitting is not None:
        verdict = fitting.lines()[0]
        known = f"; {len(fitting.unverified)} of its numbers are not verified" if fitting.unverified else ""
        lines += ["fit", f"  {verdict}{known}"]
    return lines
