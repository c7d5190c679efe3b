"""Recurrence of a recipe's hidden layers: a switch, or a section of its own."""

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from snn_delays.nn.optimise import SPREAD
from snn_delays.recipes.strict import Strict
from snn_delays.recipes.training import Taps

TAGS = ("switch", "section")  # of the two forms, in the places of pydantic's errors
_OF_LEARNED = ("taps", "learn_width")
_OF_DELAYS = ("max_delay_ms", "min_delay_steps", "sharing", "delay_init", "delay_range_steps", "delay_std_steps")


class RecurrentConfig(Strict):
    """Recurrent synapses with delays of their own, apart from the feed-forward ones; by default as DelRec has them."""

    delays: Literal["learned", "fixed", "none"] = Field("learned", description="none: spikes return a step later")
    max_delay_ms: float = Field(240.0, gt=0)
    min_delay_steps: int = Field(1, ge=1)
    delay_count: int = Field(1, ge=1)
    sharing: Literal["synapse", "axon", "dendrite", "layer", "hybrid"] = "axon"
    taps: Taps = "delrec"
    delay_init: Literal["uniform", "uniform_rounded", "hammouamri_2024", "half_normal"] = "uniform"
    delay_range_steps: tuple[float, float] | None = Field(None, description="of uniform; default: the window")
    delay_std_steps: float | None = Field(None, gt=0, description="of half_normal, beyond the shortest delay")
    learn_width: Literal["none", "synapse", "axon", "dendrite", "layer"] = "none"
    weight_init: Literal["orthogonal", "uniform"] = Field(
        "orthogonal", description="uniform: small, as recurrent = true"
    )
    dropout: float = Field(0.0, ge=0, lt=1, description="of what a neuron is fed back, for a whole sample")
    layers: tuple[Annotated[int, Field(ge=1)], ...] = Field((), description="hidden layers, from 1; (): all")

    @property
    def spread(self) -> bool:
        """Whether delays are learned through taps that have a width."""
        return self.delays == "learned" and self.taps in SPREAD

    def _problems(self) -> Iterator[str]:
        idle = {"none": _OF_DELAYS + _OF_LEARNED, "fixed": _OF_LEARNED}.get(self.delays, ())
        for name in idle:
            default = RecurrentConfig.model_fields[name].default
            if getattr(self, name) != default:
                yield f"{name} does nothing with delays = {self.delays!r}; leave it at its default, {default!r}"
        if (self.delay_std_steps is None) == (self.delay_init == "half_normal"):
            yield "delay_init = 'half_normal' and delay_std_steps belong together"
        if self.delay_range_steps is not None and not self.delay_init.startswith("uniform"):
            yield f"delay_range_steps does nothing with delay_init = {self.delay_init!r}"
        if self.delay_count != 1 and self.weight_init == "orthogonal":
            yield "weight_init = 'orthogonal' is of one synapse for each pair of neurons: delay_count = 1"


def _form(given: Any) -> str:
    return TAGS[isinstance(given, dict | RecurrentConfig)]


Recurrence = Annotated[Annotated[bool, Tag(TAGS[0])] | Annotated[RecurrentConfig, Tag(TAGS[1])], Discriminator(_form)]


def kind_of_delays(forward: str, recurrent: bool | RecurrentConfig) -> str:
    """For tables: of the feed-forward synapses, and of recurrent ones that have a section of their own."""
    return forward if isinstance(recurrent, bool) else f"{forward}, recurrent {recurrent.delays}"
