"""Language models: the task of recipes that say ``task = "language"``."""

from collections.abc import Callable
from typing import Any, cast

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor, nn

from snn_delays.data.text import Corpus, RandomCrops, Vocabulary, load_corpus, vocabulary_from_json
from snn_delays.errors import CheckpointError
from snn_delays.models.spikegpt import SpikeGPT, with_whole_delays
from snn_delays.recipes.text import LanguageRecipe
from snn_delays.training.activity import ones_rate
from snn_delays.training.checkpoint import latest_epoch
from snn_delays.training.health import silent_and_saturated
from snn_delays.training.language_measure import measure_text
from snn_delays.training.runlog import Run
from snn_delays.training.schedule import Optimisation
from snn_delays.training.steps import optimiser_step, share_of
from snn_delays.training.task import best_of, seed_of
from snn_delays.training.tasks.text import TextTask
from snn_delays.training.watcher import Watcher


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


class Language(TextTask):
    """A :class:`snn_delays.training.task.Task`: the next token of a text, on random crops."""

    def __init__(self, run: Run, fabric: Fabric) -> None:
        self.recipe: LanguageRecipe = run.recipe
        self.corpus = corpus_of(self.recipe, _vocabulary_so_far(run))
        config = self.recipe.training
        self.source, self.checksum = self.corpus.name, self.corpus.checksum
        self.epochs, self.steps = config.epochs, config.steps_per_epoch
        self.share = share_of(config, fabric.world_size)
        self.crops = RandomCrops(self.corpus.train, config.context)

    def card(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocabulary": self.corpus.vocabulary}

    def network(self) -> SpikeGPT:
        """A SpikeGPT for the text's vocabulary."""
        return language_network(self.recipe, self.corpus.vocabulary.size)

    def begin(self, network: nn.Module) -> dict[str, Any]:
        """The vocabulary, so that a run can be read without its text."""
        vocabulary = self.corpus.vocabulary
        return {"vocabulary": vocabulary.to_json(), "fingerprint": vocabulary.fingerprint}

    def train_epoch(
        self,
        fabric: Fabric,
        module: nn.Module,
        network: nn.Module,
        optimisation: Optimisation,
        epoch: int,
        watcher: Watcher,
    ) -> dict[str, Any]:
        """So many optimiser steps, each on new crops."""
        config = self.recipe.training
        torch.manual_seed(seed_of(self.recipe.seed, epoch, 1001 + fabric.global_rank))  # dropout
        generator = torch.Generator().manual_seed(seed_of(self.recipe.seed, epoch, fabric.global_rank))
        module.train()
        total = 0.0

        def loss() -> tuple[Tensor, Tensor]:
            x, y = (fabric.to_device(part) for part in self.crops.batch(self.share, generator))
            logits, _ = module(x)
            return next_token_loss(logits, y, config.l2_wrap)

        losses: list[Callable[[], tuple[Tensor, Tensor]]] = [loss] * config.accumulate
        for step in range(self.steps):
            self.narrow(network, epoch, step)
            number = optimiser_step(fabric, module, network, optimisation, config, losses, epoch)
            total += number
            watcher.step_done(number)
        if fabric.world_size > 1:
            total = float(cast(Tensor, fabric.all_reduce(torch.tensor(total, device=fabric.device), reduce_op="mean")))
        return {"train_loss": total / self.steps}

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        """Bits per byte of the validation text in windows, with whole delays; and how much fires."""
        whole = with_whole_delays(cast(SpikeGPT, network))
        found = measure_text(
            whole, self.corpus.valid, self.corpus.bytes_of["valid"], self.recipe.training.context, device=device
        )
        return {
            "valid_loss": found.loss,
            "valid_bits_per_byte": found.bits_per_byte,
            "firing_rate": found.mean_rate,
            "embedding_ones": ones_rate(whole),
            **silent_and_saturated(found.rates),
        }

    def best(self, history: list[dict[str, Any]]) -> int:
        """The epoch of the least loss on validation."""
        return best_of(history, "loss")


def stored_vocabulary(progress: dict[str, Any], where: str) -> dict[str, Any]:
    """The vocabulary in a run's progress. Raises CheckpointError if there is none."""
    found = progress.get("vocabulary")
    if not isinstance(found, dict):
        raise CheckpointError(f"{where} has no vocabulary in its checkpoint; train it anew")
    return found
