"""Training: one engine for every task, on laptop, GPU and several processes."""

import time
import warnings
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import numba
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException

from snn_delays.errors import CheckpointError, ConfigError, DataError, TrainingError
from snn_delays.files import alone_in
from snn_delays.recipes.differences import check_changes, differences
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.recipes.text import LanguageRecipe, SentenceRecipe
from snn_delays.training import checkpoint, health
from snn_delays.training.card import NetworkCard
from snn_delays.training.runlog import Run, open_run, write_metrics
from snn_delays.training.task import Task
from snn_delays.training.watcher import Silent, Watcher


def fit(run: Run, *, accelerator: str = "auto", devices: int | str = 1, watcher: Watcher | None = None) -> None:
    """Train a run to the end of its recipe, from its last checkpoint if it has one.

    Every epoch draws its numbers from the recipe's seed and its own number, so a run that was killed and resumed ends
    with the numbers of one that was not. Each epoch is validated on the discrete network; ``best_epoch`` in the
    checkpoint's progress names the best. Only training data are read.

    Raises ConfigError for an accelerator that is not there, DataError, CheckpointError (also where another process is
    training in the run's folder), or TrainingError if the loss stops being finite.
    """
    recipe = run.recipe
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=recipe.training.precision)
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"cannot train with accelerator {accelerator!r} and devices {devices!r}: {error}") from error
    fabric.launch()
    # No more threads than Numba's kernels can follow, which would set torch's number on their way.
    torch.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    watcher = watcher if watcher and fabric.is_global_zero else Silent()
    with alone_in(run.folder) if fabric.is_global_zero else nullcontext():
        _same_recipe(run)
        try:
            _fit(run, fabric, watcher)
        except TrainingError as error:
            raise TrainingError(f"{error}; {_remedy(run)}") from error


def _same_recipe(run: Run) -> None:
    """Raise CheckpointError if another run was begun in the folder since this one was made or opened."""
    if (run.folder / "recipe.toml").exists():
        for key, (own, there) in differences(run.recipe, open_run(run.folder, BaseRecipe).recipe).items():
            raise CheckpointError(
                f"{run.folder} is now of a run with {key} = {there!r}, this one has {own!r}; choose another folder"
            )


def _remedy(run: Run) -> str:
    """How to go on after training diverged."""
    training, key = run.recipe.training, "max_lr_weight" if isinstance(run.recipe, Recipe) else "lr"
    rate = f"training.{key}={getattr(training, key) / 10:g}"
    if checkpoint.latest_epoch(run.checkpoints) is None:
        return f"train it anew with lower rates, as --set {rate}"
    return f"go on from the last finished epoch with lower rates, as {run.resume_command()} --set {rate}"


def _task(run: Run, fabric: Fabric, watcher: Watcher) -> Task:
    """What the run's recipe trains, its data opened."""
    if isinstance(run.recipe, LanguageRecipe):
        from snn_delays.training.tasks.language import Language

        return Language(run, fabric)
    if isinstance(run.recipe, SentenceRecipe):
        from snn_delays.training.tasks.sentences import Sentences

        return Sentences(run, fabric)
    from snn_delays.training.tasks.events import Classification

    return Classification(run, fabric, watcher)


def _fit(run: Run, fabric: Fabric, watcher: Watcher) -> None:
    task = _task(run, fabric, watcher)
    card = NetworkCard(run.recipe, 0, task.source, task.checksum, **task.card())
    torch.manual_seed(run.recipe.seed)
    network = task.network()
    optimisation = task.optimisation(network)
    task.ready(network)
    # States are read once the network has its device and precision, which those of the optimisers then take over.
    module, *_ = fabric.setup(network, *optimisation.optimisers.values())
    task.place(fabric.device)
    progress: dict[str, Any] = {"history": [], "best_epoch": 0, "source": task.source, "checksum": task.checksum}
    last = checkpoint.latest_epoch(run.checkpoints)
    if last is not None:
        checkpoint.load_network(run.checkpoints, last, network)
        checkpoint.load_optimisation(run.checkpoints, last, optimisation)
        progress = checkpoint.read_progress(run.checkpoints, last)
        if changes := differences(run.network_after(last)[1].recipe, run.recipe):
            check_changes(changes, run.folder)
            values = {key: list(both) for key, both in changes.items()}
            progress["changes"] = [*progress.get("changes", []), {"after_epoch": last, **values}]
        if progress["checksum"] != task.checksum:
            raise DataError(
                f"{run.folder} was trained on {progress['source']} (sha256 {progress['checksum']}), the file here is "
                f"{task.source} ({task.checksum}); put the first back, or start anew with --out"
            )
        if fabric.is_global_zero:
            _tidy(run, progress, last)  # a killed run may not have come to it
    else:
        progress |= task.begin(network)
        if fabric.is_global_zero:
            checkpoint.save_checkpoint(run.checkpoints, network, optimisation, progress, card)

    for epoch in range((last or 0) + 1, task.epochs + 1):
        began = time.perf_counter()
        watcher.epoch_begins(epoch, task.epochs, task.steps)
        row: dict[str, Any] = {"epoch": epoch, **task.settings(epoch, network, optimisation)}
        row |= task.train_epoch(fabric, module, network, optimisation, epoch, watcher)
        row |= task.validate(network, fabric.device)
        row["seconds"] = time.perf_counter() - began
        progress["history"].append(row)
        progress["best_epoch"] = task.best(progress["history"])
        if fabric.is_global_zero:
            saved = replace(card, epoch=epoch)
            checkpoint.save_checkpoint(run.checkpoints, network, optimisation, progress, saved)
            _tidy(run, progress, epoch)
        fabric.barrier()
        watcher.epoch_ends(row, progress["best_epoch"])
        if (
            (told := health.warning(row, run.recipe))
            and fabric.is_global_zero
            and not _told_before(progress["history"])
        ):
            warnings.warn(told, stacklevel=4)


def _told_before(history: list[dict[str, Any]]) -> bool:
    """Whether the epoch before had the same silent and saturated populations as the last."""
    found = [(row.get("silent"), row.get("saturated")) for row in history[-2:]]
    return len(found) > 1 and found[0] == found[1]


def _tidy(run: Run, progress: dict[str, Any], epoch: int) -> None:
    """Keep the checkpoints of the start, the best and the last epoch, and write the metrics."""
    checkpoint.prune(run.checkpoints, {0, progress["best_epoch"], epoch})
    begin = [progress["fine_tuning"]["epoch_0"]] if "fine_tuning" in progress and progress["history"] else []
    write_metrics(run, [*begin, *progress["history"]])
