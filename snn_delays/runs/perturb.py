r"""What a trained classifier of events loses when its input or its delays are perturbed.

Input, binned at ``dt_ms``, counts :math:`n[t, i]`; a spike's time within its bin counts as uniform:

.. math::
    \text{jitter } \sigma\text{, ms: each spike to } t + \lfloor u + e / dt \rfloor, \quad u \sim U(0, 1),
    \; e \sim N(0, \sigma) \qquad
    \text{delete } p\text{: } n'[t, i] \sim B(n[t, i], 1 - p)

Spikes moved before a sample's begin are lost, which the table counts; past its end it grows. Delays, before rounding:

.. math::
    \text{noise } \sigma\text{, steps: } d' = \mathrm{clamp}(d + N(0, \sigma)) \text{ into the layer's window}
    \qquad \text{permute: } d' = \text{the delays of a layer in random order over its synapses}
"""

import copy
import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snn_delays.arguments import real
from snn_delays.data.dataset import BinnedDataset, offsets_of
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ConfigError, DataError
from snn_delays.files import write_text
from snn_delays.nn import DelayedLayer, SpikingModule, layers_with_delays
from snn_delays.runs.load import trained
from snn_delays.runs.results import spread
from snn_delays.runs.samples import samples_of
from snn_delays.runs.table import Table
from snn_delays.training.callbacks import Callback
from snn_delays.training.measure import measure

KINDS = {
    "jitter": "jitter (ms)", "delete": "spikes deleted (share)", "delay_noise": "noise on delays (steps)",
    "permute_delays": "delays permuted",
}  # fmt: skip
DEFAULTS: dict[str, Sequence[float]] = {
    "jitter": (2.0, 5.0, 10.0, 20.0), "delete": (0.1, 0.3, 0.5), "delay_noise": (1.0, 2.0, 4.0),
    "permute_delays": (1.0,),
}  # fmt: skip


@dataclass(frozen=True)
class Perturbed:
    """A measurement: what was perturbed and by how much, the seed, accuracy, share of spikes kept, delays clamped."""

    kind: str
    amount: float
    seed: int
    accuracy: float
    spikes_kept: float = 1.0
    delays_clamped: float = 0.0


@dataclass(frozen=True)
class Perturbation:
    """The measurements of :func:`perturb`, and the accuracy of the network as it is."""

    name: str
    data: str
    split: str
    samples: int
    baseline: float
    measured: tuple[Perturbed, ...]

    def accuracies(self) -> dict[str, dict[float, list[float]]]:
        """Of every seed, by what was perturbed and its amount; amount 0 is the network as it is."""
        found: dict[str, dict[float, list[float]]] = {}
        for each in self.measured:
            amounts = found.setdefault(KINDS[each.kind], {0.0: [self.baseline]})
            amounts.setdefault(each.amount, []).append(each.accuracy)
        return found

    def table(self) -> Table:
        """Mean and deviation over seeds."""
        groups: dict[tuple[str, float], list[Perturbed]] = {}
        for each in self.measured:
            groups.setdefault((each.kind, each.amount), []).append(each)
        rows = [("as trained", "-", "1", f"{self.baseline:.1%}", "-", "-", "-")]
        for (kind, amount), group in groups.items():
            lost = np.mean([each.accuracy for each in group]) - self.baseline
            kept, clamped = (np.mean([getattr(e, key) for e in group]) for key in ("spikes_kept", "delays_clamped"))
            rows.append(
                (
                    KINDS[kind], f"{amount:g}", str(len(group)), spread([each.accuracy for each in group], ".1%"),
                    f"{lost:+.1%}", f"{kept:.1%}", f"{clamped:.1%}",
                )
            )  # fmt: skip
        heads = ("perturbed", "by", "seeds", "accuracy", "change", "spikes kept", "delays clamped")
        return Table(heads, rows, f"{self.name} on {self.samples:,} {self.split} samples of {self.data}")

    def write(self, folder: Path) -> list[Path]:
        """Write ``perturb.csv``, a row for each seed, ``perturb.md`` and ``perturb.png``; the files."""
        from snn_delays.plot import perturbation_figure, save_figure

        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["run", "data", "split", "samples", "baseline", *Perturbed.__dataclass_fields__])
        about = (self.name, self.data, self.split, self.samples, self.baseline)
        writer.writerows([*about, *vars(each).values()] for each in self.measured)
        write_text(folder / "perturb.csv", text.getvalue())
        write_text(folder / "perturb.md", self.table().markdown())
        title = f"{self.name}, {self.samples:,} {self.split} samples"
        figure = perturbation_figure(self.accuracies(), baseline=self.baseline, title=title)
        return [folder / "perturb.csv", folder / "perturb.md", save_figure(figure, folder / "perturb.png")]


def perturb(
    source: Any,
    amounts: Mapping[str, Sequence[float]] | None = None,
    *,
    seeds: int = 3,
    split: str = "validation",
    callback: Callback | None = None,
) -> Perturbation:
    """Measure a trained network of events, discretised, under perturbations of its input and its delays.

    Args:
        source: a run, its path, a checkpoint, ``zoo:NAME`` or a loaded network.
        amounts: of each kind of :data:`KINDS`; default: :data:`DEFAULTS`. Of ``permute_delays``, 1 is the only one.
        seeds: draws of every perturbation, with the seeds 0, 1, ...
        split: measure on ``"validation"`` samples, or on ``"test"``.
        callback: its ``on_evaluate`` is called after each measurement.

    Raises ConfigError: an unknown kind, an amount that cannot be, or delays to perturb in a network that has none;
    DataError: spikes of data that have none.
    """
    amounts = DEFAULTS if amounts is None else amounts
    for kind, values in amounts.items():
        if kind not in KINDS:
            raise ConfigError(f"nothing is perturbed by {kind!r}; choose from {', '.join(KINDS)}")
        for value in values:
            if real(kind, value, least=0) > 1 and kind in ("delete", "permute_delays"):
                raise ConfigError(f"{kind} must lie in 0 to 1, got {value:g}")
    opened = trained(source, "events")
    recipe, network = opened.recipe, opened.network
    if {"delay_noise", "permute_delays"} & {kind for kind, values in amounts.items() if values} and not any(
        layer.max_delay_steps > layer.min_delay_steps for layer in layers_with_delays(network).values()
    ):
        raise ConfigError(f"{opened.name} has no delays that could be perturbed; leave out its delays")
    dataset, chosen = samples_of(recipe, split, callback)
    dataset, everything = dataset.subset(chosen), np.arange(len(chosen))
    if dataset.counts.dtype != np.uint8 and (amounts.get("jitter") or amounts.get("delete")):
        raise DataError(f"{dataset.source} has features, not spikes, which neither jitter nor deletion is for")
    spikes = max(int(dataset.counts.sum(dtype=np.int64)), 1)

    def accuracy(network: SpikingModule, data: BinnedDataset) -> float:
        return measure(discretize(network), data, everything, recipe).accuracy

    baseline, measured = accuracy(network, dataset), []
    todo = [(kind, float(a), seed) for kind, values in amounts.items() for a in values for seed in range(seeds)]
    for done, (kind, amount, seed) in enumerate(todo, 1):
        if kind in ("jitter", "delete"):
            data = _input(dataset, kind, amount, np.random.default_rng(seed))
            kept = int(data.counts.sum(dtype=np.int64)) / spikes
            measured.append(Perturbed(kind, amount, seed, accuracy(network, data), spikes_kept=kept))
        else:
            other, clamped = perturbed_delays(network, kind, amount, torch.Generator().manual_seed(seed))
            measured.append(Perturbed(kind, amount, seed, accuracy(other, dataset), delays_clamped=clamped))
        if callback is not None:
            callback.on_evaluate(done, len(todo))
    return Perturbation(recipe.name, dataset.source, split, len(chosen), baseline, tuple(measured))


def _input(dataset: BinnedDataset, kind: str, amount: float, generator: np.random.Generator) -> BinnedDataset:
    if kind == "delete":
        parts = [generator.binomial(np.asarray(dataset.sample(i), np.int64), 1 - amount) for i in range(len(dataset))]
    else:
        steps = amount / dataset.binning.dt_ms
        parts = [jittered(dataset.sample(i), steps, generator) for i in range(len(dataset))]
    if (most := max(part.max() for part in parts)) > 255:
        raise DataError(f"{kind} by {amount:g} puts {most} spikes of a channel into one step, which holds 255")
    counts = np.concatenate(parts).astype(np.uint8)
    return replace(dataset, counts=counts, offsets=offsets_of([len(part) for part in parts]))


def jittered(counts: NDArray[Any], sigma_steps: float, generator: np.random.Generator) -> NDArray[np.int64]:
    """Counts ``[step, *sensor]`` of a sample whose spikes moved; those past its end lengthen it."""
    flat = counts.reshape(len(counts), -1)
    step, place = np.nonzero(flat)
    step, place = (np.repeat(where, flat[step, place]) for where in (step, place))
    within = generator.random(len(step)) + generator.normal(0.0, sigma_steps, len(step))
    moved = step + np.floor(within).astype(np.int64)
    inside = moved >= 0
    after = np.zeros((max(len(flat), moved.max(initial=0) + 1), flat.shape[1]), dtype=np.int64)
    np.add.at(after, (moved[inside], place[inside]), 1)
    return after.reshape(-1, *counts.shape[1:])


@torch.no_grad()
def perturbed_delays(
    network: SpikingModule, kind: str, amount: float, generator: torch.Generator
) -> tuple[SpikingModule, float]:
    """A copy of a network with noise on its delays, or with those of each layer permuted; share of delays clamped."""
    other = copy.deepcopy(network)
    clamped = total = 0
    for layer in layers_with_delays(other).values():
        if isinstance(layer, DelayedLayer):
            layer.unmask_()
        delay = layer.delay
        if delay is None or layer.max_delay_steps == layer.min_delay_steps:
            continue
        if kind == "permute_delays":
            if amount:
                delay.copy_(delay.flatten()[torch.randperm(delay.numel(), generator=generator)].view_as(delay))
            continue
        noise = torch.randn(delay.shape, generator=generator, dtype=torch.float64)
        moved = (delay.double() + amount * noise).to(delay.dtype)
        delay.copy_(moved)
        layer.clamp_delays_()
        clamped, total = clamped + int((delay != moved).sum()), total + delay.numel()
    return other, clamped / total if total else 0.0
