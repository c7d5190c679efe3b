"""What is trained on and what epochs are compared on: official splits, cameras, lengths in buckets, other test data."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_delays.data.dataset import BinnedDataset
from snn_delays.errors import ConfigError, DataError
from snn_delays.models import ConvolutionalClassifier
from snn_delays.recipes.build import network_for
from snn_delays.runs import evaluate, figures, load, samples
from snn_delays.training import sources
from snn_delays.training.callbacks import Callback
from snn_delays.training.measure import measure
from snn_delays.training.runlog import Run
from snn_delays.training.sources import selection, training_data
from snn_delays.training.tasks import events as classification
from tests.support import tiny_runs
from tests.support.tiny_runs import CONVOLUTIONAL, camera


def load_splits(name: str, split: str, *_: Any, **__: Any) -> BinnedDataset:
    assert split in ("train", "valid"), "training opened the test data"
    return tiny_runs.tiny_data("train", 16 if split == "train" else 5)


@pytest.fixture
def official(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", load_splits)


def test_the_official_split_chooses_the_epoch(official: None, folder: Path) -> None:
    recipe = tiny_runs.tiny_recipe(data={"validation": "official"})
    chosen = selection(recipe)
    assert (len(chosen.train), len(chosen.valid)) == (64, 20)
    assert chosen.validation is not chosen.training
    run = tiny_runs.fitted(folder, recipe)
    network = load.discrete_network(run)
    best = run.progress()["history"][run.best_epoch() - 1]
    found = measure(network, chosen.validation, chosen.valid, recipe)
    assert (found.accuracy, found.loss) == (best["valid_accuracy"], best["valid_loss"])


def test_splits_that_name_other_classes_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, split: str, *_: Any, **__: Any) -> BinnedDataset:
        data = tiny_runs.tiny_data()
        return data if split == "train" else replace(data, class_names=("a", "b", "c", "d"))

    monkeypatch.setattr(sources, "load_binned", load)
    with pytest.raises(DataError, match="the splits train and valid of 'shd-regenerated-subset' name other classes"):
        selection(tiny_runs.tiny_recipe(data={"validation": "official"}))


def test_a_camera_is_learned_by_convolutions_evaluated_and_drawn(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", lambda name, split, *_, **__: camera(split))
    monkeypatch.setattr(samples, "load_binned", lambda name, split, *_, **__: camera(split))
    recipe = tiny_runs.tiny_recipe(
        model=CONVOLUTIONAL, training={"epochs": 10, "batch_size": 32, "max_lr_weight": 2e-2, "sigma_epochs": None}
    )
    assert recipe.model.layers == "32c3"
    run = tiny_runs.fitted(folder, recipe)
    assert isinstance(network_for(recipe, camera()), ConvolutionalClassifier)
    history = run.progress()["history"]
    assert 0.02 < history[-1]["rate_conv1"] < 0.6, [r["rate_conv1"] for r in history]
    assert max(row["valid_accuracy"] for row in history) > 0.6  # chance is 0.25
    assert evaluate.evaluate(run)["test_accuracy"] > 0.5
    names = sorted(path.name for path in figures.draw(run))
    assert names == ["confusion.png", "curves.png", "delays.png", "membranes.png", "rasters.png"]


def test_pixels_lie_in_a_row_for_a_network_without_convolutions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", lambda name, split, *_, **__: camera(split))
    data = training_data(tiny_runs.tiny_recipe())
    assert data.sensor == (12,)
    assert np.array_equal(data.counts, tiny_runs.tiny_data(per_class=100).counts)
    assert training_data(tiny_runs.tiny_recipe(model=CONVOLUTIONAL)).sensor == (2, 2, 3)


def test_convolutions_on_channels_in_a_row_are_refused() -> None:
    recipe = tiny_runs.tiny_recipe(model=CONVOLUTIONAL)
    with pytest.raises(ConfigError, match=r"takes \[polarity, y, x\] and the data set has \(12,\)"):
        network_for(recipe, training_data(recipe))


def test_batches_in_buckets_hold_every_sample_once_and_less_padding(folder: Path) -> None:
    from lightning_fabric import Fabric

    fabric, dataset = Fabric(accelerator="cpu", devices=1), tiny_runs.tiny_data(per_class=64)
    everything = np.arange(len(dataset))

    def batches(**data: Any) -> list[Any]:
        recipe = tiny_runs.tiny_recipe(data=data)
        task = classification.EventsTraining(recipe)
        task.setup(Run(folder, recipe), fabric, Callback())
        task.dataset = task.resident = dataset
        task.selection = replace(task.selection, train=everything)
        return [batch for (batch,) in task.batches(1)]

    drawn, bucketed = batches(), batches(bucketing=True)
    assert sum(batch.counts.numel() for batch in bucketed) < 0.9 * sum(batch.counts.numel() for batch in drawn)
    for found in (drawn, bucketed):
        labels = torch.cat([batch.labels for batch in found])
        assert labels.bincount().tolist() == [64] * 4
        assert sum(int(batch.counts.sum()) for batch in found) == dataset.counts.sum()
    assert tiny_runs.fitted(folder, tiny_runs.tiny_recipe(data={"bucketing": True})).best_epoch() >= 1


def test_a_network_is_measured_on_other_test_data(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    requested = []

    def load(name: str, split: str, *_: Any, **__: Any) -> BinnedDataset:
        requested.append((name, split))
        data = tiny_runs.tiny_data("test")
        return data if name == "shd" else replace(data, class_names=("a", "b", "c", "d"))

    monkeypatch.setattr(samples, "load_binned", load)
    own = trained.evaluation.read_text() if trained.evaluation.exists() else None
    found = evaluate.evaluate(trained, on="shd")
    assert requested[-1] == ("shd", "test")
    assert json.loads((trained.folder / "evaluation_shd.json").read_text())["test_accuracy"] == found["test_accuracy"]
    assert own == (trained.evaluation.read_text() if own else None)  # that on its own data stays
    with pytest.raises(ConfigError, match=r"was trained on made up with sensor \(12,\) and 4 classes"):
        evaluate.evaluate(trained, on="ssc")


def test_who_speaks_is_not_counted_where_nobody_is_known(trained, monkeypatch: pytest.MonkeyPatch) -> None:
    nobody = replace(tiny_runs.tiny_data("test"), speakers=np.full(len(tiny_runs.tiny_data("test")), -1))
    monkeypatch.setattr(samples, "load_binned", lambda *_, **__: nobody)
    found = evaluate.evaluate(trained, on="shd")
    assert found["test_accuracy_unseen_speakers"] is None
    assert found["test_accuracy_known_speakers"] is None
