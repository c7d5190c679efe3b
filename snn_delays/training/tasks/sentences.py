"""Classifiers of sentences: the task of recipes that say ``task = "sentences"``."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.data.indices import Indices, sample_indices
from snn_delays.data.text import ByteVocabulary, SentenceSet, WordVocabulary, load_sentences, pad
from snn_delays.errors import ConfigError
from snn_delays.models.spikegpt import SpikeGPTClassifier, with_whole_delays
from snn_delays.recipes.text import SentenceRecipe
from snn_delays.training.activity import Activity, operations
from snn_delays.training.health import silent_and_saturated
from snn_delays.training.objective import valid_steps
from snn_delays.training.runlog import Run
from snn_delays.training.schedule import Optimisation
from snn_delays.training.steps import optimiser_step, share_of
from snn_delays.training.task import best_of, seed_of
from snn_delays.training.tasks.language import single
from snn_delays.training.tasks.text import TextTask
from snn_delays.training.watcher import Watcher

ALIKE = 16  # batches whose sentences are sorted by length together: little padding, and still in a new order each epoch


@dataclass(frozen=True)
class Encoded:
    """Sentences as tokens, and their classes ``[n]``."""

    tokens: list[NDArray[np.int32]]
    labels: Tensor

    def batch(self, chosen: Indices, device: torch.device | str) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens ``[time, batch]``, which of them are no padding, and classes."""
        chosen = sample_indices(chosen, len(self.tokens))
        tokens, lengths = pad([self.tokens[i] for i in chosen])
        valid = valid_steps(lengths, len(tokens))
        return tokens.to(device), valid.to(device), self.labels[chosen].to(device)


def vocabulary_of(recipe: SentenceRecipe, found: SentenceSet) -> ByteVocabulary | WordVocabulary:
    """The recipe's vocabulary, built on training sentences alone."""
    if recipe.data.vocabulary == "bytes":
        return ByteVocabulary()
    return WordVocabulary.build([text for text, _ in found.train], min_count=recipe.data.min_count)


def encode(part: list[tuple[str, int]], vocabulary: ByteVocabulary | WordVocabulary, recipe: SentenceRecipe) -> Encoded:
    """A part of a sentence set as tokens; of longer sentences the first ``max_tokens``, if the recipe says so."""
    tokens = [vocabulary.encode(text)[: recipe.data.max_tokens] for text, _ in part]
    return Encoded(tokens, torch.tensor([label for _, label in part]))


def sentence_network(recipe: SentenceRecipe, tokens: int, classes: int) -> SpikeGPTClassifier:
    """The classifier of a recipe, freshly drawn, in the recipe's precision."""
    model = recipe.model
    network = SpikeGPTClassifier(classes, tokens, model.features, model.layers, **model.options())
    return network.to(torch.float64 if recipe.training.precision == "64-true" else torch.float32)


class Sentences(TextTask):
    """A :class:`snn_delays.training.task.Task`: the class of a sentence."""

    def __init__(self, run: Run, fabric: Fabric) -> None:
        self.recipe: SentenceRecipe = run.recipe
        self.found = load_sentences(self.recipe.data.set)
        self.vocabulary = vocabulary_of(self.recipe, self.found)
        self.train = encode(self.found.train, self.vocabulary, self.recipe)
        self.valid = encode(self.found.valid, self.vocabulary, self.recipe)
        config = self.recipe.training
        self.source, self.checksum = self.found.name, self.found.checksum
        self.share = share_of(config, fabric.world_size)
        self.epochs = config.epochs
        self.steps = math.ceil(len(self.train.tokens) // fabric.world_size / (self.share * config.accumulate))

        if config.warmup_steps >= self.epochs * self.steps:
            raise ConfigError(
                f"training.warmup_steps ({config.warmup_steps}) must be below all steps ({self.epochs * self.steps})"
            )

    def card(self) -> dict[str, Any]:
        """Vocabulary and classes."""
        return {"vocabulary": self.vocabulary, "class_names": tuple(self.found.class_names)}

    def network(self) -> SpikeGPTClassifier:
        """A classifier for the set's vocabulary and classes."""
        return sentence_network(self.recipe, self.vocabulary.size, len(self.found.class_names))

    def begin(self, network: nn.Module) -> dict[str, Any]:
        """The vocabulary and the classes, so that a run can be read without its data."""
        return {
            "vocabulary": self.vocabulary.to_json(),
            "fingerprint": self.vocabulary.fingerprint,
            "class_names": list(self.found.class_names),
        }

    def train_epoch(
        self,
        fabric: Fabric,
        module: nn.Module,
        network: nn.Module,
        optimisation: Optimisation,
        epoch: int,
        watcher: Watcher,
    ) -> dict[str, Any]:
        """Every training sentence once."""
        config = self.recipe.training
        torch.manual_seed(seed_of(self.recipe.seed, epoch, 1001 + fabric.global_rank))  # dropout
        module.train()
        numbers, right, seen = [], 0, 0

        def loss_of(chosen: list[int], weight: float) -> Callable[[], tuple[Tensor, Tensor]]:
            def loss() -> tuple[Tensor, Tensor]:
                nonlocal right, seen
                tokens, valid, labels = self.train.batch(chosen, fabric.device)
                scores, _ = module(tokens, None, valid)
                right, seen = right + int((scores.argmax(1) == labels).sum()), seen + len(labels)
                value = weight * F.cross_entropy(single(scores), labels)
                return value, value

            return loss

        for step, parts in enumerate(self._steps(epoch, fabric)):
            self.narrow(network, epoch, step)
            each = sum(map(len, parts)) / len(parts)  # the last step's parts may be of unequal size
            losses = [loss_of(chosen, len(chosen) / each) for chosen in parts]
            numbers.append(optimiser_step(fabric, module, network, optimisation, config, losses, epoch))
            watcher.step_done(numbers[-1])
        sums = torch.tensor([sum(numbers), len(numbers), right, seen], dtype=torch.float64, device=fabric.device)
        if fabric.world_size > 1:
            sums = cast(Tensor, fabric.all_reduce(sums, reduce_op="sum"))
        total, steps, right_sum, seen_sum = sums.tolist()
        return {"train_loss": total / steps, "train_accuracy": right_sum / seen_sum}

    def _steps(self, epoch: int, fabric: Fabric) -> Iterator[list[list[int]]]:
        """For each optimiser step, this process's sentences in parts as they are accumulated; like lengths together."""
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, epoch, 0))
        order = torch.randperm(len(self.train.tokens), generator=generator).tolist()
        # Every process makes as many steps: a remainder smaller than their number waits for another epoch.
        mine = order[: len(order) // fabric.world_size * fabric.world_size][fabric.global_rank :: fabric.world_size]
        size = self.share * self.recipe.training.accumulate
        batches: list[list[int]] = []
        for begin in range(0, len(mine), ALIKE * size):
            alike = sorted(mine[begin : begin + ALIKE * size], key=lambda i: len(self.train.tokens[i]))
            batches += [alike[i : i + size] for i in range(0, len(alike), size)]
        for i in torch.randperm(len(batches), generator=generator).tolist():
            yield [batches[i][begin : begin + self.share] for begin in range(0, len(batches[i]), self.share)]

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Loss and accuracy on validation sentences, with whole delays; and how much fires."""
        whole = with_whole_delays(cast(SpikeGPTClassifier, network))
        found = measure_sentences(whole, self.valid, device)
        return {
            "valid_loss": found.loss,
            "valid_accuracy": found.accuracy,
            "firing_rate": found.mean_rate,
            **silent_and_saturated(found.rates),
        }

    def best(self, history: list[dict[str, Any]]) -> int:
        """By accuracy or loss, as the recipe says."""
        return best_of(history, self.recipe.training.select_by)


@dataclass(frozen=True)
class SentenceMeasurement:
    """Mean cross-entropy, accuracy, firing rates by population and of all neurons, and operations a token."""

    loss: float
    accuracy: float
    rates: dict[str, float]
    mean_rate: float | None
    operations: dict[str, float | None]


@torch.inference_mode()
def measure_sentences(
    network: SpikeGPTClassifier, sentences: Encoded, device: torch.device | str, batch: int = 64
) -> SentenceMeasurement:
    """Measure a network on sentences; every sentence weighs the same."""
    was_training = network.training
    network.eval()
    order = sorted(range(len(sentences.tokens)), key=lambda i: len(sentences.tokens[i]))
    total, right = 0.0, 0
    with Activity(network) as activity:
        for begin in range(0, len(order), batch):
            tokens, valid, labels = sentences.batch(order[begin : begin + batch], device)
            activity.counted = valid
            scores, _ = network(tokens, None, valid)
            total += float(F.cross_entropy(scores.double(), labels, reduction="sum"))
            right += int((scores.argmax(1) == labels).sum())
        done = operations(activity)
    network.train(was_training)
    return SentenceMeasurement(total / len(order), right / len(order), activity.rates(), activity.mean_rate(), done)
