"""From a trained network to an export: discretised for a target, checked against it, written with trace and report."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike

import snn_delays
from snn_delays import plot
from snn_delays.chips.cost import cost_of
from snn_delays.chips.fit import Fit, fit
from snn_delays.chips.profiles import profile
from snn_delays.chips.violations import Violation
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.discretize import discretize
from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.errors import ConfigError, ExportError
from snn_delays.export.targets import format_named, target_of, write_export
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace, make_trace
from snn_delays.nn import Sequential, record
from snn_delays.recipes.files import to_toml
from snn_delays.runs.fidelity import Fidelity, fidelity, firing_layers
from snn_delays.runs.load import Trained, trained
from snn_delays.runs.samples import counts_of, samples_of
from snn_delays.training.callbacks import Callback
from snn_delays.training.runlog import Run

# Samples on which the networks before and after are compared; a raster of each is kept at once.
COMPARED = 512
# Sums of double precision in another order differ by less; membranes are of the order of one.
CLOSE = 1e-12


@dataclass(frozen=True)
class ExportOptions:
    """How a network is discretised for an export; each as in :func:`snn_delays.discretize`."""

    target: str | None = None
    weight_bits: int | str | None = None
    scale: str | None = None
    max_delay_steps: int | None = None
    clamp: bool = False

    def discretize(self, network: Sequential, *, real: bool, target: str | None) -> DiscreteNetwork:
        """The network discretised with these options."""
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


def export(
    source: Run | Path | str | Any,
    format: str,
    *,
    out: Path | str | None = None,
    options: ExportOptions = ExportOptions(),
    samples: int = 20,
    split: str = "validation",
    inputs: ArrayLike | None = None,
    dt_ms: float | None = None,
    callback: Callback | None = None,
    **format_options: Any,
) -> Export:
    """Write a trained network in a format, with a golden trace to check it by and a report.

    Nothing is written where anything fails. A data set is opened only for samples: with ``samples=0`` or ``inputs``
    none is.

    Args:
        source: a run (its best network is taken), the path of a run, a checkpoint or a ``.safetensors`` file, or a
            network, trained or discrete.
        format: a name of :data:`snn_delays.export.targets.FORMATS`: ``"nir"``, ``"c99"`` ...
        out: folder; default ``export/FORMAT`` or ``export/FORMAT_TARGET`` in the run's. Without a run it is needed.
        options: target, bits of weights, longest delay.
        samples: how many go into the trace. 0: the trace is of random events, and nothing is measured on data.
        split: where samples are from: ``"validation"``, or ``"test"``.
        inputs: events to trace instead of samples, counts ``[time, sample, input]``.
        dt_ms: length of a time step; default that of the network's card.
        callback: its ``on_load(done, total)`` is called while data are read.
        format_options: ``encoding`` and ``time_unit`` of NIR, ``relays`` of SpiNNaker 2.

    Raises:
        ConfigError: a format, target or number that does not exist.
        ExportError: what the format or the target cannot hold, or a folder that cannot be written.
        CheckpointError: a file that holds no network, or a network without a card where its data are needed.

    Examples:
        >>> network = snn_delays.load("runs/demo")  # doctest: +SKIP
        >>> snn_delays.export(network, "nir", out="demo_nir", samples=0)  # doctest: +SKIP
    """
    chosen = format_named(format)
    target = target_of(chosen, options.target)
    plan = options
    if format_options.get("relays"):  # they hold what is longer than the target's delays
        default = target.default_weight_bits if target else None
        plan, target = replace(options, weight_bits=options.weight_bits or default), None
    if samples < 0:
        raise ConfigError(f"the number of samples must be 0 or more, got {samples}")
    opened = trained(source, "events")
    name = format if options.target is None else f"{format}_{options.target}"
    if out is None and opened.run is None:
        raise ConfigError("a network without a run has no folder of its own: say where the export goes, out=FOLDER")
    folder = Path(out) if out is not None else opened.run.own("export", name)  # type: ignore[union-attr]
    before = opened.network
    after = plan.discretize(before, real=chosen.arithmetic == "real", target=target.name if target else None)
    network = canonical(after, dt_ms=_dt_ms(opened, dt_ms), notes=_notes(opened))
    changed = None
    if inputs is not None:
        trace = make_trace(network, inputs, {"data": "events given to the export"})
    elif not samples:
        trace = random_trace(network)
    else:
        dataset, indices = samples_of(opened.recipe, split, callback)
        counts = counts_of(dataset, indices[:samples], opened.recipe)
        trace = make_trace(network, counts, {"data": dataset.source, "split": split})
        if split != "validation":
            dataset, indices = samples_of(opened.recipe, "validation", callback)
        changed = fidelity(before, after, dataset, indices[:COMPARED], opened.recipe)
    cost = cost_of(network, trace, target) if samples or inputs is not None else None
    fitting = fit(network, target) if target else None
    summary = _summary(after, network, trace, changed, fitting)
    lines = [*summary, *(fitting.lines()[1:] if fitting else []), *(["cost", *cost.lines()] if cost else [])]
    report = {
        "format": format,
        "target": target.name if target else None,
        "options": {key: value for key, value in vars(options).items() if value is not None and value is not False},
        "network": network.notes,
        "discretization": [vars(layer) for layer in after.report.layers],
        "fidelity": asdict(changed) if changed else None,
        "margins": trace.margins,
        "fit": fitting.as_json() if fitting else None,
        "cost": cost.as_json() if cost else None,
    }
    documents = {"report.txt": "\n".join(lines) + "\n", "report.json": json.dumps(report, indent=1) + "\n"}
    title = f"{network.notes.get('run', 'network')} as {name}"
    pictures = _pictures(title, before, after, network, trace, target)
    files = write_export(network, trace, format, folder, documents=documents, pictures=pictures, **format_options)
    return Export(folder, files, network, trace, summary)


def _dt_ms(opened: Trained, dt_ms: float | None = None) -> float:
    """The length of a step: that given, else the card's."""
    known = opened.card.dt_ms if dt_ms is None and opened.has_card else dt_ms
    if known is None:
        raise ConfigError("the network does not say how long its steps are; give dt_ms")
    return known


def random_trace(network: CanonicalNetwork, samples: int = 4, steps: int = 50, seed: int = 0) -> Trace:
    """The golden trace of random events, as few as make every population fire. Needs no data.

    Raises ExportError if a population stays silent however many events come.
    """
    generator = np.random.default_rng(seed)
    longest = sum(synapses.max_delay_steps for _, synapses in network.all_synapses() if len(synapses))
    draws = generator.random((steps + longest, samples, network.inputs))
    for rate in (0.02, 0.05, 0.1, 0.2, 0.5):
        try:
            return make_trace(network, draws < rate, {"data": f"random events, {rate:.0%} of the steps, seed {seed}"})
        except ExportError as error:
            silent = error
    raise ExportError(f"random events make no trace ({silent}); export with samples of the data instead")


def _pictures(
    title: str, before: Sequential, after: DiscreteNetwork, network: CanonicalNetwork, trace: Trace, target: Any
) -> dict[str, Any]:
    """The first sample's spikes before and after, and the delays beside the longest of the target."""
    x = torch.from_numpy(trace.counts[:, :1]).unflatten(2, after.sensor or (-1,))
    fires = firing_layers(after)
    with torch.inference_mode():
        outputs = [record(side.eval(), x.to(next(side.parameters()).dtype)) for side in (before, after)]
    old, new = ({layer: each[layer][:, 0].flatten(1).numpy() for layer in fires} for each in outputs)
    limits = {} if target is None else {target.name: target.max_delay_steps if target.has_delays else 0}
    delays = {layer: synapses.delay_steps for layer, synapses in network.all_synapses() if len(synapses)}
    spikes = plot.changed_spikes_figure(old, new, dt_ms=network.dt_ms, title=f"{title}: spikes kept, lost and new")
    return {"spikes.png": spikes, "delays.png": plot.delay_budget_figure(delays, limits)}


def check_fit(source: Run | Path | str | Any, options: ExportOptions, *, dt_ms: float | None = None) -> Fit:
    """Whether a trained network fits ``options.target``, discretised with the options. Opens no data set.

    What only discretising shows, as a threshold that the target's numbers cannot hold, is a violation too. Arguments
    and errors as of :func:`export`.
    """
    if options.target is None:
        raise ConfigError("a check needs a target; see `snn-delays targets`")
    opened, chip = trained(source, "events"), profile(options.target)
    network, dt, notes = opened.network, _dt_ms(opened, dt_ms), _notes(opened)
    limit = options.max_delay_steps if options.clamp else None
    plain = discretize(network, max_delay_steps=limit, clamp=options.clamp)
    fitting = fit(canonical(plain, dt_ms=dt, notes=notes), chip)
    if chip.arithmetic == "other" or chip.delay_kind == "analog" or not (fitting.fits or options.clamp):
        return fitting
    try:
        discrete = options.discretize(network, real=False, target=chip.name)
    except ExportError as error:
        return replace(fitting, violations=(*fitting.violations, Violation("numbers", "the network", str(error))))
    return fit(canonical(discrete, dt_ms=dt, notes=notes), chip)


def _notes(opened: Trained) -> dict[str, str]:
    """Where a network comes from, as far as is known."""
    notes = {"made_by": f"snn_delays {snn_delays.__version__}"}
    if not opened.has_card:
        return notes
    card = opened.card
    recipe, source = to_toml(card.recipe).encode(), card.source
    if opened.run is not None:
        recipe, source = (opened.run.folder / "recipe.toml").read_bytes(), opened.run.progress()["source"]
    return notes | {
        "run": card.recipe.name,
        "recipe_sha256": hashlib.sha256(recipe).hexdigest(),
        "epoch": str(card.epoch),
        "trained_on": source,
    }


def _summary(
    network: DiscreteNetwork, form: CanonicalNetwork, trace: Trace, changed: Fidelity | None, fitting: Fit | None
) -> list[str]:
    lines = ["discretised", *(f"  {line}" for line in str(network.report).splitlines()), "what that changed"]
    lines += [f"  {line}" for line in (changed.lines() if changed else ["not measured on data"])]
    of = f"{trace.notes['split']} samples" if "split" in trace.notes else f"samples ({trace.notes['data']})"
    for name, margin in trace.margins.items():
        close = "; another order of summation may decide otherwise" if margin < CLOSE and not form.whole else ""
        lines.append(f"  {name}: closest decision {margin:.3g} from the threshold, over {trace.samples} {of}{close}")
    if fitting is not None:
        verdict = fitting.lines()[0]
        known = f"; {len(fitting.unverified)} of its numbers are not verified" if fitting.unverified else ""
        lines += ["fit", f"  {verdict}{known}"]
    return lines
