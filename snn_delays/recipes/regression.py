"""Recipes of networks that predict a series of numbers."""

from collections.abc import Iterator
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from snn_delays.recipes.events import AugmentConfig, Recipe
from snn_delays.recipes.strict import Strict
from snn_delays.recipes.training import AdamConfig, PenaltySection

Share = Annotated[float, Field(gt=0, lt=1)]


class SeriesConfig(Strict):
    """Which series, and what is to be predicted; see :func:`snn_delays.data.series.load_series`.

    A sample of the series is a step, and counts as 1 ms: ``model.max_delay_ms`` and time constants are in steps.
    """

    dt_ms: ClassVar[float] = 1.0

    series: Literal["mackey-glass"] = "mackey-glass"
    tau: float = Field(17.0, gt=0, description="delay of the system that makes the series")
    window: int = Field(150, ge=1, description="samples that are read")
    horizon: int = Field(20, ge=1, description="what is predicted lies so many steps after the last of them")
    split: tuple[Share, Share, Share] = (0.6, 0.2, 0.2)

    def _problems(self) -> Iterator[str]:
        if abs(sum(self.split) - 1) > 1e-9:
            yield f"split must sum to 1, got {sum(self.split):g}"


class RegressionTrainingConfig(PenaltySection, AdamConfig):
    """Mean squared error of the readout; the epoch is chosen by it on the validation part."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    lr_delay: float = Field(0.05, gt=0, description="steps; same schedule, to 0")
    sigma_start_steps: float | None = Field(None, gt=0, description="default: half the window + sigma_offset_steps")
    sigma_offset_steps: float = Field(0.0, ge=0, description="sigma - offset shrinks by the same factor every epoch")
    sigma_epochs: int | None = Field(None, ge=0, description="epochs of annealing; default: a quarter of all")
    readout: Literal["membrane_last", "membrane_mean", "membrane_sum"] = "membrane_last"

    def _problems(self) -> Iterator[str]:
        yield from super()._problems()
        if self.sigma_end_steps <= self.sigma_offset_steps:
            yield (
                f"sigma_end_steps ({self.sigma_end_steps}) must be above sigma_offset_steps ({self.sigma_offset_steps})"
            )


class RegressionRecipe(Recipe):
    """Everything that shapes the training of a network that predicts a series: the network is that of events."""

    augment: ClassVar[AugmentConfig] = AugmentConfig()  # type: ignore[misc]
    fine_tuning: ClassVar[None] = None  # type: ignore[misc]

    task: Literal["regression"]  # type: ignore[assignment]
    data: SeriesConfig  # type: ignore[assignment]
    training: RegressionTrainingConfig  # type: ignore[assignment]

    def idle(self) -> Iterator[tuple[str, str]]:
        """As :meth:`BaseRecipe.idle`."""
        yield from self._idle_of_network()
