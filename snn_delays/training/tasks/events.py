"""Classification of recordings: the task of most recipes."""

import math
from collections.abc import Iterator
from typing import Any, cast

import numpy as np
import torch
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.data.bucketing import bucketed
from snn_delays.data.dataset import Batch, BinnedDataset
from snn_delays.data.resident import ResidentDataset
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import TrainingError
from snn_delays.models.classifier import delayed_layers
from snn_delays.nn import Sequential
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.sigma import sigma_at
from snn_delays.training.augmentation import augmented
from snn_delays.training.fine_tuning import network_to_train, quantize_network, take_up
from snn_delays.training.health import silent_and_saturated
from snn_delays.training.measure import measure
from snn_delays.training.objective import class_scores, loss, valid_steps
from snn_delays.training.runlog import Run
from snn_delays.training.schedule import Optimisation, build_optimisation
from snn_delays.training.sources import selection
from snn_delays.training.task import best_of, seed_of
from snn_delays.training.watcher import Watcher


class Classification:
    """A :class:`snn_delays.training.task.Task`: events to classes, validated on the discrete network."""

    def __init__(self, run: Run, fabric: Fabric, watcher: Watcher) -> None:
        self.run, self.recipe = run, run.recipe
        self.chosen = selection(self.recipe, watcher)
        self.dataset = self.chosen.training
        self.source, self.checksum = self.dataset.source, self.dataset.checksum
        self.epochs = self.recipe.training.epochs
        self.steps = math.ceil(len(self.chosen.train) // fabric.world_size / _share(self.recipe, fabric))
        self.near: BinnedDataset | ResidentDataset = self.dataset
        self.held_out: BinnedDataset | ResidentDataset = self.chosen.validation

    def card(self) -> dict[str, Any]:
        """Sensor and classes."""
        return {"sensor": self.dataset.sensor, "class_names": self.dataset.class_names}

    def network(self) -> Sequential:
        """The network in the form in which it is trained."""
        return network_to_train(self.recipe, self.dataset.sensor, self.dataset.n_classes)

    def optimisation(self, network: nn.Module) -> Optimisation:
        """Two Adam optimisers with their schedules."""
        return build_optimisation(self.recipe, network, self.steps)

    def ready(self, network: nn.Module) -> None:
        """Put weights on the grid, after the optimisers were made: they move the real-valued ones behind it."""
        quantize_network(cast(Sequential, network), self.recipe)

    def place(self, device: torch.device) -> None:
        """Training and validation samples whole on a GPU, in the host's memory for any other device."""
        self.near = _near(self.dataset, device)
        shared = self.chosen.validation is self.dataset
        self.held_out = self.near if shared else _near(self.chosen.validation, device)

    def begin(self, network: nn.Module) -> dict[str, Any]:
        """What a finished run learned, where the recipe takes one up."""
        if self.recipe.fine_tuning is None:
            return {}
        taken = take_up(self.run, self.recipe.fine_tuning, cast(Sequential, network), self.dataset)
        taken["epoch_0"] = {"epoch": 0, **self._measured(network, next(network.parameters()).device)}
        return {"fine_tuning": taken}

    def settings(self, epoch: int, network: nn.Module, optimisation: Optimisation) -> dict[str, Any]:
        """Width of the taps and learning rates."""
        return _settings(self.recipe, epoch, network, optimisation)

    def train_epoch(
        self,
        fabric: Fabric,
        module: nn.Module,
        network: nn.Module,
        optimisation: Optimisation,
        epoch: int,
        watcher: Watcher,
    ) -> dict[str, Any]:
        """Every training sample once."""
        mean_loss, accuracy = _train_epoch(
            fabric, module, cast(Sequential, network), optimisation, self.near, self.chosen.train, self.recipe, epoch,
            watcher,
        )  # fmt: skip
        return {"train_loss": mean_loss, "train_accuracy": accuracy}

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Loss, accuracy and firing rates of the discrete network; both also masked, if it was not trained so."""
        result = measure(discretize(cast(Sequential, network)), self.held_out, self.chosen.valid, self.recipe, device)
        numbers = {"valid_loss": result.loss, "valid_accuracy": result.accuracy}
        if result.masked_scores is not None:
            numbers |= {f"{name}_masked": getattr(result.masked, name.removeprefix("valid_")) for name in numbers}
        rates = {name.split(".")[0]: rate for name, rate in result.firing_rates.items()}
        return numbers | {f"rate_{name}": rate for name, rate in rates.items()} | silent_and_saturated(rates)

    def best(self, history: list[dict[str, Any]]) -> int:
        """By accuracy or loss, as the recipe says."""
        if selected_masked(history, self.recipe):  # goes on as it began
            history = [{**row, **_masked(row)} for row in history]
        return best_of(history, self.recipe.training.select_by)

    def _measured(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        measured = self.validate(network, device)
        return {key: measured[key] for key in ("valid_loss", "valid_accuracy")}


def selected_masked(history: list[dict[str, Any]], recipe: Recipe) -> bool:
    """Whether a run's epochs are compared with the masked readout though it was trained with all steps.

    Runs begun by versions up to 0.1 are: they measured nothing else.
    """
    return recipe.data.padding == "published" and any("valid_accuracy_masked" not in row for row in history)


def _masked(row: dict[str, Any]) -> dict[str, Any]:
    return {name: row[f"{name}_masked"] for name in ("valid_loss", "valid_accuracy") if f"{name}_masked" in row}


def _near(dataset: BinnedDataset, device: torch.device) -> BinnedDataset | ResidentDataset:
    """The data set where batches cost least: whole on a GPU, in the host's memory for any other device."""
    return ResidentDataset(dataset, device) if device.type == "cuda" else dataset


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
    generator = torch.Generator().manual_seed(seed_of(recipe.seed, epoch, 0))
    order = train[torch.randperm(len(train), generator=generator).numpy()]
    share = _share(recipe, fabric)
    # Every process makes as many steps: a remainder smaller than their number waits for another epoch.
    mine = order[: len(order) // fabric.world_size * fabric.world_size][fabric.global_rank :: fabric.world_size]
    parts = [mine[start : start + share] for start in range(0, len(mine), share)]
    if recipe.data.bucketing:
        parts = bucketed(mine, source.lengths(), share, generator)
    classes = (source.dataset if isinstance(source, ResidentDataset) else source).n_classes
    augmenting = torch.Generator().manual_seed(seed_of(recipe.seed, epoch, 1 + fabric.global_rank))
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
    torch.manual_seed(seed_of(recipe.seed, epoch, 1001 + fabric.global_rank))  # dropout
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


def _diagnosis(number: float, epoch: int, network: nn.Module, x: Tensor) -> str:
    broken = [name for name, p in network.named_parameters() if not bool(torch.isfinite(p).all())]
    where = f"{broken[0]} holds values that are not finite" if broken else "all parameters are finite"
    if not bool(torch.isfinite(x).all()):
        where = "the input holds values that are not finite"
    return f"the loss is {number} in epoch {epoch}: {where}"
