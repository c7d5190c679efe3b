"""What every recipe shares: unknown keys are refused, numbers are ones to compute with; a name, a source and a seed."""

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from snn_delays.recipes.sigma import Annealing

MOST = 1 << 20
"""Most epochs, samples of a batch, and steps of a delay or of silence."""
_LARGEST, _SMALLEST = 1e30, 1e-30  # float32 ends at 3e38 and 1e-38, and numbers are squared


class Strict(BaseModel):
    """A section of a recipe that refuses what it does not know, and numbers that the network's types do not hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    @field_validator("*")
    @classmethod
    def _in_range(cls, value: Any, info: ValidationInfo) -> Any:
        for one in value if isinstance(value, tuple) else (value,):
            if isinstance(one, float) and one and not _SMALLEST <= abs(one) <= _LARGEST:
                raise ValueError(f"must be 0 or of a size between {_SMALLEST:g} and {_LARGEST:g}")
            if isinstance(one, int) and abs(one) >= 1 << 31 and info.field_name != "seed":
                raise ValueError(f"must be below {1 << 31}")
            if isinstance(one, str) and not one.isascii():
                one.encode()  # UnicodeEncodeError, a ValueError, for a byte of a file's name that is no UTF-8
        return value

    @model_validator(mode="after")
    def _consistent(self) -> "Strict":
        for problem in self._problems():
            raise ValueError(problem)
        return self

    def _problems(self) -> Iterable[str]:
        """What is wrong with the values of several keys together; the first is the error."""
        return ()


class BaseRecipe(Strict):
    """What recipes of every task have. A recipe of a task of your own has a section ``training`` with at least
    ``epochs`` and ``precision`` (:class:`snn_delays.recipes.training.AdamConfig` has all that the engine reads).
    """

    task: str
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    source: str = ""
    seed: int = Field(0, ge=0, lt=2**63)

    def annealing(self) -> Annealing | None:
        """How sigma, the width of the taps, is annealed; None where no delays are learned by taps that have a width."""
        return None

    def sigma_at(self, epoch: float) -> float | None:
        """Sigma, in steps, after so many epochs; None where it is not annealed."""
        annealing = self.annealing()
        return None if annealing is None else annealing.sigma_at(epoch)

    def sparsity_at(self, epoch: float) -> float | None:
        """Share of the delays that a learned mask leaves out after so many epochs; None without such a mask."""
        return None

    def idle(self) -> Iterable[tuple[str, str]]:
        """Keys that do nothing in this recipe, and those that make them so; both separated by blanks."""
        return ()

    def contradictions(self) -> Iterable[str]:
        """Keys whose values would be replaced, a sentence each; a new run is refused for them."""
        return ()

    def remedy(self, silent: bool) -> str:
        """What to change where populations never fire (``silent``), or always do."""
        return "change the learning rate, or begin with other weights: seed"
