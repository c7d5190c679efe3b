"""A made-up data set and a recipe for it, small enough that a training run takes a second. Also a script, to be killed.

Each class is two bursts of spikes with a lag of its own between two groups of channels: distinguished by delays.
"""

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.data.binning import Binning
from snn_delays.data.dataset import BinnedDataset
from snn_delays.recipes.build import network_for
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.files import parse_recipe
from snn_delays.recipes.keys import without_overruled
from snn_delays.runs import samples
from snn_delays.training import checkpoint, sources
from snn_delays.training import engine as loop
from snn_delays.training.callbacks import Callback
from snn_delays.training.runlog import Run, create_run, open_run
from snn_delays.training.tasks import events as classification

CLASSES, CHANNELS = 4, 12
TABLE: dict[str, Any] = {
    "name": "tiny",
    "seed": 3,
    "data": {"dataset": "shd-regenerated-subset", "dt_ms": 10.0, "validation_fraction": 0.25, "tail_steps": 4},
    "model": {"hidden": [10], "max_delay_ms": 80.0, "tau_mem_ms": 20.0, "dropout": 0.1},
    "training": {"epochs": 3, "batch_size": 16, "schedule_every": "step", "sigma_epochs": 2},
}


def tiny_recipe(**sections: Any) -> Recipe:
    """The tiny recipe with sections updated, as in ``training={"epochs": 1}, seed=4``."""
    table = {
        key: {**value, **sections.get(key, {})} if isinstance(value, dict) else sections.get(key, value)
        for key, value in {**sections, **TABLE}.items()
    }
    recipe = parse_recipe(table, "tiny")
    return parse_recipe(without_overruled(table, recipe, [TABLE, sections]), "tiny")


def tiny_data(split: str = "train", per_class: int = 16) -> BinnedDataset:
    """Counts of four classes, samples of 14 to 22 steps, two speakers in training and a third one in test."""
    random = np.random.default_rng(split == "test")
    parts, labels = [], []
    for i in range(CLASSES * per_class):
        steps, start, label = int(random.integers(14, 23)), int(random.integers(0, 5)), i % CLASSES
        counts = (random.random((steps, CHANNELS)) < 0.05).astype(np.uint8)
        counts[start, : CHANNELS // 2] += (random.random(CHANNELS // 2) < 0.8).astype(np.uint8)
        counts[start + 2 * label + 1, CHANNELS // 2 :] += 1
        parts.append(counts)
        labels.append(label)
    speakers = np.arange(len(labels)) // CLASSES % 2 if split == "train" else np.arange(len(labels)) // CLASSES % 2 + 1
    return BinnedDataset(
        counts=np.concatenate(parts), offsets=np.cumsum([0, *map(len, parts)]), labels=np.array(labels),
        speakers=speakers, source="made up", checksum=f"none-{split}", binning=Binning("fixed", 10.0, 1),
        n_classes=CLASSES, class_names=tuple(f"class {c}" for c in range(CLASSES)),
    )  # fmt: skip


CONVOLUTIONAL = {
    "kind": "convolutional", "maps": [32], "kernel_size": 3, "padding": 1, "pool": 1, "hidden": [],
    "sharing": "channel", "tau_mem_ms": 10.05,
}  # fmt: skip


def camera(split: str = "train", per_class: int = 100) -> BinnedDataset:
    """The made-up data as seen by a camera of 2 x 2 x 3 pixels."""
    flat = tiny_data("test" if split == "test" else "train", per_class)
    return replace(flat, counts=flat.counts.reshape(-1, 2, 2, 3))


def fake_load(name: str, split: str, binning: Binning, **_: Any) -> BinnedDataset:
    """Stands in for ``load_binned``; in training it refuses the test data."""
    assert split == "train", "training opened the test data"
    return tiny_data(split)


def fake_load_any(name: str, split: str, binning: Binning, **_: Any) -> BinnedDataset:
    """Stands in for ``load_binned`` in ``evaluate``."""
    return tiny_data(split)


class Stopper(Callback):
    """A callback that calls ``act`` at a moment: ``("step", 2, 1)``, epoch 2 after its step 1; ``("end", 1)``."""

    def __init__(self, moment: tuple[Any, ...], act: Callable[[], None]) -> None:
        self.moment, self.act, self.epoch, self.steps = moment, act, 0, 0

    def on_train_epoch_start(self, epoch: int, epochs: int, steps: int) -> None:
        self.epoch, self.steps = epoch, 0

    def on_train_batch_end(self, loss: float) -> None:
        self.steps += 1
        if self.moment == ("step", self.epoch, self.steps):
            self.act()

    def on_train_epoch_end(self, row: dict[str, Any], best_epoch: int) -> None:
        if self.moment == ("end", row["epoch"]):
            self.act()


def fitted(folder: Path, recipe: Recipe) -> Run:
    run = create_run(folder, recipe)
    loop.fit(run, accelerator="cpu")
    return run


def tensors(run: Run, epoch: int | None = None) -> dict[str, Tensor]:
    epoch = checkpoint.latest_epoch(run.checkpoints) if epoch is None else epoch
    assert epoch is not None
    network = network_for(run.recipe, tiny_data())
    checkpoint.load_network(run.checkpoints, epoch, network)
    return dict(network.state_dict())


def numbers(run: Run) -> list[dict[str, Any]]:
    """The history but for the time it took."""
    return [{k: v for k, v in row.items() if k != "seconds"} for row in run.progress()["history"]]


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


TIED = [  # epochs of which the second and third are as accurate, the last two as near
    {"epoch": 1, "valid_accuracy": 0.5, "valid_loss": 0.5},
    {"epoch": 2, "valid_accuracy": 0.8, "valid_loss": 0.4},
    {"epoch": 3, "valid_accuracy": 0.8, "valid_loss": 0.3},
    {"epoch": 4, "valid_accuracy": 0.7, "valid_loss": 0.3},
]


def interrupt() -> None:
    """What Ctrl-C does."""
    raise KeyboardInterrupt


def kill() -> None:
    """End this process as the system does when memory runs out."""
    os.kill(os.getpid(), signal.SIGKILL)


def kill_on_call(owner: Any, name: str, call: int) -> None:
    """Have the n-th call of ``owner.name`` kill the process before it does anything."""
    real, calls = getattr(owner, name), 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            kill()
        return real(*args, **kwargs)

    setattr(owner, name, counted)


def use_tiny_data() -> None:
    """Have this process train and evaluate on the made-up data."""
    sources.load_binned = fake_load
    samples.load_binned = fake_load_any


def main(folder: str, moment: str) -> None:
    """Train the tiny recipe in ``folder`` and be killed at ``moment``."""
    from snn_delays.training import checkpoint

    use_tiny_data()
    torch.set_num_threads(1)  # as in the tests: the number of threads decides the order of sums
    path = Path(folder)
    run: Run = open_run(path) if (path / "recipe.toml").exists() else create_run(path, tiny_recipe())
    kind, *numbers = moment.split(":")
    if kind in ("rename", "rmtree", "sync"):
        owner = {"rename": checkpoint.os, "rmtree": checkpoint.shutil, "sync": checkpoint}[kind]
        kill_on_call(owner, kind, int(numbers[0]))
    elif kind == "metrics":
        kill_on_call(loop, "write_metrics", int(numbers[0]))
    loop.fit(run, accelerator="cpu", callbacks=[Stopper((kind, *map(int, numbers)), kill)])


def commands(*arguments: str) -> None:
    """The command line on the made-up data, keeping what each process holds at the end of an epoch."""
    from snn_delays import cli

    use_tiny_data()
    torch.set_num_threads(1)
    real, folder = classification.with_integer_delays, os.environ.get("TINY_KEEP")

    def kept(network: Any) -> Any:
        if folder:
            weights = {name: p.detach().clone() for name, p in network.named_parameters()}
            torch.save(weights, Path(folder) / f"process-{os.environ.get('LOCAL_RANK', '0')}.pt")
        return real(network)

    classification.with_integer_delays = kept
    if moment := os.environ.get("TINY_KILL"):  # RANK:EPOCH:STEP
        rank, *when = map(int, moment.split(":"))
        real_step = classification.EventsTraining.on_step_start

        def on_step_start(self: Any, epoch: int, step: int, *rest: Any) -> None:
            if [self.fabric.global_rank, epoch, step] == [rank, *when]:
                kill()
            real_step(self, epoch, step, *rest)

        classification.EventsTraining.on_step_start = on_step_start  # type: ignore[method-assign]
    cli.app(list(arguments), prog_name="snn-delays")


if __name__ == "__main__":
    commands(*sys.argv[2:]) if sys.argv[1] == "cli" else main(*sys.argv[1:])
