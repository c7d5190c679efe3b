"""Classifiers of sentences: ``task = "sentences"``."""

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.data.batches import Indices, sample_indices
from snn_delays.data.bucketing import bucketed
from snn_delays.data.text import ByteVocabulary, SentenceSet, WordVocabulary, load_sentences, pad
from snn_delays.errors import ConfigError
from snn_delays.models.spikegpt import SpikeGPTClassifier, with_integer_delays
from snn_delays.recipes.text import SentenceRecipe
from snn_delays.training.activity import Activity, operations
from snn_delays.training.callbacks import Callback
from snn_delays.training.card import NetworkCard
from snn_delays.training.health import silent_and_saturated
from snn_delays.training.objective import valid_steps
from snn_delays.training.optimise import StepOutput, share_of
from snn_delays.training.runlog import Run
from snn_delays.training.task import seed_of, shared_out
from snn_delays.training.tasks.language import single
from snn_delays.training.tasks.text import TextTraining, vocabulary_in


@dataclass(frozen=True)
class Encoded:
    """Sentences as tokens, and their classes ``[n]``."""

    tokens: list[NDArray[np.int32]]
    labels: Tensor

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Tokens of each sentence."""
        return np.array([len(each) for each in self.tokens])

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


class SentencesTraining(TextTraining):
    """The class of a sentence."""

    recipe: SentenceRecipe

    def setup(self, run: Run, fabric: Fabric, callback: Callback) -> None:
        """Read the sentences, and build the vocabulary on those of training."""
        self.fabric, self.sentences = fabric, load_sentences(self.recipe.data.set)
        self.source, self.checksum = self.sentences.name, self.sentences.checksum
        self.vocabulary = vocabulary_of(self.recipe, self.sentences)
        self.train = encode(self.sentences.train, self.vocabulary, self.recipe)
        self.valid = encode(self.sentences.valid, self.vocabulary, self.recipe)
        config = self.recipe.training
        self.share = share_of(config, fabric.world_size)
        self.steps = math.ceil(len(self.train.tokens) // fabric.world_size / (self.share * config.accumulate))
        total = config.epochs * self.steps
        if config.warmup_steps >= total:
            raise ConfigError(f"training.warmup_steps ({config.warmup_steps}) must be below all steps ({total})")

    def card(self) -> dict[str, Any]:
        """Vocabulary and classes."""
        return {**super().card(), "class_names": tuple(self.sentences.class_names)}

    def network(self, card: NetworkCard) -> SpikeGPTClassifier:
        """A classifier for the set's vocabulary and classes."""
        return sentence_network(self.recipe, vocabulary_in(card).size, len(card.class_names))

    def on_fit_start(self, network: nn.Module) -> dict[str, Any]:
        """The vocabulary and the classes, so that a run can be read without its data."""
        return {**super().on_fit_start(network), "class_names": list(self.sentences.class_names)}

    def batches(self, epoch: int) -> Iterable[list[tuple[NDArray[np.int64], float]]]:
        """For each optimiser step, this process's sentences in parts, each with its weight in the mean."""
        for parts in self.parts(epoch):
            each = sum(map(len, parts)) / len(parts)  # the last step's parts may be of unequal size
            yield [(part, len(part) / each) for part in parts]

    def parts(self, epoch: int) -> Iterator[list[NDArray[np.int64]]]:
        """Sentences of like lengths in the parts of each step, in an order drawn from seed and epoch."""
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, epoch, 0))
        order = torch.randperm(len(self.train.tokens), generator=generator).numpy()
        size = self.share * self.recipe.training.accumulate
        for batch in bucketed(shared_out(order, self.fabric), self.train.lengths, size, generator):
            yield [batch[begin : begin + self.share] for begin in range(0, len(batch), self.share)]

    def training_step(self, module: nn.Module, part: tuple[NDArray[np.int64], float]) -> StepOutput:
        """Cross-entropy of the classes' scores."""
        chosen, weight = part
        tokens, valid, labels = self.train.batch(chosen, self.fabric.device)
        scores, _ = module(tokens, None, valid)
        correct = int((scores.argmax(1) == labels).sum())
        return StepOutput(weight * F.cross_entropy(single(scores), labels), correct=correct, seen=len(labels))

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Loss and accuracy on validation sentences, with integer delays; and how much fires."""
        result = measure_sentences(with_integer_delays(cast(SpikeGPTClassifier, network)), self.valid, device)
        return {
            "valid_loss": result.loss,
            "valid_accuracy": result.accuracy,
            "firing_rate": result.mean_rate,
            **silent_and_saturated(result.rates),
        }


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
