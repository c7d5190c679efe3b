"""What training reads: augmented, from the host or the device, by one process at a time."""

import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from snn_delays.data.dataset import ResidentDataset
from snn_delays.errors import CheckpointError
from snn_delays.files import alone_in
from snn_delays.training import checkpoint
from snn_delays.training import engine as loop
from snn_delays.training.runlog import Run, create_run
from snn_delays.training.sources import augmented
from snn_delays.training.tasks import events as classification
from tests.support import tiny_runs
from tests.support.tiny_runs import fitted, numbers, same, tensors

ALL_AUGMENTATIONS = {
    "channel_shift": 2, "time_shift_steps": 2, "neuron_mask_probability": 0.6, "neuron_mask_max": 2,
    "time_mask_probability": 0.6, "time_mask_max_steps": 3, "cutmix_probability": 0.8,
}  # fmt: skip


def test_all_augmentations_together_are_repeatable_and_used(tmp_path: Path, trained: Run) -> None:
    recipe = tiny_runs.tiny_recipe(augment=ALL_AUGMENTATIONS, training={"epochs": 2})
    first, second = fitted(tmp_path / "a", recipe), fitted(tmp_path / "b", recipe)
    assert numbers(first) == numbers(second)
    assert same(tensors(first), tensors(second))
    assert numbers(first)[0]["train_loss"] != numbers(trained)[0]["train_loss"]
    assert all(math.isfinite(row["train_loss"]) for row in numbers(first))


@pytest.mark.parametrize("name", [key for key in ALL_AUGMENTATIONS if not key.endswith(("_max", "_max_steps"))])
def test_each_augmentation_of_a_recipe_acts(name: str) -> None:
    batch = tiny_runs.tiny_data().batch(np.arange(16))
    on = {key: ALL_AUGMENTATIONS[key] for key in ALL_AUGMENTATIONS if key[:9] == name[:9]}
    config = tiny_runs.tiny_recipe(augment=on).augment
    assert getattr(config, name)
    made = augmented(batch, config, 4, torch.Generator().manual_seed(0))
    assert not (made.counts.shape == batch.counts.shape and torch.equal(made.counts, batch.counts))
    assert (made.labels.ndim == 2) == (name == "cutmix_probability")


def test_two_processes_never_train_one_run_at_once(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", tiny_runs.tiny_recipe())
    code = """
import sys, pathlib
from snn_delays.files import alone_in

with alone_in(pathlib.Path(sys.argv[1])):
    print(flush=True)
    input()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, run.folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()  # it holds the folder
        with pytest.raises(CheckpointError, match="another process is training in"):
            loop.fit(run, accelerator="cpu")
        other.communicate(b"\n")
    assert checkpoint.latest_epoch(run.checkpoints) is None
    loop.fit(run, accelerator="cpu")  # afterwards it goes on
    with pytest.raises(ZeroDivisionError), alone_in(run.folder):
        raise ZeroDivisionError
    with alone_in(run.folder):
        pass


def test_data_that_lie_on_the_device_train_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = tiny_runs.tiny_recipe(augment=ALL_AUGMENTATIONS, training={"epochs": 2})
    want = fitted(tmp_path / "host", recipe)
    used: list[ResidentDataset] = []

    def to(task: classification.EventsTraining, device: torch.device) -> None:
        used.append(ResidentDataset(task.dataset, device))
        task.resident = task.validation = used[-1]

    monkeypatch.setattr(classification.EventsTraining, "to", to)
    assert numbers(fitted(tmp_path / "resident", recipe)) == numbers(want)
    assert len(used) == 1


def test_no_augmentation_changes_nothing() -> None:
    batch = tiny_runs.tiny_data().batch(np.arange(4))
    made = augmented(batch, tiny_runs.tiny_recipe().augment, 4, torch.Generator())
    assert all(torch.equal(a, b) for a, b in zip(made, batch))
