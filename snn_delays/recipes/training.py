"""What the training sections of recipes share: epochs, batches, the optimisers, and the annealing of sigma."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field

from snn_delays.recipes.strict import MOST, Strict

Taps = Literal["gaussian", "triangle", "delrec", "linear", "linear_normalized"]


class TrainingSection(Strict):
    """The part of every training section; see :func:`snn_delays.training.optimise.optimise` for what else it reads.

    Attributes:
        peak_key: the key of the peak of the weights' learning rate.
    """

    peak_key: ClassVar[str] = "lr"

    epochs: int = Field(ge=1, le=MOST)
    batch_size: int = Field(ge=1, le=MOST)
    precision: Literal["32-true", "64-true", "bf16-mixed"] = "32-true"
    cuda_graphs: bool = Field(False, description="on a GPU, record a step for each length and replay it")

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters."""
        return torch.float64 if self.precision == "64-true" else torch.float32

    @property
    def peak_rate(self) -> float:
        """Peak of the weights' learning rate."""
        return float(getattr(self, self.peak_key))


class PenaltySection(TrainingSection):
    """Penalties that the objective has beside the loss (:mod:`snn_delays.training.penalties`), and when delays of a
    learned mask have become inactive.
    """

    sparsity_epochs: int | None = Field(None, ge=0, description="of model.delay_mask; default: a quarter of all")
    delay_penalty: float = Field(0.0, ge=0, description="per step of the mean delay")
    spike_penalty: float = Field(0.0, ge=0, description="per spike and step that a neuron's rate is out of bounds")
    rate_bounds: tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]] = Field(
        (0.001, 0.01), description="spikes per neuron and step, least and most"
    )

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.rate_bounds[0] > self.rate_bounds[1]:
            yield f"rate_bounds are the least and the largest rate, in this order; got {list(self.rate_bounds)}"


class AdamConfig(TrainingSection):
    """Adam under warm-up and decay, clipped gradients, and the annealing of sigma, step by step."""

    schedule_every: ClassVar[str] = "step"

    batch_size: int = Field(ge=1, le=MOST, description="sequences of an optimiser step, over all processes and parts")
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
    sigma_epochs: int | None = Field(None, ge=0, description="epochs of annealing; default: half of all")

    def _problems(self) -> Iterator[str]:
        start, end = self.sigma_start_steps, self.sigma_end_steps
        if self.final_lr > self.lr:
            yield f"final_lr ({self.final_lr:g}) must not exceed lr ({self.lr:g})"
        if start is not None and start < end:
            yield f"sigma_start_steps ({start:g}) must not be below sigma_end_steps ({end:g})"
        if self.batch_size % self.accumulate:
            yield f"batch_size ({self.batch_size}) must be a multiple of accumulate ({self.accumulate})"
