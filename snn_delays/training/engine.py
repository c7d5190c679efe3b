"""Training: one engine for every task, on laptop, GPU and several processes."""

import time
import warnings
from collections.abc import Iterable
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Any, cast

import numba
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from snn_delays.errors import CheckpointError, ConfigError, DataError, TrainingError
from snn_delays.files import alone_in
from snn_delays.recipes.keys import check_changes, differences
from snn_delays.recipes.registry import task_of
from snn_delays.training import checkpoint, health
from snn_delays.training.callbacks import Callback, Callbacks
from snn_delays.training.card import NetworkCard
from snn_delays.training.optimise import Optimisation, optimiser_step
from snn_delays.training.runlog import Run, open_run, write_metrics
from snn_delays.training.task import Task, seed_of


def fit(
    run: Run,
    *,
    network: nn.Module | None = None,
    accelerator: str = "auto",
    devices: int | str = 1,
    callbacks: Iterable[Callback] = (),
) -> None:
    """Train a run to the end of its recipe, from its last checkpoint if it has one.

    Every epoch draws its numbers from the recipe's seed and its own number, so a run that was killed and resumed ends
    with the numbers of one that was not. ``best_epoch`` in the checkpoint's progress names the epoch that did best on
    validation. Only training and validation data are read.

    Args:
        run: from :func:`snn_delays.training.runlog.create_run` or ``open_run``.
        network: train this network instead of the one that the recipe describes.
        accelerator, devices: as of :class:`lightning_fabric.Fabric`.
        callbacks: called as training goes, in the first process alone.

    Raises:
        ConfigError: for an accelerator that is not there.
        DataError: the data are missing, or others than those the run was begun with.
        CheckpointError: a checkpoint is damaged, or another process is training in the run's folder.
        TrainingError: the loss or a gradient stopped being finite.
    """
    recipe = run.recipe
    try:
        fabric = Fabric(accelerator=accelerator, devices=devices, precision=recipe.training.precision)
    except (MisconfigurationException, RuntimeError, TypeError, ValueError) as error:
        raise ConfigError(f"cannot train with accelerator {accelerator!r} and devices {devices!r}: {error}") from error
    fabric.launch()
    # No more threads than Numba's kernels can use, which would otherwise set torch's number.
    torch.set_num_threads(min(torch.get_num_threads(), numba.config.NUMBA_NUM_THREADS))
    callback = Callbacks(callbacks if fabric.is_global_zero else ())
    with alone_in(run.folder) if fabric.is_global_zero else nullcontext():
        _same_recipe(run)
        try:
            _fit(run, network, fabric, callback)
        except TrainingError as error:
            raise TrainingError(f"{error}; {_remedy(run)}") from error


def _same_recipe(run: Run) -> None:
    """Raise CheckpointError if another run was begun in the folder since this one was made or opened."""
    if (run.folder / "recipe.toml").exists():
        for key, (own, there) in differences(run.recipe, open_run(run.folder).recipe).items():
            raise CheckpointError(
                f"{run.folder} is now of a run with {key} = {there!r}, this one has {own!r}; choose another folder"
            )


def _remedy(run: Run) -> str:
    """How to go on after training diverged."""
    training = run.recipe.training
    rate = f"training.{training.peak_key}={training.peak_rate / 10:g}"
    if checkpoint.latest_epoch(run.checkpoints) is None:
        return f"train it anew with lower rates, as --set {rate}"
    return f"go on from the last finished epoch with lower rates, as {run.resume_command()} --set {rate}"


def _fit(run: Run, given: nn.Module | None, fabric: Fabric, callback: Callback) -> None:
    task: Task = task_of(run.recipe)
    task.setup(run, fabric, callback)
    card = NetworkCard(run.recipe, 0, task.source, task.checksum, **task.card())
    torch.manual_seed(run.recipe.seed)
    if given is None:
        network = task.network(card)
    else:
        network, card = given, replace(card, network_class=type(given).__name__)
    optimisation = task.optimise(network)
    # States are read once the network has its device and precision, which those of the optimisers then take over.
    module, *_ = fabric.setup(network, *optimisation.optimisers.values())
    task.to(fabric.device)
    progress: dict[str, Any] = {"history": [], "best_epoch": 0, "source": task.source, "checksum": task.checksum}
    last = checkpoint.latest_epoch(run.checkpoints)
    if last is not None:
        progress = _resume(run, task, card, network, optimisation, last)
        if fabric.is_global_zero:
            _tidy(run, progress, last)  # a run that was killed may not have come to it
    else:
        progress |= task.on_fit_start(network)
        if fabric.is_global_zero:
            checkpoint.save_checkpoint(run.checkpoints, network, optimisation, progress, card)

    epochs = run.recipe.training.epochs
    for epoch in range((last or 0) + 1, epochs + 1):
        began = time.perf_counter()
        callback.on_train_epoch_start(epoch, epochs, task.steps)
        row: dict[str, Any] = {"epoch": epoch, **task.on_epoch_start(epoch, network, optimisation)}
        row |= _train_epoch(task, fabric, module, network, optimisation, epoch, callback)
        row |= task.validate(network, fabric.device)
        row["seconds"] = time.perf_counter() - began
        progress["history"].append(row)
        progress["best_epoch"] = task.best_epoch(progress["history"])
        if fabric.is_global_zero:
            saved = replace(card, epoch=epoch)
            checkpoint.save_checkpoint(run.checkpoints, network, optimisation, progress, saved)
            _tidy(run, progress, epoch)
        fabric.barrier()
        callback.on_train_epoch_end(row, progress["best_epoch"])
        if (
            (warning := health.warning(row, run.recipe))
            and fabric.is_global_zero
            and not _warned_before(progress["history"])
        ):
            warnings.warn(warning, stacklevel=4)


def _resume(
    run: Run, task: Task, card: NetworkCard, network: nn.Module, optimisation: Optimisation, last: int
) -> dict[str, Any]:
    """Load the last checkpoint; returns its progress."""
    tensors, saved = run.network_after(last)
    if saved.network_class != card.network_class:
        raise CheckpointError(
            f"{run.folder} trains {saved.network_class or 'the network of its recipe'}; resume with that network"
        )
    checkpoint.load_tensors(network, tensors, checkpoint.network_file(run.checkpoints, last))
    checkpoint.load_optimisation(run.checkpoints, last, optimisation)
    progress = checkpoint.read_progress(run.checkpoints, last)
    if changes := differences(saved.recipe, run.recipe):
        check_changes(changes, run.folder)
        values = {key: list(both) for key, both in changes.items()}
        progress["changes"] = [*progress.get("changes", []), {"after_epoch": last, **values}]
    if progress["checksum"] != task.checksum:
        raise DataError(
            f"{run.folder} was trained on {progress['source']} (sha256 {progress['checksum']}), the file here is "
            f"{task.source} ({task.checksum}); put the first back, or start anew with --out"
        )
    return progress


def _train_epoch(
    task: Task,
    fabric: Fabric,
    module: nn.Module,
    network: nn.Module,
    optimisation: Optimisation,
    epoch: int,
    callback: Callback,
) -> dict[str, Any]:
    torch.manual_seed(seed_of(task.recipe.seed, epoch, 1001 + fabric.global_rank))  # dropout
    module.train()
    sums = [0.0, 0.0, 0.0, 0.0]  # losses, their weights, samples classified correctly, samples classified
    for step, parts in enumerate(task.batches(epoch)):
        task.on_step_start(epoch, step, network, optimisation)
        computed = [partial(task.training_step, module, part) for part in parts]
        loss, weight, correct, seen = optimiser_step(fabric, module, network, optimisation, computed, epoch)
        sums = [total + part for total, part in zip(sums, (loss * weight, weight, correct, seen))]
        callback.on_train_batch_end(loss)
    optimisation.advance("epoch")
    if fabric.world_size > 1:
        shared = torch.tensor(sums, dtype=torch.float64, device=fabric.device)
        sums = cast(Tensor, fabric.all_reduce(shared, reduce_op="sum")).tolist()
    total, weights, right, classified = sums
    return {"train_loss": total / weights, **({"train_accuracy": right / classified} if classified else {})}


def _warned_before(history: list[dict[str, Any]]) -> bool:
    """Whether the epoch before had the same silent and saturated populations as the last."""
    found = [(row.get("silent"), row.get("saturated")) for row in history[-2:]]
    return len(found) > 1 and found[0] == found[1]


def _tidy(run: Run, progress: dict[str, Any], epoch: int) -> None:
    """Keep the checkpoints of the start, the best and the last epoch, and write the metrics."""
    checkpoint.prune(run.checkpoints, {0, progress["best_epoch"], epoch})
    begin = [progress["fine_tuning"]["epoch_0"]] if "fine_tuning" in progress and progress["history"] else []
    write_metrics(run, [*begin, *progress["history"]])
