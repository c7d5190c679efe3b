"""What is measured of a classifier of events, and how that is shown."""

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.data.dataset import BinnedDataset
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ConfigError
from snn_delays.nn import SpikingModule
from snn_delays.runs.load import Trained, trainable_parameters, trained_network
from snn_delays.runs.results import AS_TRAINED, with_readout
from snn_delays.runs.samples import load_test_data
from snn_delays.runs.table import Page, Table, number
from snn_delays.training.callbacks import Callback
from snn_delays.training.measure import Measurement, measure
from snn_delays.training.rounding import rounding_facts, with_fractional_delays
from snn_delays.training.runlog import Run
from snn_delays.training.sources import Selection, selection
from snn_delays.training.tasks.events import EventsTraining, selected_masked

# Data sets whose numbers of speakers are the same people.
SAME_SPEAKERS = {"shd", "shd-regenerated", "shd-regenerated-subset"}


class Events(EventsTraining):
    """Events to classes."""

    def evaluate(self, trained: Trained, *, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
        """Accuracy on test samples and what belongs to it, see :func:`snn_delays.runs.evaluate.evaluate`.

        Training data are opened only where speakers, or a choice of the epoch made by an earlier version, need them.
        """
        recipe, run, fine_tuning = self.recipe, trained.run, self.recipe.fine_tuning
        dataset = load_test_data(recipe, callback, on)
        chosen = cache(lambda: selection(recipe))
        _check_alike(trained, dataset, chosen)

        def measured(network: SpikingModule) -> Measurement:
            return measure(network, dataset, np.arange(len(dataset)), recipe, device)

        network = trained.network.to(device)
        discrete = discretize(network)
        real, integer = measured(network), measured(discrete)
        facts = rounding_facts(network)
        fractional = measured(with_fractional_delays(network)) if facts["delay_rounding"] else integer
        same_people = on in (None, recipe.data.dataset) or {on, recipe.data.dataset} <= SAME_SPEAKERS
        named = (dataset.speakers >= 0) & same_people
        speakers = np.unique(chosen().training.speakers[chosen().train]) if named.any() else np.empty(0)
        known = np.isin(dataset.speakers, speakers)
        correct = integer.correct.double().numpy()
        result = {
            "data": dataset.source,
            "test_file_sha256": dataset.checksum,
            "test_samples": len(dataset),
            "parameters": trainable_parameters(network),
            "sigma": None if fine_tuning else recipe.sigma_at(max(trained.card.epoch - 1, 0)),
            "readout": AS_TRAINED,
            **facts,
            "test_accuracy_fractional": fractional.accuracy,
            "test_accuracy_real_delays": real.accuracy,
            "test_accuracy": integer.accuracy,
            "test_accuracy_masked": integer.masked.accuracy,
            "test_accuracy_unseen_speakers": _mean(correct[named & ~known]),
            "test_accuracy_known_speakers": _mean(correct[named & known]),
            "test_loss": integer.loss,
            "firing_rates": integer.firing_rates,
            "lost_in_discretization": str(discrete.report).splitlines(),
            "class_names": list(dataset.class_names),
            "confusion": integer.confusion().tolist(),
        }
        if fine_tuning is not None:
            result |= {
                "weight_bits": fine_tuning.weight_bits,
                "weight_scale": fine_tuning.scale,
                "max_delay_steps": fine_tuning.max_delay_steps,
            }
        if run is None:
            return result
        progress, best = run.progress(), trained.best
        if fine_tuning is not None:  # what the same grid cost before any training
            before = discretize(trained_network(run, 0).to(device))
            result["test_accuracy_before_fine_tuning"] = measured(before).accuracy
            result["fine_tuned_from"] = progress["fine_tuning"]
        result["valid_accuracy"] = best["valid_accuracy"]
        result["valid_accuracy_masked"] = best.get("valid_accuracy_masked", best["valid_accuracy"])
        if selected_masked(progress["history"], recipe):
            data = chosen()
            result["valid_accuracy"] = measure(discrete, data.validation, data.valid, recipe, device).accuracy
            result["readout"] = f"{AS_TRAINED}; epoch chosen masked"
        return result

    def figures(self, run: Run, names: Sequence[str] = (), sample: int | None = None) -> list[Path]:
        """Rasters, membranes, delays, learning curves, confusion matrix."""
        from snn_delays.runs.figures import EVENTS, draw_pictures

        return draw_pictures(EVENTS, run, names, sample)

    @staticmethod
    def page(results: Sequence[dict[str, Any]]) -> Page:
        """A row for each evaluation; the masked readout has a column where it gives other numbers."""
        results = [with_readout(r) for r in results]
        keys = {
            "valid_accuracy": "valid",
            "test_accuracy_fractional": "test,\nfrac-\ntional",
            "test_accuracy": "test,\nrounded",
            "test_accuracy_real_delays": "test,\nas\ntrained",
        }
        if not any(r.get("test_accuracy_fractional") for r in results):  # of earlier versions
            keys.pop("test_accuracy_fractional")
        if any(r["test_accuracy_unseen_speakers"] not in (None, r["test_accuracy"]) for r in results):
            keys["test_accuracy_unseen_speakers"] = "test, unseen\nspeakers"
        if any(r["test_accuracy_masked"] != r["test_accuracy"] for r in results):
            keys["test_accuracy_masked"] = "test, masked\nreadout"
        rows = [(r["run"], f"{r['parameters']:,}", *(number(r, key, ".1%") for key in keys)) for r in results]
        kinds = {f"{r['data']}, {r['test_samples']:,} test samples" for r in results}
        known = all(
            "valid_accuracy" in result for result in results
        )  # of a file alone, another code may have trained it
        chosen = "; epochs chosen on validation samples held out of the training set" if known else ""
        lines = [f"data: {'; '.join(sorted(kinds))}{chosen}"]
        moved = [f"{r['mean_rounding_steps']:.3f} ({r['delay_rounding']})" for r in results if r.get("delay_rounding")]
        lines += [f"mean |d - round(d)| in steps, of learned delays as listed: {', '.join(moved)}"] * bool(moved)
        lines += [f"readout of {r['run']}: {r['readout']}" for r in results if r["readout"] != AS_TRAINED]
        return Page([Table(("run", "trainable\nparameters", *keys.values()), rows)], lines)


def _check_alike(trained: Trained, dataset: BinnedDataset, chosen: Callable[[], Selection]) -> None:
    card: Any = trained.card if trained.card.class_names else chosen().training  # format 1 has no names of classes
    if (dataset.sensor, dataset.class_names) != (card.sensor, card.class_names):
        raise ConfigError(
            f"{trained.name} was trained on {card.source} with sensor {card.sensor} and "
            f"{len(card.class_names)} classes; {dataset.source} has sensor {dataset.sensor} and {dataset.n_classes}, "
            "or other classes"
        )


def _mean(values: np.ndarray) -> float | None:
    return float(values.mean()) if values.size else None
