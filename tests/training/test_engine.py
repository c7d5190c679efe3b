"""Training: repeatable, on training data alone, with the best checkpoint kept."""

import csv
import json
import math
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from snn_delays.discrete.discretize import discretize
from snn_delays.errors import CheckpointError
from snn_delays.files import alone_in
from snn_delays.recipes.build import network_for
from snn_delays.recipes.events import Recipe
from snn_delays.runs import evaluate, figures, load, samples
from snn_delays.training import checkpoint, sources
from snn_delays.training import engine as loop
from snn_delays.training.callbacks import Callback
from snn_delays.training.measure import measure
from snn_delays.training.progress import describe
from snn_delays.training.runlog import Run, create_run, open_run
from snn_delays.training.sources import selection
from snn_delays.training.tasks import events as classification
from tests.support import tiny_runs
from tests.support.tiny_runs import fitted, numbers, same, tensors


def test_same_seed_same_numbers_and_another_seed_others(trained: Run, tmp_path: Path) -> None:
    torch.manual_seed(77)  # what the generator did before does not matter
    again = fitted(tmp_path / "again", trained.recipe)
    assert numbers(again) == numbers(trained)
    assert same(tensors(again), tensors(trained))
    other = fitted(tmp_path / "other", tiny_runs.tiny_recipe(seed=4))
    assert numbers(other) != numbers(trained)
    assert not same(tensors(other), tensors(trained))


def test_every_epoch_has_its_own_order_and_every_sample_once(trained: Run) -> None:
    from lightning_fabric import Fabric

    task, train = trained.task, selection(trained.recipe).train
    task.setup(trained, Fabric(accelerator="cpu", devices=1), Callback())
    seen = []
    for epoch in (1, 2):
        batches = (batch for (batch,) in task.batches(epoch))
        seen.append(torch.cat([batch.counts.sum((0, 2)) * 100 + batch.labels for batch in batches]).tolist())
    assert seen[0] != seen[1]
    assert sorted(seen[0]) == sorted(seen[1])
    assert len(seen[0]) == len(train)


@pytest.mark.parametrize("delays", ["learned", "fixed", "none"])
def test_delays_move_only_when_learned(delays: str, folder: Path) -> None:
    run = fitted(folder, tiny_runs.tiny_recipe(model={"delays": delays}, training={"epochs": 1}))
    before, after = tensors(run, 0), tensors(run, 1)
    names = [name for name in after if name.endswith(".delay")]
    assert len(names) == 2
    for name in names:
        if delays == "learned":
            assert float((after[name] - before[name]).abs().median()) > 0.01
            assert 0 <= float(after[name].min()) <= float(after[name].max()) <= 8
        else:
            assert torch.equal(after[name], before[name])
            assert torch.equal(after[name], after[name].round())
            assert (float(after[name].max()) > 0) == (delays == "fixed")
    for name in after:
        if name.endswith((".weight", ".bias", ".running_mean")):
            assert not torch.equal(after[name], before[name]), name
    assert (run.progress()["history"][0]["lr_delay"] is None) == (delays != "learned")


def test_training_learns_what_only_delays_tell_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", lambda *_, **__: tiny_runs.tiny_data(per_class=100))

    def accuracy(delays: str) -> float:
        recipe = tiny_runs.tiny_recipe(
            model={"delays": delays, "hidden": [32], "tau_mem_ms": 10.05},
            training={"epochs": 10, "batch_size": 32, "max_lr_weight": 2e-2, "sigma_epochs": None},
        )
        run = fitted(tmp_path / delays, recipe)
        assert 0.02 < run.progress()["history"][-1]["rate_hidden1"] < 0.6
        return max(row["valid_accuracy"] for row in run.progress()["history"])

    assert accuracy("learned") > 0.65  # chance is 0.25
    assert accuracy("none") < 0.45


def test_the_run_folder(trained: Run) -> None:
    progress = trained.progress()
    history = progress["history"]
    assert [row["epoch"] for row in history] == [1, 2, 3]
    with (trained.folder / "metrics.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [{k: None if v is None else str(v) for k, v in row.items()} for row in history] == rows
    assert {"sigma", "lr_weight", "lr_delay", "train_loss", "valid_accuracy", "rate_hidden1", "seconds"} <= set(rows[0])
    assert [row["sigma"] for row in history] == pytest.approx([4.27, 0.27 + math.sqrt(4.0 * 0.23), 0.5])
    assert all(0.02 < row["rate_hidden1"] < 0.6 for row in history)
    best = max(history, key=lambda row: row["valid_accuracy"])["epoch"]
    assert progress["best_epoch"] == trained.best_epoch() == best
    assert checkpoint.epochs_saved(trained.checkpoints) == sorted({0, best, 3})
    assert (progress["source"], progress["checksum"]) == ("made up", "none-train")
    assert open_run(trained.folder).recipe == trained.recipe
    _, card = checkpoint.read_network(checkpoint.network_file(trained.checkpoints, 3))
    assert (card.recipe, card.epoch, card.sensor, card.vocabulary) == (trained.recipe, 3, (12,), None)
    environment = json.loads((trained.folder / "environment.json").read_text())
    assert environment["packages"]["torch"].split("+")[0] == torch.__version__.split("+")[0]
    names = {path.name for path in trained.folder.iterdir()}
    assert {"recipe.toml", "environment.json", "metrics.csv", "checkpoints"} <= names
    assert not [path for path in trained.folder.rglob("*") if path.name.startswith(".")]


@pytest.mark.parametrize(
    ("select_by", "best"),
    [("accuracy", 2), ("loss", 3)],
)
def test_the_best_epoch_is_the_earliest_of_the_best(select_by: str, best: int) -> None:
    task = classification.EventsTraining(tiny_runs.tiny_recipe(training={"select_by": select_by}))
    assert task.best_epoch(tiny_runs.TIED) == best


def test_validation_is_of_the_discrete_network_on_samples_held_out(trained: Run) -> None:
    dataset = tiny_runs.tiny_data()
    chosen = selection(trained.recipe)
    train, valid = chosen.train, chosen.valid
    assert set(train).isdisjoint(valid)
    assert len(train) + len(valid) == len(dataset)
    network = load.trained_network(trained, 3)
    result = measure(discretize(network), dataset, valid, trained.recipe)
    row = trained.progress()["history"][-1]
    assert (result.accuracy, result.loss) == (row["valid_accuracy"], row["valid_loss"])
    assert measure(network, dataset, valid, trained.recipe).loss != row["valid_loss"]


def test_evaluation_says_what_it_measured(trained: Run) -> None:
    result = evaluate.evaluate(trained)
    assert json.loads(trained.evaluation.read_text()) == result == evaluate.read_evaluation(trained)
    confusion, test = np.array(result["confusion"]), tiny_runs.tiny_data("test")
    assert confusion.sum(1).tolist() == np.bincount(test.labels).tolist()
    assert result["test_accuracy"] == pytest.approx(np.trace(confusion) / confusion.sum())
    assert result["test_samples"] == len(test) == confusion.sum()
    known = np.isin(test.speakers, [0, 1])
    assert 0 < known.sum() < len(test)
    network = load.trained_network(trained)
    everything = np.arange(len(test))
    real = measure(network, test, everything, trained.recipe)
    whole = measure(discretize(network), test, everything, trained.recipe)
    assert real.loss != whole.loss
    assert result["test_accuracy_real_delays"] == real.accuracy
    assert (result["test_accuracy"], result["test_loss"]) == (whole.accuracy, whole.loss)
    assert confusion.tolist() == whole.confusion().tolist()
    assert result["firing_rates"] == whole.firing_rates
    right = whole.correct.numpy()
    assert right[known].mean() != right[~known].mean()
    assert result["test_accuracy_known_speakers"] == pytest.approx(right[known].mean())
    assert result["test_accuracy_unseen_speakers"] == pytest.approx(right[~known].mean())
    assert (result["data"], result["test_file_sha256"]) == ("made up", "none-test")
    assert result["parameters"] == 2 * (12 * 10 + 10 * 4) + 20
    assert (result["epochs"], result["best_epoch"]) == (3, trained.best_epoch())
    best_row = trained.progress()["history"][trained.best_epoch() - 1]
    assert (result["sigma"], result["valid_accuracy"]) == (best_row["sigma"], best_row["valid_accuracy"])
    assert len(result["lost_in_discretization"]) == 2
    assert len(result["class_names"]) == 4


def test_validation_speakers_are_not_known_ones(folder: Path) -> None:
    by_speaker = {"validation": "speakers", "validation_speakers": [1]}  # of the training set's 0 and 1
    result = evaluate.evaluate(fitted(folder, tiny_runs.tiny_recipe(data=by_speaker, training={"epochs": 1})))
    assert set(tiny_runs.tiny_data("test").speakers.tolist()) == {1, 2}
    assert result["test_accuracy_known_speakers"] is None
    assert result["test_accuracy_unseen_speakers"] == result["test_accuracy"]


def published(**training: Any) -> Recipe:
    return tiny_runs.tiny_recipe(data={"padding": "published"}, training={"epochs": 2, **training})


@pytest.mark.parametrize("select_by", ["accuracy", "loss"])
def test_epochs_are_selected_and_tested_with_the_readout_as_trained(
    select_by: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fitted(folder, published(select_by=select_by))
    chosen, row = selection(run.recipe), run.progress()["history"][-1]
    network = discretize(load.trained_network(run, 2))
    found = measure(network, chosen.validation, chosen.valid, run.recipe)
    assert found.loss != found.masked.loss
    assert (row["valid_loss"], row["valid_accuracy"]) == (found.loss, found.accuracy)
    assert (row["valid_loss_masked"], row["valid_accuracy_masked"]) == (found.masked.loss, found.masked.accuracy)
    assert f"valid {found.accuracy:6.1%} ({found.masked.accuracy:.1%} masked)" in describe(row)
    result, test = evaluate.evaluate(run), tiny_runs.tiny_data("test")
    whole = measure(load.discrete_network(run), test, np.arange(len(test)), run.recipe)
    assert result["readout"] == "as trained"
    assert (result["test_accuracy"], result["test_loss"]) == (whole.accuracy, whole.loss)
    assert result["test_accuracy_masked"] == whole.masked.accuracy
    task = classification.EventsTraining(run.recipe)
    other = [{**tied, "valid_loss_masked": -i, "valid_accuracy_masked": i} for i, tied in enumerate(tiny_runs.TIED)]
    assert task.best_epoch(other) == {"accuracy": 2, "loss": 3}[select_by]


def test_a_run_whose_epochs_were_compared_masked_goes_on_so_and_says_so(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(folder, published(epochs=3))
    real = classification.EventsTraining.validate

    def before(self: Any, network: nn.Module, device: torch.device) -> dict[str, Any]:
        row = real(self, network, device)
        return {key: row.get(f"{key}_masked", value) for key, value in row.items() if not key.endswith("_masked")}

    with monkeypatch.context() as patch:  # an epoch of the version before
        patch.setattr(classification.EventsTraining, "validate", before)
        with pytest.raises(KeyboardInterrupt):
            loop.fit(run, accelerator="cpu", callbacks=[tiny_runs.Stopper(("end", 1), tiny_runs.interrupt)])
    loop.fit(run, accelerator="cpu")
    history = run.progress()["history"]
    masked = [row.get("valid_accuracy_masked", row["valid_accuracy"]) for row in history]
    assert run.best_epoch() == 1 + masked.index(max(masked))
    result, chosen = evaluate.evaluate(run), selection(run.recipe)
    network = load.discrete_network(run)
    assert result["readout"] == "as trained; epoch chosen masked"
    assert result["valid_accuracy"] == measure(network, chosen.validation, chosen.valid, run.recipe).accuracy
    assert result["valid_accuracy_masked"] == max(masked)


def test_canary_opening_the_test_data_in_training_is_seen(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "training_data", lambda recipe, callback=None: samples.load_test_data(recipe))
    monkeypatch.setattr(samples, "load_binned", tiny_runs.fake_load)
    with pytest.raises(AssertionError, match="opened the test data"):
        fitted(folder, tiny_runs.tiny_recipe())


@pytest.mark.skipif(sys.platform == "win32", reason="needs locks of folders")
def test_nothing_is_written_where_another_process_trains(folder: Path) -> None:
    run = create_run(folder, tiny_runs.tiny_recipe())
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        with alone_in(folder):
            os.write(writer, b"x")
            signal.pause()
    os.read(reader, 1)
    try:
        for act in (lambda: create_run(folder, tiny_runs.tiny_recipe(seed=7)), lambda: loop.fit(run)):
            with pytest.raises(CheckpointError, match="another process is training"):
                act()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    create_run(folder, tiny_runs.tiny_recipe(seed=7))


def test_evaluating_before_training(folder: Path) -> None:
    run = create_run(folder, tiny_runs.tiny_recipe())
    with pytest.raises(CheckpointError, match="has no checkpoint yet"):
        evaluate.evaluate(run)
    with pytest.raises(CheckpointError, match="was not evaluated yet: snn-delays evaluate"):
        evaluate.read_evaluation(run)


def test_evaluating_the_untrained_network_is_refused(folder: Path, trained: Run) -> None:
    run = create_run(folder, trained.recipe)
    stop = tiny_runs.Stopper(("step", 1, 1), tiny_runs.interrupt)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[stop])
    assert run.best_epoch() == 0
    with pytest.raises(CheckpointError, match="has not finished an epoch"):
        evaluate.evaluate(run)


def test_one_batch_of_training_by_hand(folder: Path) -> None:
    """The first epoch of one batch, without dropout: the numbers in the record are those of plain torch."""
    recipe = tiny_runs.tiny_recipe(model={"dropout": 0.0}, training={"epochs": 1, "batch_size": 48})
    run = fitted(folder, recipe)
    dataset = tiny_runs.tiny_data()
    train = selection(recipe).train
    assert len(train) == 48
    torch.manual_seed(recipe.seed)
    network = network_for(recipe, dataset)
    assert same(dict(network.state_dict()), tensors(run, 0))
    batch = dataset.batch(train, recipe.data.tail_steps)
    steps = torch.arange(len(batch.counts)).unsqueeze(1)
    v, _ = network(batch.counts.float(), None, steps < batch.lengths)
    sums = torch.stack([v[:length, i].softmax(-1).sum(0) for i, length in enumerate(batch.lengths.tolist())])
    loss = torch.nn.functional.cross_entropy(sums, batch.labels)
    row = run.progress()["history"][0]
    assert row["train_loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
    assert row["train_accuracy"] == float((sums.argmax(1) == batch.labels).double().mean())
    loss.backward()
    after = tensors(run)
    for name, p in network.named_parameters():
        assert p.grad is not None
        gradient = p.grad
        clear = gradient.abs() > 1e-3
        assert bool(clear.any()), name
        moved = after[name] - p.detach()
        if name.endswith(".delay"):
            clear &= (after[name] > 0) & (after[name] < 8)  # not stopped at the window's edge
        # Adam's first step is the rate against the gradient's sign
        rate = row["lr_delay"] if name.endswith(".delay") else row["lr_weight"]
        torch.testing.assert_close(moved[clear], -rate * gradient.sign()[clear], rtol=0.02, atol=1e-6)


def test_published_padding_counts_every_step_of_the_batch(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Tensor] = []

    def watched(lengths: Tensor, steps: int) -> Tensor:
        seen.append(lengths)
        return torch.arange(steps).unsqueeze(1) < lengths

    monkeypatch.setattr(classification, "valid_steps", watched)
    fitted(folder, tiny_runs.tiny_recipe(data={"padding": "published"}, training={"epochs": 1}))
    assert len(seen) == 3
    assert all(len(set(lengths.tolist())) == 1 for lengths in seen)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train_resume_and_evaluate(precision: str, tmp_path: Path) -> None:
    recipe = tiny_runs.tiny_recipe(training={"epochs": 2, "precision": precision})
    whole = fitted(tmp_path / "whole", recipe)
    parts = create_run(tmp_path / "parts", recipe)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(parts, accelerator="cpu", callbacks=[tiny_runs.Stopper(("step", 2, 2), tiny_runs.interrupt)])
    loop.fit(parts, accelerator="cpu")
    assert numbers(parts) == numbers(whole)
    assert same(tensors(parts), tensors(whole))
    dtype = torch.float64 if precision == "64-true" else torch.float32
    assert {tensor.dtype for tensor in tensors(whole).values()} == {dtype}
    assert all(math.isfinite(row["train_loss"]) and 0.02 < row["rate_hidden1"] < 0.6 for row in numbers(whole))
    valid = selection(recipe).valid
    network = load.trained_network(whole, 2)
    result = measure(discretize(network), tiny_runs.tiny_data(), valid, recipe)
    assert result.loss == numbers(whole)[-1]["valid_loss"]  # evaluation runs what validation ran


def test_pictures_are_of_the_first_sample_that_is_classified_right(
    trained: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = selection(trained.recipe)
    right = measure(load.discrete_network(trained), chosen.validation, chosen.valid, trained.recipe).correct
    first = int(right.nonzero()[0])
    assert figures.Source(trained).response.index == chosen.valid[first]
    assert figures.Source(trained, 2).response.index == chosen.valid[2]
    wrong = int((~right).nonzero()[0])
    swapped = np.concatenate([chosen.valid[[wrong, first]], chosen.valid])
    monkeypatch.setattr(figures, "selection", lambda recipe: replace(chosen, valid=swapped))
    assert figures.Source(trained).response.index == chosen.valid[first]
