"""Tasks on text: language models, ``task = "language"``, and classifiers of sentences, ``task = "sentences"``."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import safetensors
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.data.bucketing import bucketed
from snn_delays.data.text import (
    ByteVocabulary,
    Corpus,
    RandomCrops,
    SentenceSet,
    Vocabulary,
    WordVocabulary,
    load_corpus,
    load_sentences,
    vocabulary_from_json,
)
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.models.spikegpt import SpikeGPT, SpikeGPTClassifier, with_integer_delays
from snn_delays.recipes.text import LanguageRecipe, SentenceRecipe
from snn_delays.training.activity import ones_rate, silent_and_saturated
from snn_delays.training.callbacks import Callback
from snn_delays.training.checkpoint import NetworkCard, latest_epoch, read_progress
from snn_delays.training.language_measure import Encoded, measure_sentences, measure_text
from snn_delays.training.optimise import Optimisation, StepOutput, share_of
from snn_delays.training.runlog import Run
from snn_delays.training.task import Task, seed_of, shared_out, steps_of

SHOWN = 128  # tokens of a raster


class TextTraining(Task):
    """The part that does not depend on what is learned from the text."""

    vocabulary: Vocabulary

    def card(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocabulary": self.vocabulary}

    def complete(self, card: NetworkCard, tensors: Mapping[str, Tensor], path: Path) -> NetworkCard:
        """The vocabulary of a file of format 1 is in ``progress.json`` beside it. Raises CheckpointError."""
        progress = read_progress(path.parent)
        if not isinstance(stored := progress.get("vocabulary"), dict):
            raise CheckpointError(f"{path} has no vocabulary in its checkpoint; train it anew")
        vocabulary = vocabulary_from_json(stored)
        with safetensors.safe_open(path, framework="pt") as file:
            trained = (file.metadata() or {}).get("vocabulary")  # its fingerprint
        if trained is not None and trained != vocabulary.fingerprint:
            raise CheckpointError(
                f"the network in {path} was trained with the vocabulary {trained}, progress.json beside it holds "
                f"{vocabulary.fingerprint} of {vocabulary.size} tokens; put the run's own progress.json back"
            )
        return replace(card, vocabulary=vocabulary, class_names=tuple(progress.get("class_names", ())))

    def on_fit_start(self, network: nn.Module) -> dict[str, Any]:
        """The vocabulary, so that a run can be read without its data."""
        return {"vocabulary": self.vocabulary.to_json(), "fingerprint": self.vocabulary.fingerprint}

    def on_step_start(self, epoch: int, step: int, network: nn.Module, optimisation: Optimisation) -> None:
        """Anneal sigma."""
        optimisation.set_sigma(self.recipe.sigma_at(epoch - 1 + step / self.steps))

    def describe(self) -> dict[str, Any]:
        """Kind of delays, and the network in short."""
        return {"delays": self.recipe.model.delays, "hidden": self.recipe.model.shape}


def corpus_of(recipe: LanguageRecipe, vocabulary: Vocabulary | None = None) -> Corpus:
    """The text of a recipe, in its own vocabulary or that of a trained network.

    Raises ConfigError, or DataError, also for characters of valid or test that the vocabulary lacks.
    """
    data = recipe.data
    corpus = load_corpus(data.corpus, vocabulary or data.vocabulary, data.split, context=recipe.training.context)
    corpus.check_known()
    return corpus


def language_network(recipe: LanguageRecipe, tokens: int) -> SpikeGPT:
    """The network of a recipe for a vocabulary of so many tokens, freshly drawn, in the recipe's precision."""
    model = recipe.model
    network = SpikeGPT(tokens, model.features, model.layers, **model.options())
    return network.to(recipe.training.dtype)


def next_token_loss(logits: Tensor, target: Tensor, l2_wrap: float) -> tuple[Tensor, Tensor]:
    r"""What is differentiated, and the mean cross-entropy alone.

    The first has a term more, whose gradient pulls the largest logit of each token towards zero by ``l2_wrap`` times
    its size over the number of tokens. Source: RWKV's L2Wrap, as in SpikeGPT's code.
    """
    mean = F.cross_entropy(single(logits).flatten(0, 1), target.flatten())
    if not l2_wrap:
        return mean, mean
    return mean + 0.5 * l2_wrap * single(logits).amax(-1).square().mean(), mean


def single(x: Tensor) -> Tensor:
    """At least single precision, in which losses are computed."""
    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x


class LanguageTraining(TextTraining):
    """The next token of a text, on random crops."""

    recipe: LanguageRecipe
    captured = True

    def setup(self, run: Run, fabric: Fabric, callback: Callback) -> None:
        """Read the text, in the vocabulary that the run was started with."""
        config = self.recipe.training
        saved = None if latest_epoch(run.checkpoints) is None else run.progress().get("vocabulary")
        self.corpus = corpus_of(self.recipe, None if saved is None else vocabulary_from_json(saved))
        self.source, self.checksum = self.corpus.name, self.corpus.checksum
        self.vocabulary, self.steps = self.corpus.vocabulary, config.steps_per_epoch
        self.fabric, self.share = fabric, share_of(config, fabric.world_size)
        self.crops = RandomCrops(self.corpus.train, config.context)

    def network(self, card: NetworkCard) -> SpikeGPT:
        """A SpikeGPT for the text's vocabulary."""
        return language_network(self.recipe, cast(Vocabulary, card.vocabulary).size)

    def batches(self, epoch: int) -> Iterable[list[tuple[Tensor, Tensor]]]:
        """So many optimiser steps, each on new crops, of which this process takes its share."""
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, epoch, 0))
        processes, mine = self.fabric.world_size, slice(self.fabric.global_rank, None, self.fabric.world_size)
        for _ in range(self.steps):
            parts = (
                self.crops.batch(self.share * processes, generator) for _ in range(self.recipe.training.accumulate)
            )
            yield [(x[:, mine].contiguous(), y[:, mine].contiguous()) for x, y in parts]

    def training_step(self, module: nn.Module, part: tuple[Tensor, Tensor]) -> StepOutput:
        """Cross-entropy of the next token, with the pull on the largest logits in the gradient alone."""
        x, y = (self.fabric.to_device(each) for each in part)
        logits, _ = module(x)
        return StepOutput(*next_token_loss(logits, y, self.recipe.training.l2_wrap))

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Bits per byte of the validation text in windows, with integer delays; and how much fires."""
        discrete = with_integer_delays(cast(SpikeGPT, network))
        result = measure_text(
            discrete, self.corpus.valid, self.corpus.bytes_of["valid"], self.recipe.training.context, device=device
        )
        return {
            "valid_loss": result.loss,
            "valid_bits_per_byte": result.bits_per_byte,
            "firing_rate": result.mean_rate,
            "embedding_ones": ones_rate(discrete),
            **silent_and_saturated(result.rates),
        }

    def sample(self) -> Tensor:
        """The first tokens of the validation text."""
        tokens = torch.from_numpy(self.corpus.valid[:SHOWN].astype(np.int64)).unsqueeze(1)
        return cast(Tensor, self.fabric.to_device(tokens))


def vocabulary_of(recipe: SentenceRecipe, sentences: SentenceSet) -> ByteVocabulary | WordVocabulary:
    """The recipe's vocabulary, built on training sentences alone."""
    if recipe.data.vocabulary == "bytes":
        return ByteVocabulary()
    return WordVocabulary.build([text for text, _ in sentences.train], min_count=recipe.data.min_count)


def encode(part: list[tuple[str, int]], vocabulary: ByteVocabulary | WordVocabulary, recipe: SentenceRecipe) -> Encoded:
    """A part of a sentence set as tokens; of longer sentences the first ``max_tokens``, if the recipe says so."""
    tokens = [vocabulary.encode(text)[: recipe.data.max_tokens] for text, _ in part]
    return Encoded(tokens, torch.tensor([label for _, label in part]))


class SentencesTraining(TextTraining):
    """The class of a sentence."""

    recipe: SentenceRecipe

    def setup(self, run: Run, fabric: Fabric, callback: Callback) -> None:
        """Read the sentences, and build the vocabulary on those of training."""
        self.sentences = load_sentences(self.recipe.data.set)
        self.source, self.checksum = self.sentences.name, self.sentences.checksum
        self.vocabulary = vocabulary_of(self.recipe, self.sentences)
        self.train = encode(self.sentences.train, self.vocabulary, self.recipe)
        self.valid = encode(self.sentences.valid, self.vocabulary, self.recipe)
        config = self.recipe.training
        self.fabric, self.share = fabric, share_of(config, fabric.world_size)
        self.steps = steps_of(len(self.train.tokens), config.batch_size, fabric)
        total = config.epochs * self.steps
        if config.warmup_steps >= total:
            raise ConfigError(f"training.warmup_steps ({config.warmup_steps}) must be below all steps ({total})")

    def card(self) -> dict[str, Any]:
        """Vocabulary and classes."""
        return {**super().card(), "class_names": tuple(self.sentences.class_names)}

    def network(self, card: NetworkCard) -> SpikeGPTClassifier:
        """A classifier for the set's vocabulary and classes."""
        model, tokens = self.recipe.model, cast(Vocabulary, card.vocabulary).size
        network = SpikeGPTClassifier(len(card.class_names), tokens, model.features, model.layers, **model.options())
        return network.to(self.recipe.training.dtype)

    def on_fit_start(self, network: nn.Module) -> dict[str, Any]:
        """The vocabulary and the classes, so that a run can be read without its data."""
        return {**super().on_fit_start(network), "class_names": list(self.sentences.class_names)}

    def batches(self, epoch: int) -> Iterable[list[tuple[NDArray[np.int64], float]]]:
        """For each optimiser step, this process's sentences in parts, each with its weight in the mean."""
        for parts, weight in self.parts(epoch):
            each = sum(map(len, parts)) / len(parts) / weight  # the last step's parts may be of unequal size
            yield [(part, len(part) / each) for part in parts]

    def parts(self, epoch: int) -> Iterator[tuple[list[NDArray[np.int64]], float]]:
        """Sentences of like lengths in the parts of each step, in an order drawn from seed and epoch; their weight."""
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, epoch, 0))
        order = torch.randperm(len(self.train.tokens), generator=generator).numpy()
        batches = bucketed(order, self.train.lengths, self.recipe.training.batch_size, generator)
        for batch, mine, weight in shared_out(batches, self.fabric):
            last = (len(batch) // self.fabric.world_size - 1) // self.share  # processes have as many parts
            yield [*(mine[i * self.share :][: self.share] for i in range(last)), mine[last * self.share :]], weight

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

    def sample(self) -> Tensor:
        """Tokens of the first validation sentence."""
        return self.valid.batch(np.arange(1), self.fabric.device)[0]
