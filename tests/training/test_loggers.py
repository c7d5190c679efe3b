"""Logs in Lightning's loggers: what an epoch has, in the log that a resumed run goes on with, and no number moves."""

import csv
import importlib.util
from pathlib import Path
from typing import Any

import pytest

from snn_delays.errors import CheckpointError, ConfigError, MissingPackageError
from snn_delays.training import engine as loop
from snn_delays.training.loggers import Logs
from snn_delays.training.runlog import Run, create_run, open_run
from tests.support import tiny_runs
from tests.support.tiny_runs import Stopper, interrupt, numbers, same, tensors
from tests.support.tiny_texts import language_recipe


class Kept:
    """A logger of somebody's own."""

    def __init__(self) -> None:
        self.metrics: list[tuple[int, dict[str, float]]] = []
        self.recipes: list[dict[str, Any]] = []
        self.pictures: list[tuple[str, int, tuple[int, ...]]] = []
        self.end = ""
        self.experiment = self

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self.metrics.append((step, metrics))

    def log_hyperparams(self, params: dict[str, Any]) -> None:
        self.recipes.append(params)

    def add_image(self, name: str, image: Any, step: int, dataformats: str) -> None:
        assert 0.01 < (image < 255).any(-1).mean() < 0.9, "something is drawn"
        self.pictures.append((name, step, image.shape))

    def add_histogram(self, name: str, values: Any, step: int, bins: Any) -> None:
        self.pictures.append((name, step, values.shape))

    def save(self) -> None: ...

    def finalize(self, status: str) -> None:
        self.end = status


def csv_rows(run: Run) -> list[dict[str, str]]:
    with (run.folder / "logs" / "csv" / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def interrupted(folder: Path, *loggers: Any) -> Run:
    """A run interrupted in its second epoch, and resumed."""
    run = create_run(folder, tiny_runs.tiny_recipe())
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Logs(loggers), Stopper(("step", 2, 1), interrupt)])
    loop.fit(run, accelerator="cpu", callbacks=[Logs(loggers)])
    return run


def test_a_log_has_every_epoch_and_moves_no_number(trained: Run, folder: Path) -> None:
    kept = Kept()
    run = loop.train(trained.recipe, out=folder, accelerator="cpu", logger=kept)
    assert numbers(run) == numbers(trained)
    assert same(tensors(run), tensors(trained))
    assert [step for step, _ in kept.metrics] == [1, 2, 3]
    for (_, logged), row in zip(kept.metrics, run.progress()["history"], strict=True):
        assert logged == {k: v for k, v in row.items() if isinstance(v, int | float) and k != "epoch"}
    assert kept.recipes[0]["training"]["batch_size"] == 16
    assert {name for name, _, _ in kept.pictures} == {
        "spikes", "delays/hidden1.synapse", "delays/readout.synapse"
    }  # fmt: skip
    assert [step for name, step, _ in kept.pictures if name == "spikes"] == [1, 2, 3]
    assert kept.end == "success"


def test_a_language_model_shows_its_spikes(corpus: Path, folder: Path) -> None:
    kept = Kept()
    recipe = language_recipe(corpus, training={"epochs": 1})
    loop.train(recipe, out=folder, accelerator="cpu", logger=[kept])
    assert "spikes" in {name for name, _, _ in kept.pictures}
    assert any(name.startswith("delays/") for name, _, _ in kept.pictures)


def test_a_resumed_run_goes_on_in_the_same_log(trained: Run, folder: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    kept = Kept()
    run = interrupted(folder, "csv, tensorboard", kept)
    assert numbers(run) == numbers(trained)
    assert [int(row["step"]) for row in csv_rows(run)] == [1, 2, 3]
    for logged, row in zip(csv_rows(run), run.progress()["history"], strict=True):
        assert float(logged["train_loss"]) == row["train_loss"]
    events = EventAccumulator(str(folder / "logs" / "tensorboard"), {"histograms": 0}).Reload()
    losses = events.Scalars("train_loss")
    assert [loss.step for loss in losses] == [1, 2, 3]
    assert [loss.value for loss in losses] == pytest.approx([row["train_loss"] for row in numbers(run)])
    assert [image.step for image in events.Images("spikes")] == [1, 2, 3]
    delays = events.Histograms("delays/hidden1.synapse")
    assert [one.step for one in delays] == [1, 2, 3]
    assert delays[0].histogram_value.num == 120
    assert "_hparams_/experiment" in events.summary_metadata
    assert [step for step, _ in kept.metrics] == [1, 2, 3]
    assert len(kept.recipes) == 1


def test_an_epoch_that_was_saved_and_not_logged_is_logged_on_resuming(folder: Path) -> None:
    run = create_run(folder, tiny_runs.tiny_recipe())
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Stopper(("end", 2), interrupt), Logs("csv")])
    assert [int(row["step"]) for row in csv_rows(run)] == [1]
    loop.train(run.recipe, out=folder, accelerator="cpu", resume=True, logger="csv")
    assert [int(row["step"]) for row in csv_rows(run)] == [1, 2, 3]


def test_a_changed_recipe_is_in_the_log(folder: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    loop.train(tiny_runs.tiny_recipe(training={"epochs": 2}), out=folder, accelerator="cpu", logger="tensorboard")
    run = open_run(folder)
    longer = run.recipe.model_copy(update={"training": run.recipe.training.model_copy(update={"epochs": 3})})
    kept = Logs("tensorboard")
    loop.train(longer, out=folder, resume=True, accelerator="cpu", callbacks=[kept])
    events = EventAccumulator(str(folder / "logs" / "tensorboard"), {"histograms": 0}).Reload()
    assert [loss.step for loss in events.Scalars("train_loss")] == [1, 2, 3]


def test_weights_and_biases_offline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb")
    pytest.importorskip("pytorch_lightning")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    interrupted(folder, "wandb")
    logs = [path.read_bytes() for path in sorted((folder / "logs" / "wandb").rglob("*.wandb"))]
    assert len({path.stem for path in (folder / "logs" / "wandb").rglob("*.wandb")}) == 1  # one identity
    found = b"".join(logs)
    for name in (b"train_loss", b"delays/hidden1.synapse", b"spikes", b"max_lr_weight"):
        assert name in found
    assert len(list((folder / "logs" / "wandb").rglob("*.png"))) == 3


def test_mlflow_offline(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow")
    pytest.importorskip("pytorch_lightning")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = interrupted(folder, "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{folder.resolve() / 'logs' / 'mlflow' / 'mlflow.db'}")
    (experiment,) = (one for one in client.search_experiments() if one.name == "snn_delays")
    (logged,) = client.search_runs([experiment.experiment_id])
    losses = client.get_metric_history(logged.info.run_id, "train_loss")
    assert [(one.step, one.value) for one in losses] == [(row["epoch"], row["train_loss"]) for row in numbers(run)]
    assert logged.data.params["training/batch_size"] == "16"
    assert logged.info.status == "FINISHED"
    assert len(list((folder / "logs" / "mlflow").rglob("*.png"))) == 9


@pytest.mark.parametrize(
    ("loggers", "message"),
    [
        (
            "csv,tensorbord",
            r"there is no logger 'tensorbord'; did you mean 'tensorboard'\? choose from csv, tensorboard",
        ),
        ([3], "3 is no logger: it has no log_metrics"),
    ],
)
def test_what_is_no_logger_is_refused(loggers: Any, message: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=message):
        loop.train(tiny_runs.tiny_recipe(), out=folder, accelerator="cpu", logger=loggers)
    assert not folder.exists()


def test_a_missing_package_is_named_with_what_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    with pytest.raises(
        MissingPackageError, match=r"'wandb' needs the package wandb \(pip install 'snn-delays\[loggers\]'\)"
    ):
        Logs("csv,wandb")
    with pytest.raises(MissingPackageError, match=r"mlflow \(pip install 'snn-delays\[mlflow\]'\)"):
        Logs(["mlflow"])


def test_a_damaged_state_is_named(folder: Path) -> None:
    run = create_run(folder, tiny_runs.tiny_recipe())
    (folder / "logs").mkdir()
    (folder / "logs" / "state.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"state\.json is damaged: .* to begin new logs"):
        loop.fit(run, accelerator="cpu", callbacks=[Logs("csv")])
