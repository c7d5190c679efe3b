"""Recipes of spiking language models, and of classifiers of sentences on the same blocks."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from snn_delays.recipes.strict import MOST, BaseRecipe, Strict
from snn_delays.units import MAX_DELAY_STEPS


class SpikeGPTConfig(Strict):
    """The network: see :class:`snn_delays.models.SpikeGPT`."""

    features: int = Field(ge=1)
    layers: int = Field(ge=1)
    spiking: Literal["after", "before", "none"] = "after"
    shift: Literal["token", "learned", "fixed", "dense"] = "token"
    max_delay_steps: int = Field(
        32, ge=1, le=MAX_DELAY_STEPS, description="longest delay, in tokens; of no meaning for shift = 'token'"
    )
    points: int = Field(2, ge=1, description="delays for each mixture and neuron, of shift = 'learned' and 'fixed'")
    neuron_delays: Literal["none", "axonal", "dendritic"] = "none"
    neuron_shift: Literal["learned", "fixed", "dense"] = Field("learned", description="kind of the neuron_delays")
    taps: Literal["gaussian", "triangle", "linear", "linear_normalized"] = "gaussian"
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


class StepsConfig(Strict):
    """Adam, its schedule, the narrowing of the taps: what training by gradients takes, whatever the loss."""

    epochs: int = Field(ge=1, le=MOST)
    batch_size: int = Field(
        ge=1, le=MOST, description="sequences of an optimiser step, over all processes and accumulations"
    )
    accumulate: int = Field(1, ge=1, description="parts in which the batch of a process is computed one by one")
    optimiser: Literal["adam", "adamw"] = "adam"
    lr: float = Field(6e-4, gt=0, description="peak")
    final_lr: float = Field(1e-5, ge=0)
    warmup_steps: int = Field(0, ge=0)
    schedule: Literal["cosine", "wsd"] = Field("cosine", description="wsd: warm-up, stable, decay over the last fifth")
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.99)
    eps: float = Field(4e-9, gt=0)
    weight_decay: float = Field(0.0, ge=0, description="of matrices; not of norms, mixtures, decays or delays")
    clip: float = Field(1.0, gt=0, description="largest norm of the weights' gradient; that of delays is left alone")
    lr_delay: float = Field(0.05, gt=0, description="tokens; same schedule, to 0")
    sigma_start_steps: float | None = Field(None, gt=0, description="default: an eighth of the window, at least 1")
    sigma_end_steps: float = Field(0.4, gt=0)
    sigma_epochs: int | None = Field(None, ge=0, description="epochs of narrowing; default: half of all")
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"

    @model_validator(mode="after")
    def _rates_fall(self) -> "StepsConfig":
        if self.final_lr > self.lr:
            raise ValueError(f"final_lr ({self.final_lr:g}) must not exceed lr ({self.lr:g})")
        if self.sigma_start_steps is not None and self.sigma_start_steps < self.sigma_end_steps:
            raise ValueError(
                f"sigma_start_steps ({self.sigma_start_steps:g}) must not be below sigma_end_steps "
                f"({self.sigma_end_steps:g})"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})")
        return self


def check_widths(model: SpikeGPTConfig, training: StepsConfig) -> None:
    """Raise ValueError where the taps would begin narrower than they are to end."""
    start = max(model.max_delay_steps / 8, 1.0)
    spread = model.has_delays and model.taps in ("gaussian", "triangle")
    if spread and training.sigma_start_steps is None and start < training.sigma_end_steps:
        raise ValueError(
            f"training.sigma_end_steps ({training.sigma_end_steps:g}) must not exceed the width at the start, "
            f"{start:g}; set training.sigma_start_steps"
        )


class TextConfig(Strict):
    """Which text, in which vocabulary, how split."""

    corpus: str = Field(min_length=1, description="name of a text set, or path of a text file")
    vocabulary: Literal["bytes", "characters"] = "bytes"
    split: tuple[float, float, float] | None = Field(
        None, description="train, valid, test; default: the text set's own"
    )


class LanguageTrainingConfig(StepsConfig):
    """Random crops of the training text; an epoch is so many optimiser steps."""

    steps_per_epoch: int = Field(ge=1)
    context: int = Field(ge=1, description="tokens of a crop, and of a window in evaluation")
    l2_wrap: float = Field(1e-4, ge=0, description="pull on the largest logit of each token, in the gradient alone")


class LanguageRecipe(BaseRecipe):
    """Everything that shapes the training of a language model."""

    task: Literal["language"]
    data: TextConfig
    model: SpikeGPTConfig
    training: LanguageTrainingConfig

    @model_validator(mode="after")
    def _warms_up_and_narrows(self) -> "LanguageRecipe":
        check_widths(self.model, self.training)
        total = self.training.epochs * self.training.steps_per_epoch
        if self.training.warmup_steps >= total:
            raise ValueError(f"training.warmup_steps ({self.training.warmup_steps}) must be below all steps ({total})")
        return self


class SentenceConfig(Strict):
    """Which labelled sentences, in which vocabulary."""

    set: str = Field(min_length=1, description="name of a sentence set")
    vocabulary: Literal["words", "bytes"] = "words"
    min_count: int = Field(2, ge=1, description="times a word must occur in the training sentences to be known")
    max_tokens: int | None = Field(None, ge=1, description="longer sentences keep their first tokens; default: all")


class SentenceTrainingConfig(StepsConfig):
    """Every training sentence once an epoch."""

    select_by: Literal["accuracy", "loss"] = "accuracy"


class SentenceRecipe(BaseRecipe):
    """Everything that shapes the training of a classifier of sentences."""

    task: Literal["sentences"]
    data: SentenceConfig
    model: SpikeGPTConfig
    training: SentenceTrainingConfig

    @model_validator(mode="after")
    def _narrows(self) -> "SentenceRecipe":
        check_widths(self.model, self.training)
        return self
