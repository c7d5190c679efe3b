"""Language models: ``task = "language"``."""

from collections.abc import Iterable
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.data.text import Corpus, RandomCrops, Vocabulary, load_corpus, vocabulary_from_json
from snn_delays.models.spikegpt import SpikeGPT, with_integer_delays
from snn_delays.recipes.text import LanguageRecipe
from snn_delays.training.activity import ones_rate
from snn_delays.training.callbacks import Callback
from snn_delays.training.card import NetworkCard
from snn_delays.training.checkpoint import latest_epoch
from snn_delays.training.health import silent_and_saturated
from snn_delays.training.language_measure import measure_text
from snn_delays.training.optimise import StepOutput, share_of
from snn_delays.training.runlog import Run
from snn_delays.training.task import seed_of
from snn_delays.training.tasks.text import TextTraining, vocabulary_in


def corpus_of(recipe: LanguageRecipe, vocabulary: Vocabulary | None = None) -> Corpus:
    """The text of a recipe, in its own vocabulary or that of a trained network.

    Raises ConfigError, or DataError, also for characters of valid or test that the vocabulary lacks.
    """
    data = recipe.data
    corpus = load_corpus(data.corpus, vocabulary or data.vocabulary, data.split, context=recipe.training.context)
    corpus.check_known()
    return corpus


def _vocabulary_so_far(run: Run) -> Vocabulary | None:
    """The vocabulary that a run was begun with; None for one that begins."""
    if latest_epoch(run.checkpoints) is None:
        return None
    saved = run.progress().get("vocabulary")
    return None if saved is None else vocabulary_from_json(saved)


def language_network(recipe: LanguageRecipe, tokens: int) -> SpikeGPT:
    """The network of a recipe for a vocabulary of so many tokens, freshly drawn, in the recipe's precision."""
    model = recipe.model
    network = SpikeGPT(tokens, model.features, model.layers, **model.options())
    return network.to(torch.float64 if recipe.training.precision == "64-true" else torch.float32)


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

    def setup(self, run: Run, fabric: Fabric, callback: Callback) -> None:
        """Read the text, in the vocabulary that the run was begun with."""
        config = self.recipe.training
        self.fabric, self.corpus = fabric, corpus_of(self.recipe, _vocabulary_so_far(run))
        self.source, self.checksum = self.corpus.name, self.corpus.checksum
        self.vocabulary, self.steps = self.corpus.vocabulary, config.steps_per_epoch
        self.share = share_of(config, fabric.world_size)
        self.crops = RandomCrops(self.corpus.train, config.context)

    def network(self, card: NetworkCard) -> SpikeGPT:
        """A SpikeGPT for the text's vocabulary."""
        return language_network(self.recipe, vocabulary_in(card).size)

    def batches(self, epoch: int) -> Iterable[list[tuple[Tensor, Tensor]]]:
        """So many optimiser steps, each on new crops."""
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, epoch, self.fabric.global_rank))
        for _ in range(self.steps):
            yield [self.crops.batch(self.share, generator) for _ in range(self.recipe.training.accumulate)]

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
