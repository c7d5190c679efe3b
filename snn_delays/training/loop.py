"""Training: one engine for laptop, GPU and several processes."""

import math
import time
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any, Protocol, cast

import numba
import numpy as np
import torch
from lightning_fabric import Fabric
from lightning_fabric.utilities.exceptions import MisconfigurationException
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.data.binned import Batch, BinnedDataset
from snn_delays.data.bucketing import bucketed
from snn_delays.data.resident import ResidentDataset
from snn_delays.errors import ConfigError, DataError, TrainingError
from snn_delays.export.discretize import discretize
from snn_delays.files import alone_in
from snn_delays.models.classifier import delayed_layers
from snn_delays.nn import Sequential
from snn_delays.training import checkpoint
from snn_delays.training.augmentation import augmented
from snn_delays.training.config import Recipe, to_toml
from snn_delays.training.fine_tuning import network_to_train, quantize_network, take_up
from snn_delays.training.measure import measure
from snn_delays.training.objective import class_scores, loss, valid_steps
from snn_delays.training.runlog import Run, write_metrics
from snn_delays.training.schedule import Optimisation, build_optimisation, sigma_at
from snn_delays.training.sources import selection


class Watcher(Protocol):
    """Is told how training goes; the command line draws a progress bar."""

    def loading(self, done: int, total: int) -> None:
        """Reading and binning the data."""

    def epoch_begins(self, epoch: int, epochs: int, steps: int) -> None:
        """An epoch of so many optimiser steps begins."""

    def step_done(self, training_loss: float) -> None:
        """An optimiser step was made."""

    def epoch_ends(self, row: dict[str, Any], best_epoch: int) -> None:
        """An epoch was validated and its checkpoint written."""


class Silent:
    """A watcher that says nothing."""

    def loading(self, done: int, total: int) -> None:
        """Say nothing."""

    def epoch_begins(self, epoch: int, epochs: int, steps: int) -> None:
        """Say nothing."""

    def step_done(self, training_loss: float) -> None:
        """Say nothing."""

    def epoch_ends(self, row: dict[str, Any], best_epoch: int) -> None:
        """Say nothing."""


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
        _fit(run, fabric, watcher)


def _fit(run: Run, fabric: Fabric, watcher: Watcher) -> None:
    recipe = run.recipe
    chosen = selection(recipe, watcher)
    dataset, train = chosen.training, chosen.train
    steps = math.ceil(len(train) // fabric.world_size / _share(recipe, fabric))

    torch.manual_seed(recipe.seed)
    network = network_to_train(recipe, dataset)
    optimisation = build_optimisation(recipe, network, steps)
    # After the optimisers were made: they move the real-valued weights behind the rounded ones.
    quantize_network(network, recipe)
    # States are read once the network has its device and precision, which those of the optimisers then take over.
    module, *_ = fabric.setup(network, *optimisation.optimisers.values())
    source = _near(dataset, fabric.device)
    held_out = source if chosen.validation is dataset else _near(chosen.validation, fabric.device)
    progress: dict[str, Any] = {"history": [], "best_epoch": 0, "source": dataset.source, "checksum": dataset.checksum}
    last = checkpoint.latest_epoch(run.checkpoints)
    if last is not None:
        checkpoint.load_network(run.checkpoints, last, network)
        checkpoint.load_optimisation(run.checkpoints, last, optimisation)
        progress = checkpoint.read_progress(run.checkpoints, last)
        if progress["checksum"] != dataset.checksum:
            raise DataError(
                f"{run.folder} was trained on {progress['source']} (sha256 {progress['checksum']}), the file here is "
                f"{dataset.source} ({dataset.checksum}); put the first back, or start anew with --out"
            )
        if fabric.is_global_zero:
            _tidy(run, progress, last)  # a killed run may not have come to it
    elif recipe.fine_tuning is not None:
        progress["fine_tuning"] = take_up(run, recipe.fine_tuning, network, dataset)
        begin = measure(discretize(network), held_out, chosen.valid, recipe, fabric.device)
        progress["fine_tuning"]["epoch_0"] = {"epoch": 0, "valid_loss": begin.loss, "valid_accuracy": begin.accuracy}
    if last is None and fabric.is_global_zero:
        checkpoint.save_checkpoint(run.checkpoints, 0, network, optimisation, progress, to_toml(recipe))

    for epoch in range((last or 0) + 1, recipe.training.epochs + 1):
        began = time.perf_counter()
        watcher.epoch_begins(epoch, recipe.training.epochs, steps)
        row: dict[str, Any] = {"epoch": epoch, **_settings(recipe, epoch, network, optimisation)}
        row["train_loss"], row["train_accuracy"] = _train_epoch(
            fabric, module, network, optimisation, source, train, recipe, epoch, watcher
        )
        result = measure(discretize(network), held_out, chosen.valid, recipe, fabric.device)
        row |= {"valid_loss": result.loss, "valid_accuracy": result.accuracy}
        row |= {f"rate_{name.split('.')[0]}": rate for name, rate in result.firing_rates.items()}
        row["seconds"] = time.perf_counter() - began
        progress["history"].append(row)
        progress["best_epoch"] = _best(progress["history"], recipe.training.select_by)
        if fabric.is_global_zero:
            checkpoint.save_checkpoint(run.checkpoints, epoch, network, optimisation, progress, to_toml(recipe))
            _tidy(run, progress, epoch)
        fabric.barrier()
        watcher.epoch_ends(row, progress["best_epoch"])


def _near(dataset: BinnedDataset, device: torch.device) -> BinnedDataset | ResidentDataset:
    """The data set where batches cost least: whole on a GPU, in the host's memory for any other device."""
    return ResidentDataset(dataset, device) if device.type == "cuda" else dataset


def _tidy(run: Run, progress: dict[str, Any], epoch: int) -> None:
    """Keep the checkpoints of the start, the best and the last epoch, and write the metrics."""
    checkpoint.prune(run.checkpoints, {0, progress["best_epoch"], epoch})
    begin = [progress["fine_tuning"]["epoch_0"]] if "fine_tuning" in progress and progress["history"] else []
    write_metrics(run, [*begin, *progress["history"]])


def _share(recipe: Recipe, fabric: Fabric) -> int:
    """Samples of a batch that fall to this process."""
    return max(recipe.training.batch_size // fabric.world_size, 1)


def _settings(recipe: Recipe, epoch: int, network: nn.Module, optimisation: Optimisation) -> dict[str, Any]:
    """Set what changes by epoch, and name it for the record."""
    sigma = None if recipe.fine_tuning else sigma_at(recipe, epoch - 1)
    if sigma is not None:
        for layer in delayed_layers(network).values():
            layer.set_sigma(sigma)
    rates = {f"lr_{name}": o.param_groups[0]["lr"] for name, o in optimisation.optimisers.items()}
    return {"sigma": sigma, "lr_weight": rates["lr_weight"], "lr_delay": rates.get("lr_delay")}


def _batches(
    source: BinnedDataset | ResidentDataset, train: NDArray[np.int64], recipe: Recipe, epoch: int, fabric: Fabric
) -> Iterator[Batch]:
    """This process's share of an epoch's batches, in an order drawn from seed and epoch, augmented, on the device."""
    generator = torch.Generator().manual_seed(_seed(recipe, epoch, 0))
    order = train[torch.randperm(len(train), generator=generator).numpy()]
    share = _share(recipe, fabric)
    # Every process makes as many steps: a remainder smaller than their number waits for another epoch.
    mine = order[: len(order) // fabric.world_size * fabric.world_size][fabric.global_rank :: fabric.world_size]
    parts = [mine[start : start + share] for start in range(0, len(mine), share)]
    if recipe.data.bucketing:
        parts = bucketed(mine, source.lengths(), share, generator)
    classes = (source.dataset if isinstance(source, ResidentDataset) else source).n_classes
    augmenting = torch.Generator().manual_seed(_seed(recipe, epoch, 1 + fabric.global_rank))
    for part in parts:
        batch = source.batch(part, recipe.data.tail_steps, recipe.data.padding)
        batch = augmented(batch, recipe.augment, classes, augmenting)
        yield Batch(*(fabric.to_device(part) for part in batch))


def _train_epoch(
    fabric: Fabric,
    module: nn.Module,
    network: Sequential,
    optimisation: Optimisation,
    source: BinnedDataset | ResidentDataset,
    train: NDArray[np.int64],
    recipe: Recipe,
    epoch: int,
    watcher: Watcher,
) -> tuple[float, float]:
    torch.manual_seed(_seed(recipe, epoch, 1001 + fabric.global_rank))  # dropout
    module.train()
    total_loss, correct, seen = 0.0, 0.0, 0.0
    dtype = torch.float64 if recipe.training.precision == "64-true" else torch.float32
    for batch in _batches(source, train, recipe, epoch, fabric):
        x = batch.counts.to(dtype)
        valid = valid_steps(batch.lengths, x.shape[0])
        v, _ = module(x, None, valid)
        scores = class_scores(v, valid, recipe.training.readout)
        value = loss(scores, batch.labels)
        number = float(value.detach())
        if not np.isfinite(number):
            raise TrainingError(_diagnosis(number, epoch, network, x))
        for optimiser in optimisation.optimisers.values():
            optimiser.zero_grad()
        fabric.backward(value)
        for optimiser in optimisation.optimisers.values():
            optimiser.step()
        for layer in delayed_layers(network).values():
            layer.clamp_delays_()
        if recipe.training.schedule_every == "step":
            _advance(optimisation)
        total_loss += number * len(scores)
        correct += int((scores.argmax(1) == _class_of(batch.labels)).sum())
        seen += len(scores)
        watcher.step_done(number)
    if recipe.training.schedule_every == "epoch":
        _advance(optimisation)
    if fabric.world_size > 1:
        sums = torch.tensor([total_loss, correct, seen], device=fabric.device)
        total_loss, correct, seen = cast(Tensor, fabric.all_reduce(sums, reduce_op="sum")).tolist()
    return total_loss / seen, correct / seen


def _advance(optimisation: Optimisation) -> None:
    for schedule in optimisation.schedules.values():
        schedule.step()


def _class_of(labels: Tensor) -> Tensor:
    return labels.argmax(1) if labels.ndim == 2 else labels


def _seed(recipe: Recipe, epoch: int, stream: int) -> int:
    """A seed of its own for every recipe seed, epoch and use."""
    return int(np.random.SeedSequence((recipe.seed, epoch, stream)).generate_state(1)[0])


def _best(history: list[dict[str, Any]], select_by: str) -> int:
    """Epoch with the best validation; the earliest of equals."""
    if select_by == "loss":
        return int(min(history, key=lambda row: row["valid_loss"])["epoch"])
    return int(max(history, key=lambda row: row["valid_accuracy"])["epoch"])


def _diagnosis(number: float, epoch: int, network: nn.Module, x: Tensor) -> str:
    broken = [name for name, p in network.named_parameters() if not bool(torch.isfinite(p).all())]
    where = f"{broken[0]} holds values that are not finite" if broken else "all parameters are finite"
    if not bool(torch.isfinite(x).all()):
        where = "the input holds values that are not finite"
    return (
        f"the loss is {number} in epoch {epoch}: {where}; lower max_lr_weight or lr_delay, then continue with --resume"
    )
