"""What every recipe shares: unknown keys are refused, and it has a name, a source and a seed."""

from pydantic import BaseModel, ConfigDict, Field


class Strict(BaseModel):
    """A section of a recipe that refuses what it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class BaseRecipe(Strict):
    """What recipes of every task have."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    title: str = ""
    source: str = ""
    seed: int = Field(0, ge=0, lt=2**63)
