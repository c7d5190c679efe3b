"""Recipes of every task that two processes train as one does, and the script that trains them so.

python -m tests.support.two_processes FOLDER trains each in FOLDER/NAME; both processes keep their gradients there.
"""

import os
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import nn

from snn_delays.recipes.registry import task_of
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.training import engine, sources
from snn_delays.training.runlog import Run
from snn_delays.training.tasks.events import EventsTraining
from snn_delays.training.tasks.text import LanguageTraining, SentencesTraining
from tests.support import tiny_runs, tiny_texts

EXACT = {"epochs": 2, "precision": "64-true"}


def recipes(folder: Path) -> dict[str, BaseRecipe]:
    """By name; the text of the language model is written into ``folder``. Shares and last batches are uneven."""
    drawn = {"channel_shift": 2, "cutmix_probability": 0.5}
    events = {"model": {"dropout": 0.0}, "training": {**EXACT, "batch_size": 13}}
    published = {"padding": "published", "bucketing": True}
    return {
        "events": tiny_runs.tiny_recipe(**events, augment=drawn),
        "published": tiny_runs.tiny_recipe(**events, data=published),
        "maps": tiny_runs.tiny_recipe(**{**events, "model": {**tiny_runs.CONVOLUTIONAL, "dropout": 0.0}}),
        "apart": tiny_runs.tiny_recipe(**events, augment=drawn),  # batch norms by themselves
        "language": tiny_texts.language_recipe(tiny_texts.text_file(folder), model={"dropout": 0.0}, training=EXACT),
        "sentences": tiny_texts.sentence_recipe(
            model={"dropout": 0.0}, training={**EXACT, "batch_size": 12, "lr": 1e-1}
        ),
    }


def recipes_in_shards(folder: Path) -> dict[str, BaseRecipe]:
    """By name; half precision and single are all that Fabric has for them."""
    return {
        "events-shards": tiny_runs.tiny_recipe(model={"dropout": 0.0}, training={"epochs": 2, "batch_size": 13}),
        "language-shards": tiny_texts.language_recipe(tiny_texts.text_file(folder), model={"dropout": 0.0}),
    }


def stopped_once(task: Any) -> None:
    """Have the next run of a task end in its second epoch, in every process."""
    real = task.on_step_start

    def on_step_start(self: Any, epoch: int, step: int, *rest: Any) -> None:
        if (epoch, step) == (2, 1):
            task.on_step_start = real
            raise KeyboardInterrupt
        real(self, epoch, step, *rest)

    task.on_step_start = on_step_start


def keep_gradients(put: Any = setattr) -> None:
    """Have every task write the gradients of an epoch's last step into the run's folder, as ``gradients-RANK.pt``."""
    for task in (EventsTraining, LanguageTraining, SentencesTraining):
        put(task, "setup", _remembering(task.setup))
        put(task, "validate", _keeping(task.validate))


def _remembering(real: Any) -> Any:
    def setup(self: Any, run: Run, *rest: Any) -> None:
        self.kept = run.folder
        real(self, run, *rest)

    return setup


def _keeping(real: Any) -> Any:
    def validate(self: Any, network: nn.Module, device: torch.device) -> dict[str, Any]:
        gradients = {name: p.grad for name, p in network.named_parameters() if p.grad is not None}
        torch.save(gradients, self.kept / f"gradients-{self.fabric.global_rank}.pt")
        return dict(real(self, network, device))

    return validate


def use_camera(put: Any = setattr) -> None:
    """Have events be those of a camera, whose pixels lie in a row for a network without convolutions."""
    put(sources, "load_binned", lambda name, split, *_, **__: tiny_runs.camera(split, 16))


def main(folder: Path) -> None:
    """Train every recipe."""
    use_camera()
    tiny_texts.use_made_up_sentences()
    keep_gradients()
    torch.set_num_threads(1)
    synchronise = engine.synchronise_batch_norm
    for name, recipe in recipes(folder).items():
        engine.synchronise_batch_norm = synchronise if name != "apart" else lambda network: None
        engine.train(recipe, out=folder / name, accelerator="cpu", devices=2, strategy="ddp")
    engine.synchronise_batch_norm = synchronise
    for name, recipe in recipes_in_shards(folder).items():
        stopped_once(type(task_of(recipe)))
        with suppress(KeyboardInterrupt):
            engine.train(recipe, out=folder / name, accelerator="cpu", devices=2, strategy="fsdp")
        if not int(os.environ.get("LOCAL_RANK", "0")):
            shutil.copytree(folder / name, folder / f"{name}-stopped")
        engine.train(recipe, out=folder / name, accelerator="cpu", devices=2, strategy="fsdp", resume=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
