"""Recipes of spiking language models, and of classifiers of sentences on the same blocks."""

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import Field

from snn_delays.nn.optimise import SPREAD
from snn_delays.recipes.sigma import Annealing
from snn_delays.recipes.strict import BaseRecipe, Strict
from snn_delays.recipes.training import AdamConfig, Taps
from snn_delays.units import MAX_DELAY_STEPS


class SpikeGPTConfig(Strict):
    """The network: see :class:`snn_delays.models.SpikeGPT`."""

    features: int = Field(ge=1)
    layers: int = Field(ge=1)
    spiking: Literal["after", "before", "none"] = "after"
    shift: Literal["token", "learned", "fixed", "dense"] = "token"
    max_delay_steps: int = Field(32, ge=1, le=MAX_DELAY_STEPS, description="longest delay, in tokens")
    points: int = Field(2, ge=1, description="delays for each mixture and neuron, of shift = 'learned' and 'fixed'")
    neuron_delays: Literal["none", "axonal", "dendritic"] = "none"
    neuron_shift: Literal["learned", "fixed", "dense"] = Field("learned", description="kind of the neuron_delays")
    taps: Taps = "gaussian"
    dropout: float = Field(0.03, ge=0, lt=1)
    init: Literal["published", "replicated", "torch"] = "published"

    @property
    def has_delays(self) -> bool:
        """Whether there are delays that are learned."""
        return self.shift == "learned" or (self.neuron_delays != "none" and self.neuron_shift == "learned")

    @property
    def delays(self) -> str:
        """The delays in short, for tables."""
        lags = f"-{self.max_delay_steps + 1}" if self.shift == "dense" else ""
        around = "" if self.neuron_delays == "none" else f"+{self.neuron_shift} {self.neuron_delays}"
        return f"{self.shift}{lags}{around}"

    @property
    def shape(self) -> str:
        """The network in short: ``4x128 after``."""
        return f"{self.layers}x{self.features} {self.spiking}"

    def options(self) -> dict[str, Any]:
        """What the network is given besides vocabulary, width and depth."""
        shift = {
            "kind": self.shift, "max_delay_steps": self.max_delay_steps, "points": self.points, "taps": self.taps,
        }  # fmt: skip
        return {
            "spiking": self.spiking, "shift": shift, "neuron_delays": self.neuron_delays,
            "neuron_shift": {"kind": self.neuron_shift}, "dropout": self.dropout, "init": self.init,
        }  # fmt: skip


class TextConfig(Strict):
    """Which text, in which vocabulary, how split."""

    corpus: str = Field(min_length=1, description="name of a text set, or path of a text file")
    vocabulary: Literal["bytes", "characters"] = "bytes"
    split: tuple[float, float, float] | None = Field(None, description="train, valid, test; default: the set's own")


class LanguageTrainingConfig(AdamConfig):
    """Random crops of the training text; an epoch is so many optimiser steps."""

    steps_per_epoch: int = Field(ge=1)
    context: int = Field(ge=1, description="tokens of a crop, and of a window in evaluation")
    l2_wrap: float = Field(1e-4, ge=0, description="pull on the largest logit of each token, in the gradient alone")


class TextRecipe(BaseRecipe):
    """What recipes of spiking language models and of classifiers on their blocks share."""

    model: SpikeGPTConfig
    training: AdamConfig

    def annealing(self) -> Annealing | None:
        """As :meth:`BaseRecipe.annealing`, in tokens; epochs may be parts of one."""
        if not self.model.has_delays or self.model.taps not in SPREAD:
            return None
        training = self.training
        start, epochs = training.sigma_start_steps, training.sigma_epochs
        start = max(self.model.max_delay_steps / 8, 1.0) if start is None else start
        return Annealing(start, training.sigma_end_steps, training.epochs / 2 if epochs is None else epochs)

    def idle(self) -> Iterator[tuple[str, str]]:
        """As :meth:`BaseRecipe.idle`."""
        model, sigma = self.model, "training.sigma_start_steps training.sigma_end_steps training.sigma_epochs"
        alone = model.neuron_delays == "none"
        kinds = {model.shift} if alone else {model.shift, model.neuron_shift}
        if kinds == {"token"}:
            yield "model.max_delay_steps", "model.shift model.neuron_delays"
        if not kinds & {"learned", "fixed"}:
            yield "model.points", "model.shift"
        if alone:
            yield "model.neuron_shift", "model.neuron_delays"
        if "learned" not in kinds:
            yield f"model.taps training.lr_delay {sigma}", f"model.shift model.neuron_{'delays' if alone else 'shift'}"
        elif model.taps not in SPREAD:
            yield sigma, "model.taps"

    def remedy(self, silent: bool) -> str:
        """What to change where populations never fire, or always do."""
        return (
            f"lower training.lr (now {self.training.lr:g}), or begin with other weights: model.init (now "
            f"{self.model.init!r}) or seed"
        )

    def _problems(self) -> Iterator[str]:
        sigma = self.annealing()
        if sigma is not None and sigma.start < sigma.end:
            yield (
                f"training.sigma_end_steps ({sigma.end:g}) must not exceed the width at the start, {sigma.start:g}; "
                "set training.sigma_start_steps"
            )


class LanguageRecipe(TextRecipe):
    """Everything that shapes the training of a language model."""

    task: Literal["language"]
    data: TextConfig
    training: LanguageTrainingConfig

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        training, total = self.training, self.training.epochs * self.training.steps_per_epoch
        if training.warmup_steps >= total:
            yield f"training.warmup_steps ({training.warmup_steps}) must be below all steps ({total})"


class SentenceConfig(Strict):
    """Which labelled sentences, in which vocabulary."""

    set: str = Field(min_length=1, description="name of a sentence set")
    vocabulary: Literal["words", "bytes"] = "words"
    min_count: int = Field(2, ge=1, description="times a word must occur in the training sentences to be known")
    max_tokens: int | None = Field(None, ge=1, description="longer sentences keep their first tokens; default: all")


class SentenceTrainingConfig(AdamConfig):
    """Every training sentence once an epoch."""

    select_by: Literal["accuracy", "loss"] = "accuracy"


class SentenceRecipe(TextRecipe):
    """Everything that shapes the training of a classifier of sentences."""

    task: Literal["sentences"]
    data: SentenceConfig
    training: SentenceTrainingConfig

    def idle(self) -> Iterator[tuple[str, str]]:
        """As :meth:`BaseRecipe.idle`."""
        yield from super().idle()
        if self.data.vocabulary != "words":
            yield "data.min_count", "data.vocabulary"
