"""What is measured of a classifier of events, and how that is shown."""

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.data.dataset import BinnedDataset
from snn_delays.discrete.discretize import DiscreteNetwork, discretize
from snn_delays.errors import ConfigError
from snn_delays.runs.load import Trained, trained_network
from snn_delays.runs.results import AS_TRAINED, with_readout
from snn_delays.runs.samples import load_test_data
from snn_delays.runs.table import Page, Table
from snn_delays.training.callbacks import Callback
from snn_delays.training.measure import measure
from snn_delays.training.sources import Selection, selection
from snn_delays.training.tasks.events import selected_masked

# Data sets whose numbers of speakers are the same people.
SAME_SPEAKERS = {"shd", "shd-regenerated", "shd-regenerated-subset"}


def evaluate(opened: Trained, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
    """Accuracy on test samples and what belongs to it, see :func:`snn_delays.runs.evaluate.evaluate`.

    Training data are opened only where speakers, or a choice of the epoch made by an earlier version, need them.
    """
    recipe, run = opened.recipe, opened.run
    dataset = load_test_data(recipe, callback, on)
    chosen = cache(lambda: selection(recipe))
    _check_alike(opened, dataset, chosen)
    samples = np.arange(len(dataset))
    network = opened.network.to(device)
    discrete = discretize(network)
    real = measure(network, dataset, samples, recipe, device)
    whole = measure(discrete, dataset, samples, recipe, device)
    same_people = on in (None, recipe.data.dataset) or {on, recipe.data.dataset} <= SAME_SPEAKERS
    named = (dataset.speakers >= 0) & same_people
    seen = np.unique(chosen().training.speakers[chosen().train]) if named.any() else np.empty(0)
    known = np.isin(dataset.speakers, seen)
    fine_tuning = recipe.fine_tuning
    result = {
        "data": dataset.source,
        "test_file_sha256": dataset.checksum,
        "test_samples": len(dataset),
        "parameters": trainable_parameters(network),
        "sigma": None if fine_tuning else recipe.sigma_at(max(opened.card.epoch - 1, 0)),
        "readout": AS_TRAINED,
        "test_accuracy_real_delays": real.accuracy,
        "test_accuracy": whole.accuracy,
        "test_accuracy_masked": whole.masked.accuracy,
        "test_accuracy_unseen_speakers": _mean(whole.correct, named & ~known),
        "test_accuracy_known_speakers": _mean(whole.correct, named & known),
        "test_loss": whole.loss,
        "firing_rates": whole.firing_rates,
        "lost_in_discretization": str(discrete.report).splitlines(),
        "class_names": list(dataset.class_names),
        "confusion": whole.confusion().tolist(),
    }
    if fine_tuning is not None:
        result |= {
            "weight_bits": fine_tuning.weight_bits,
            "weight_scale": fine_tuning.scale,
            "max_delay_steps": fine_tuning.max_delay_steps,
        }
    if run is None:
        return result
    if fine_tuning is not None:  # what the same grid cost before any training
        begin = discretize(trained_network(run, 0).to(device))
        result["test_accuracy_before_fine_tuning"] = measure(begin, dataset, samples, recipe, device).accuracy
        result["fine_tuned_from"] = run.progress()["fine_tuning"]
    return result | _validated(opened, discrete, chosen, device)


def _check_alike(opened: Trained, dataset: BinnedDataset, chosen: Any) -> None:
    card = opened.card
    if not card.class_names:  # of a checkpoint of format 1
        card = chosen().training
    if (dataset.sensor, dataset.class_names) != (card.sensor, card.class_names):
        raise ConfigError(
            f"{opened.name} was trained on {card.source} with sensor {card.sensor} and "
            f"{len(card.class_names)} classes; {dataset.source} has sensor {dataset.sensor} and {dataset.n_classes}, "
            "or other classes"
        )


def _validated(opened: Trained, network: DiscreteNetwork, chosen: Any, device: str) -> dict[str, Any]:
    """Accuracy on validation samples in the best epoch, as trained and masked; and how the readout was measured."""
    assert opened.run is not None
    progress, recipe = opened.run.progress(), opened.recipe
    best = next(row for row in progress["history"] if row["epoch"] == progress["best_epoch"])
    accuracy, readout = best["valid_accuracy"], AS_TRAINED
    if selected_masked(progress["history"], recipe):
        data: Selection = chosen()
        accuracy = measure(network, data.validation, data.valid, recipe, device).accuracy
        readout = f"{AS_TRAINED}; epoch chosen masked"
    masked = best.get("valid_accuracy_masked", best["valid_accuracy"])
    return {"readout": readout, "valid_accuracy": accuracy, "valid_accuracy_masked": masked}


def trainable_parameters(network: torch.nn.Module) -> int:
    """Numbers that training sets: fixed delays do not count."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def _mean(correct: Tensor, chosen: np.ndarray) -> float | None:
    return float(correct[torch.from_numpy(chosen)].double().mean()) if chosen.any() else None


def page(results: Sequence[dict[str, Any]]) -> Page:
    """A row for each evaluation; the masked readout has a column where it gives other numbers."""
    results = [with_readout(r) for r in results]
    keys = {
        "valid_accuracy": "valid",
        "test_accuracy_real_delays": "test,\nreal delays",
        "test_accuracy": "test,\ninteger delays",
    }
    if any(r["test_accuracy_unseen_speakers"] not in (None, r["test_accuracy"]) for r in results):
        keys["test_accuracy_unseen_speakers"] = "test, unseen\nspeakers"
    if any(r["test_accuracy_masked"] != r["test_accuracy"] for r in results):
        keys["test_accuracy_masked"] = "test, masked\nreadout"
    rows = [
        (r["run"], f"{r['parameters']:,}", *("-" if r.get(key) is None else f"{r[key]:.1%}" for key in keys))
        for r in results
    ]
    kinds = {f"{r['data']}, {r['test_samples']:,} test samples" for r in results}
    lines = [f"data: {'; '.join(sorted(kinds))}; epochs chosen on validation samples held out of the training set"]
    lines += [f"readout of {r['run']}: {r['readout']}" for r in results if r["readout"] != AS_TRAINED]
    return Page([Table(("run", "trainable\nparameters", *keys.values()), rows)], lines)
