"""What a run's best network is worth on the test data; nothing is chosen by them."""

import json
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.data.catalogue.lookup import lasting_name
from snn_delays.data.dataset import BinnedDataset
from snn_delays.data.loaders import load_binned
from snn_delays.discrete.discretize import DiscreteNetwork, discretize
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.files import write_text
from snn_delays.messages import command
from snn_delays.nn import Sequential
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.sigma import sigma_at
from snn_delays.runs.load import trained_network
from snn_delays.runs.results import AS_TRAINED
from snn_delays.training.measure import measure
from snn_delays.training.records import EvaluationRecord, EventEvaluationRecord, read_record
from snn_delays.training.runlog import Run
from snn_delays.training.sources import LoadingWatcher, Selection, binning, options, selection, shaped
from snn_delays.training.tasks.events import selected_masked

# Data sets whose numbers of speakers are the same people.
SAME_SPEAKERS = {"shd", "shd-regenerated", "shd-regenerated-subset"}


def held_out_data(recipe: Recipe, watcher: LoadingWatcher | None = None, dataset: str | None = None) -> BinnedDataset:
    """The test part of a recipe's data set, or of another, binned as the training part was."""
    name = dataset or recipe.data.dataset
    return shaped(load_binned(name, "test", binning(recipe), **options(recipe, watcher)), recipe)


def samples_of(
    recipe: Recipe, split: str, watcher: LoadingWatcher | None = None, chosen: Selection | None = None
) -> tuple[BinnedDataset, NDArray[np.int64]]:
    """A data set and the samples of ``split`` in it: ``"validation"``, or ``"test"``, which is opened for that alone.

    Raises ConfigError for another split.
    """
    if split == "test":
        dataset = held_out_data(recipe, watcher)
        return dataset, np.arange(len(dataset))
    if split != "validation":
        raise ConfigError(f"samples come from the split validation or test, got {split!r}")
    chosen = chosen or selection(recipe, watcher)
    return chosen.validation, chosen.valid


def discrete_network(run: Run) -> DiscreteNetwork:
    """The network that is evaluated, drawn and exported: the run's best, discretised."""
    return discretize(trained_network(run))


def evaluate(
    run: Run, *, on: str | None = None, device: str = "cpu", watcher: LoadingWatcher | None = None
) -> dict[str, Any]:
    """Measure a run's best network on the test samples, with real-valued and with whole delays; write evaluation.json.

    Accuracy is over samples, with the readout as it was trained and, where it was trained over all steps of a batch
    (``padding = "published"``), with the masked one: see :mod:`snn_delays.training.measure`. Speakers of no training
    sample, those held out for validation among them, are also reported by themselves, where numbers of speakers mean
    the same people. ``on``: take the test samples of another data set, by its name or path, with the same sensor and
    classes, and write ``evaluation_NAME.json``.

    Raises ConfigError for a device that is not there, DataError, or CheckpointError if nothing was trained yet.
    """
    on = None if on is None else lasting_name(on)
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # by the kind of device, torch raises the one or the other
        raise ConfigError(f"cannot evaluate on device {device!r}: {error}") from error
    run = run.pinned()
    progress = run.progress()
    if not progress["history"]:
        raise CheckpointError(f"{run.folder} has not finished an epoch; continue it: {run.resume_command()}")
    dataset, chosen = held_out_data(run.recipe, watcher, on), selection(run.recipe)
    trained_on = chosen.training
    if (dataset.sensor, dataset.class_names) != (trained_on.sensor, trained_on.class_names):
        raise ConfigError(
            f"{run.folder} was trained on {trained_on.source} with sensor {trained_on.sensor} and "
            f"{trained_on.n_classes} classes; {dataset.source} has sensor {dataset.sensor} and {dataset.n_classes}, or "
            "other classes"
        )
    everything = np.arange(len(dataset))
    network = trained_network(run).to(device)
    discrete = discretize(network)
    real = measure(network, dataset, everything, run.recipe, device)
    whole = measure(discrete, dataset, everything, run.recipe, device)
    same_people = on in (None, run.recipe.data.dataset) or {on, run.recipe.data.dataset} <= SAME_SPEAKERS
    named = torch.from_numpy((dataset.speakers >= 0) & same_people)
    seen = torch.from_numpy(np.isin(dataset.speakers, np.unique(trained_on.speakers[chosen.train])))
    fine_tuning = run.recipe.fine_tuning
    if fine_tuning is not None:  # what the same grid cost before any training
        begin = measure(discretize(trained_network(run, 0).to(device)), dataset, everything, run.recipe, device)
    validated, readout = _validated(progress, run.recipe, discrete, chosen, device)
    result = {
        "run": run.recipe.name,
        "data": dataset.source,
        "test_file_sha256": dataset.checksum,
        "test_samples": len(dataset),
        "delays": run.recipe.model.delays,
        "hidden": run.recipe.model.layers,
        "seed": run.recipe.seed,
        "parameters": trainable_parameters(network),
        "epochs": len(progress["history"]),
        "epochs_asked": run.recipe.training.epochs,
        "changes": progress.get("changes", []),
        "best_epoch": progress["best_epoch"],
        "sigma": None if fine_tuning else sigma_at(run.recipe, progress["best_epoch"] - 1),
        "readout": readout,
        **validated,
        "test_accuracy_real_delays": real.accuracy,
        "test_accuracy": whole.accuracy,
        "test_accuracy_masked": whole.masked.accuracy,
        "test_accuracy_unseen_speakers": _mean(whole.correct, named & ~seen),
        "test_accuracy_known_speakers": _mean(whole.correct, named & seen),
        "test_loss": whole.loss,
        "firing_rates": whole.firing_rates,
        "training_minutes": sum(row["seconds"] for row in progress["history"]) / 60,
        "lost_in_discretization": str(discrete.report).splitlines(),
        "class_names": list(dataset.class_names),
        "confusion": whole.confusion().tolist(),
    }
    if fine_tuning is not None:
        result |= {
            "weight_bits": fine_tuning.weight_bits,
            "weight_scale": fine_tuning.scale,
            "max_delay_steps": fine_tuning.max_delay_steps,
            "test_accuracy_before_fine_tuning": begin.accuracy,
            "fine_tuned_from": progress["fine_tuning"],
        }
    write_text(run.evaluation_on(on), json.dumps(result, indent=1))
    return result


def _validated(
    progress: dict[str, Any], recipe: Recipe, network: DiscreteNetwork, chosen: Selection, device: str
) -> tuple[dict[str, float], str]:
    """Accuracy on validation samples in the best epoch, as trained and masked; and how the readout was measured."""
    best = next(row for row in progress["history"] if row["epoch"] == progress["best_epoch"])
    found = {"valid_accuracy": best["valid_accuracy"]}
    readout = AS_TRAINED
    if selected_masked(progress["history"], recipe):
        found["valid_accuracy"] = measure(network, chosen.validation, chosen.valid, recipe, device).accuracy
        readout = f"{AS_TRAINED}; epoch chosen masked"
    masked = best.get("valid_accuracy_masked", best["valid_accuracy"])
    return found | {"valid_accuracy_masked": masked}, readout


def read_evaluation(run: Run, *needed: str) -> dict[str, Any]:
    """What ``evaluate`` wrote, with the keys that are ``needed``.

    Raises CheckpointError if the run was not evaluated, or if what is there is damaged or lacks a key.
    """
    again = command("evaluate", run.folder)
    kind = EventEvaluationRecord if isinstance(run.recipe, Recipe) else EvaluationRecord
    try:
        result = read_record(run.evaluation, kind, f"evaluate it again: {again}")
    except FileNotFoundError:
        raise CheckpointError(f"{run.folder} was not evaluated yet: {again}") from None
    if missing := [key for key in needed if not result.get(key)]:
        raise CheckpointError(f"{run.evaluation} has no {missing[0]}; evaluate it again: {again}")
    return result


def trainable_parameters(network: Sequential) -> int:
    """Numbers that training sets: fixed delays do not count."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _mean(correct: Tensor, chosen: Tensor) -> float | None:
    return float(correct[chosen].double().mean()) if bool(chosen.any()) else None
