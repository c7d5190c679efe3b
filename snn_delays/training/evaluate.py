"""The one place that opens the test data."""

import json
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.data.binned import BinnedDataset
from snn_delays.data.binning import Binning
from snn_delays.data.loaders import load_binned
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.export.discretize import DiscreteNetwork, discretize
from snn_delays.files import write_text
from snn_delays.models import DelayClassifier
from snn_delays.training import checkpoint
from snn_delays.training.build import network_for
from snn_delays.training.config import Recipe
from snn_delays.training.loop import Watcher, training_data
from snn_delays.training.measure import measure
from snn_delays.training.runlog import Run
from snn_delays.training.schedule import sigma_at


def held_out_data(recipe: Recipe, watcher: Watcher | None = None) -> BinnedDataset:
    """The test part of a recipe's data set, binned as the training part was."""
    binning = Binning(recipe.data.binning, recipe.data.dt_ms, recipe.data.channel_group)
    return load_binned(recipe.data.dataset, "test", binning, progress=watcher.loading if watcher else None)


def trained_network(run: Run, dataset: BinnedDataset, epoch: int | None = None) -> DelayClassifier:
    """The network of a run after an epoch (the best by default), in evaluation."""
    epoch = run.best_epoch() if epoch is None else epoch
    network = network_for(run.recipe, dataset)
    checkpoint.load_network(run.checkpoints, epoch, network)
    return network.eval()


def discrete_network(run: Run, dataset: BinnedDataset) -> DiscreteNetwork:
    """The network that is evaluated, drawn and exported: the run's best, made discrete."""
    return discretize(trained_network(run, dataset))


def evaluate(run: Run, *, device: str = "cpu", watcher: Watcher | None = None) -> dict[str, Any]:
    """Measure a run's best network on the test samples, with real-valued and with whole delays; write evaluation.json.

    Accuracy is over samples; speakers the network was not trained on are also reported by themselves.

    Raises ConfigError for a device that is not there, DataError, or CheckpointError if nothing was trained yet.
    """
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # by the kind of device, torch raises the one or the other
        raise ConfigError(f"cannot evaluate on device {device!r}: {error}") from error
    progress = run.progress()
    if not progress["history"]:
        raise CheckpointError(f"{run.folder} has not finished an epoch; continue it with `snn-delays train --resume`")
    dataset = held_out_data(run.recipe, watcher)
    everything = np.arange(len(dataset))
    network = trained_network(run, dataset).to(device)
    discrete = discretize(network)
    real = measure(network, dataset, everything, run.recipe, device)
    whole = measure(discrete, dataset, everything, run.recipe, device)
    seen = np.unique(training_data(run.recipe).speakers)
    unseen = torch.from_numpy(~np.isin(dataset.speakers, seen))
    best = next(row for row in progress["history"] if row["epoch"] == progress["best_epoch"])
    result = {
        "run": run.recipe.name,
        "data": dataset.source,
        "test_file_sha256": dataset.checksum,
        "test_samples": len(dataset),
        "delays": run.recipe.model.delays,
        "seed": run.recipe.seed,
        "parameters": trainable_parameters(network),
        "epochs": len(progress["history"]),
        "epochs_asked": run.recipe.training.epochs,
        "best_epoch": progress["best_epoch"],
        "sigma": sigma_at(run.recipe, progress["best_epoch"] - 1),
        "valid_accuracy": best["valid_accuracy"],
        "test_accuracy_real_delays": real.accuracy,
        "test_accuracy": whole.accuracy,
        "test_accuracy_unseen_speakers": _mean(whole.correct, unseen),
        "test_accuracy_known_speakers": _mean(whole.correct, ~unseen),
        "test_loss": whole.loss,
        "firing_rates": whole.firing_rates,
        "training_minutes": sum(row["seconds"] for row in progress["history"]) / 60,
        "lost_in_discretization": str(discrete.report).splitlines(),
        "class_names": list(dataset.class_names),
        "confusion": whole.confusion().tolist(),
    }
    write_text(run.evaluation, json.dumps(result, indent=1))
    return result


def read_evaluation(run: Run) -> dict[str, Any]:
    """What ``evaluate`` wrote. Raises CheckpointError if the run was not evaluated."""
    try:
        result: dict[str, Any] = json.loads(run.evaluation.read_text())
    except (OSError, ValueError):
        raise CheckpointError(f"{run.folder} was not evaluated yet: snn-delays evaluate {run.folder}") from None
    return result


def trainable_parameters(network: DelayClassifier) -> int:
    """Numbers that training sets: fixed delays do not count."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _mean(correct: Tensor, chosen: Tensor) -> float | None:
    return float(correct[chosen].double().mean()) if bool(chosen.any()) else None
