"""Refusals of training, in one line: NaN, recipes that do not fit, devices and folders that are not there."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from snn_delays.discrete.discretize import discretize
from snn_delays.errors import CheckpointError, ConfigError, ExportError, TrainingError
from snn_delays.nn import layers_with_delays
from snn_delays.recipes.build import network_for
from snn_delays.runs import evaluate
from snn_delays.training import engine as loop
from snn_delays.training import sources
from snn_delays.training.optimise import _diagnosis
from snn_delays.training.runlog import Run, create_run, open_run, resume_run
from snn_delays.training.tasks import events as classification
from tests.support import tiny_runs
from tests.support.tiny_runs import fitted


def test_a_loss_that_is_not_a_number_names_epoch_and_tensor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(folder, tiny_runs.tiny_recipe())
    real = classification.EventsTraining.on_epoch_start

    def poisoned(self: Any, epoch: int, network: nn.Module, optimisation: Any) -> dict[str, Any]:
        if epoch == 2:
            with torch.no_grad():
                layers_with_delays(network)["readout.synapse"].weight[1, 2, 0] = math.nan
        return real(self, epoch, network, optimisation)

    monkeypatch.setattr(classification.EventsTraining, "on_epoch_start", poisoned)
    with pytest.raises(TrainingError, match=r"the loss is nan in epoch 2: readout\.synapse\.weight holds values"):
        loop.fit(run, accelerator="cpu")
    assert len(run.progress()["history"]) == 1  # the epoch before is intact
    monkeypatch.undo()
    monkeypatch.setattr(sources, "load_binned", tiny_runs.fake_load)
    loop.fit(resume_run(folder, run.recipe), accelerator="cpu")
    assert len(run.progress()["history"]) == 3


def test_diagnosis_of_input_and_of_nothing() -> None:
    network = network_for(tiny_runs.tiny_recipe(), tiny_runs.tiny_data())
    x = torch.zeros(3, 2, 12)
    assert "all parameters are finite" in _diagnosis("the loss is inf", 4, network, x)
    x[0, 0, 0] = math.nan
    assert "the input holds values" in _diagnosis("the loss is inf", 4, network, x)


@pytest.mark.parametrize("part", ["weight", "delay", "gamma"])
def test_a_network_with_nan_is_not_discretised(part: str) -> None:
    network = network_for(tiny_runs.tiny_recipe(), tiny_runs.tiny_data())
    layer = network.hidden1.norm if part == "gamma" else network.hidden1.synapse  # type: ignore[union-attr]
    with torch.no_grad():
        getattr(layer, part).view(-1)[1] = math.nan
    with pytest.raises(ExportError, match=r"hidden1\.synapse.*not finite"):
        discretize(network)


@pytest.mark.parametrize("lr_delay", [1e9, 1e30])
def test_absurd_rates_end_in_an_error_or_in_finite_numbers(lr_delay: float, folder: Path) -> None:
    recipe = tiny_runs.tiny_recipe(training={"epochs": 2, "lr_delay": lr_delay, "max_lr_weight": 1e20})
    try:
        run = fitted(folder, recipe)
    except (TrainingError, ExportError):
        return
    assert all(math.isfinite(row["train_loss"]) for row in run.progress()["history"])


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": {"tau_mem_ms": 5.0}}, "tau"),
        ({"data": {"validation": "speakers", "validation_speakers": [9]}}, "speaker 9"),
        ({"augment": {"channel_shift": 12}}, "max_shift"),
        ({"augment": {"time_mask_probability": 0.5, "time_mask_max_steps": 500}}, "masked block"),
    ],
)
def test_recipes_that_do_not_fit_the_data(changes: dict[str, Any], says: str, folder: Path) -> None:
    with pytest.raises(ConfigError, match=says):
        fitted(folder, tiny_runs.tiny_recipe(**changes))


@pytest.mark.parametrize(("accelerator", "devices"), [("abacus", 1), ("cpu", 0), ("cpu", -1)])
def test_accelerators_that_are_not_there(accelerator: str, devices: int, folder: Path) -> None:
    with pytest.raises(ConfigError, match=rf"accelerator '{accelerator}' and devices {devices}"):
        loop.fit(create_run(folder, tiny_runs.tiny_recipe()), accelerator=accelerator, devices=devices)


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there(folder: Path, trained: Run) -> None:
    with pytest.raises(ConfigError, match="cuda"):
        loop.fit(create_run(folder, tiny_runs.tiny_recipe()), accelerator="cuda")
    with pytest.raises(ConfigError, match="cannot run on device 'cuda'"):
        evaluate.evaluate(trained, device="cuda")
    with pytest.raises(ConfigError, match="cannot run on device 'abacus'"):
        evaluate.evaluate(trained, device="abacus")


def test_resuming_with_another_recipe_names_the_key(trained: Run) -> None:
    assert resume_run(trained.folder, trained.recipe) == trained
    with pytest.raises(ConfigError, match=r"training\.batch_size = 16, the recipe now says 9"):
        resume_run(trained.folder, tiny_runs.tiny_recipe(training={"batch_size": 9}))
    with pytest.raises(ConfigError, match=r"training\.sigma_start_steps = None, the recipe now says 3\.0"):
        resume_run(trained.folder, tiny_runs.tiny_recipe(training={"sigma_start_steps": 3.0}))


def test_run_folders_that_are_there_or_are_not(trained: Run, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="holds a run already; continue it with --resume"):
        create_run(trained.folder, trained.recipe)
    with pytest.raises(CheckpointError, match=r"is no run folder: it has no recipe\.toml"):
        open_run(tmp_path)
    started = create_run(tmp_path / "run", trained.recipe)  # its first start fails: nothing is trained
    assert create_run(tmp_path / "run", trained.recipe) == started
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="choose another place with --out"):
        create_run(tmp_path / "file" / "run", trained.recipe)
