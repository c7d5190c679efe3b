"""Classification of recordings: ``task = "events"``, that of recipes that name none."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.data.bucketing import bucketed
from snn_delays.data.dataset import Batch, BinnedDataset, ResidentDataset
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.nn import Sequential
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.recurrent import kind_of_delays
from snn_delays.training.activity import silent_and_saturated
from snn_delays.training.callbacks import Callback
from snn_delays.training.checkpoint import NetworkCard
from snn_delays.training.fine_tuning import network_to_train, quantize_network, run_to_fine_tune, warm_start
from snn_delays.training.measure import measure
from snn_delays.training.objective import class_scores, loss, valid_steps
from snn_delays.training.optimise import Optimisation, StepOutput
from snn_delays.training.penalties import penalised
from snn_delays.training.records import EventEvaluationRecord
from snn_delays.training.rounding import with_integer_delays
from snn_delays.training.runlog import Run
from snn_delays.training.sources import augmented, selection, training_data
from snn_delays.training.task import Task, seed_of, shared_out, steps_of

STEPS_TOGETHER = 16  # lengths that share a CUDA graph


class EventsTraining(Task):
    """Events to classes, validated on the discretised network."""

    recipe: Recipe
    evaluation_record = EventEvaluationRecord
    captured = True
    weight = 1.0  # of the mean loss of this process's share of a batch

    def check(self, folder: Path) -> None:
        """The run to fine-tune is there, finished, and of the same data and network."""
        if self.recipe.fine_tuning is not None:
            run_to_fine_tune(folder, self.recipe, self.recipe.fine_tuning)

    def setup(self, run: Run, fabric: Fabric, callback: Callback) -> None:
        """Bin the training data, and select training and validation samples."""
        self.run, self.fabric = run, fabric
        self.selection = selection(self.recipe, callback)
        self.dataset = self.selection.training
        self.source, self.checksum = self.dataset.source, self.dataset.checksum
        size = self.recipe.training.batch_size
        if size < fabric.world_size:
            raise ConfigError(f"training.batch_size ({size}) is below the number of processes ({fabric.world_size})")
        self.steps = steps_of(len(self.selection.train), size, fabric)
        self.resident: BinnedDataset | ResidentDataset = self.dataset
        self.validation: BinnedDataset | ResidentDataset = self.selection.validation

    def card(self) -> dict[str, Any]:
        """Sensor and classes."""
        return {"sensor": self.dataset.sensor, "class_names": self.dataset.class_names}

    def complete(self, card: NetworkCard, tensors: Mapping[str, Tensor], path: Path) -> NetworkCard:
        """A dense network's sensor follows from its weights, a convolutional one's from its data set."""
        if self.recipe.model.kind == "convolutional":
            data = training_data(self.recipe)
            return replace(card, sensor=data.sensor, class_names=data.class_names)
        first = tensors.get("hidden1.synapse.weight")
        if first is None:
            raise CheckpointError(f"{path} is of another network: it has no hidden1.synapse.weight")
        return replace(card, sensor=(first.shape[1],))

    def network(self, card: NetworkCard) -> Sequential:
        """The network in the form in which it is trained."""
        return network_to_train(self.recipe, card.sensor, len(card.class_names))

    def build(self, card: NetworkCard, tensors: Mapping[str, Tensor]) -> Sequential:
        """The same, its weights on their grid where it is fine-tuned on one."""
        classes = len(card.class_names) or len(tensors["readout.synapse.weight"])
        return quantize_network(network_to_train(self.recipe, card.sensor, classes), self.recipe)

    def optimise(self, network: nn.Module) -> Optimisation:
        """Optimisers of the real-valued weights, which are then put on their grid."""
        optimisation = super().optimise(network)
        quantize_network(cast(Sequential, network), self.recipe)
        return optimisation

    def to(self, device: torch.device) -> None:
        """Training and validation samples whole on a GPU, in the host's memory for any other device."""
        if device.type == "cuda":
            self.resident = ResidentDataset(self.dataset, device)
            shared = self.selection.validation is self.dataset
            self.validation = self.resident if shared else ResidentDataset(self.selection.validation, device)

    def on_fit_start(self, network: nn.Module) -> dict[str, Any]:
        """Warm start from a finished run, where the recipe fine-tunes one."""
        if self.recipe.fine_tuning is None:
            return {}
        record = warm_start(self.run, self.recipe.fine_tuning, cast(Sequential, network), self.dataset)
        measured = self.validate(network, next(network.parameters()).device)
        record["epoch_0"] = {"epoch": 0, **{key: measured[key] for key in ("valid_loss", "valid_accuracy")}}
        return {"fine_tuning": record}

    def batches(self, epoch: int) -> Iterable[list[Batch]]:
        """This process's share of every batch, in an order drawn from seed and epoch, augmented, on the device."""
        recipe, fabric = self.recipe, self.fabric
        generator = torch.Generator().manual_seed(seed_of(recipe.seed, epoch, 0))
        train, size = self.selection.train, recipe.training.batch_size
        order = train[torch.randperm(len(train), generator=generator).numpy()]
        parts = [order[start : start + size] for start in range(0, len(order), size)]
        if recipe.data.bucketing:
            parts = bucketed(order, self.resident.lengths(), size, generator)
        augmenting = torch.Generator().manual_seed(seed_of(recipe.seed, epoch, 1))
        for part, _, self.weight in shared_out(parts, fabric):
            batch = self.resident.batch(part, recipe.data.tail_steps, recipe.data.padding)
            batch = augmented(batch, recipe.augment, self.dataset.n_classes, augmenting)
            if fabric.world_size > 1:  # padding and augmentation are those of the whole batch
                mine = slice(fabric.global_rank, None, fabric.world_size)
                batch = Batch(batch.counts[:, mine].contiguous(), batch.lengths[mine], batch.labels[mine])
            if recipe.training.cuda_graphs and recipe.data.padding == "masked":  # more padding changes no result
                counts = F.pad(batch.counts, [*[0] * (2 * batch.counts.ndim - 1), -len(batch.counts) % STEPS_TOGETHER])
                batch = batch._replace(counts=counts)
            yield [Batch(*(fabric.to_device(each) for each in batch))]

    def training_step(self, module: nn.Module, part: Batch) -> StepOutput:
        """Cross-entropy of the readout's scores, with penalties; and the samples that were classified correctly."""
        x = part.counts.to(self.recipe.training.dtype)
        valid = valid_steps(part.lengths, x.shape[0])
        with penalised(self.recipe.training, module, valid) as objective:
            v, _ = module(x, None, valid) if getattr(module, "takes_valid", False) else module(x)
        scores = class_scores(v, valid, self.recipe.training.readout)
        classes = part.labels.argmax(1) if part.labels.ndim == 2 else part.labels
        correct = (scores.argmax(1) == classes).sum()
        mean = loss(scores, part.labels)
        total = objective(mean)
        weighted = total if self.weight == 1 else self.weight * total
        return StepOutput(weighted, reported=mean, weight=len(scores), correct=correct, seen=len(scores), x=x)

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Loss, accuracy and firing rates of the discretised network; both also masked, if it was not trained so."""
        result = measure(with_integer_delays(network), self.validation, self.selection.valid, self.recipe, device)
        numbers = {"valid_loss": result.loss, "valid_accuracy": result.accuracy}
        if result.masked_scores is not None:
            numbers |= {f"{name}_masked": getattr(result.masked, name.removeprefix("valid_")) for name in numbers}
        rates = {name.split(".")[0]: rate for name, rate in result.firing_rates.items()}
        return numbers | {f"rate_{name}": rate for name, rate in rates.items()} | silent_and_saturated(rates)

    def sample(self) -> Tensor:
        """Counts of the first validation sample, with its tail."""
        counts = self.validation.batch(self.selection.valid[:1], self.recipe.data.tail_steps).counts
        return self.fabric.to_device(counts).to(self.recipe.training.dtype)

    def best_epoch(self, history: list[dict[str, Any]]) -> int:
        """By accuracy or loss, as the recipe says."""
        if selected_masked(history, self.recipe):  # as when the run was started
            masked = ("valid_loss_masked", "valid_accuracy_masked")
            named = [{key.removesuffix("_masked"): row[key] for key in masked if key in row} for row in history]
            history = [{**row, **values} for row, values in zip(history, named)]
        return super().best_epoch(history)

    def describe(self) -> dict[str, Any]:
        """Kind of delays, and the hidden layers."""
        model = self.recipe.model
        return {"delays": kind_of_delays(model.delays, model.recurrent), "hidden": model.layers}


def selected_masked(history: list[dict[str, Any]], recipe: Recipe) -> bool:
    """Whether a run's epochs are compared with the masked readout though it was trained with all steps.

    Runs started by versions up to 0.1 are: they measured nothing else.
    """
    return recipe.data.padding == "published" and any("valid_accuracy_masked" not in row for row in history)
