"""Chips: what each of them can hold, and how we know. One TOML card each in ``chips/``."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from snn_delays.errors import ConfigError, DataError
from snn_delays.messages import did_you_mean
from snn_delays.reading import parse_toml, read_text

CARDS = Path(__file__).parent / "cards"
EVIDENCE = {
    "ran": "seen by running it",
    "source": "read in the source of the tool that programs the chip",
    "public": "on a public page or in a publication",
    "design": "a choice of this package",
    "unverified": "NOT verified: from memory or inferred",
}


class Evidence(BaseModel):
    """How a number is known: one of :data:`EVIDENCE`, and where from."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["ran", "source", "public", "design", "unverified"]
    source: str = Field(min_length=1)


class Profile(BaseModel):
    """What a target can hold. A limit that is None is not on its card (of software: there is none).

    Delays are those of the network: 0 is seen in the same step. How a tool numbers them is its exporter's business.

    Attributes:
        name, title, about: as on the card.
        software: a simulator, whose limits are those of the machine it runs on.
        delay_kind: what has a delay of its own: ``"synaptic"``, ``"axonal"`` (one per source), ``"analog"`` (not whole
            steps), ``"none"``.
        min_delay_steps, max_delay_steps: of feed-forward synapses; recurrent ones have at least 1.
        recommended_min_delay_steps: with it the target agrees with the network without a shift of rasters.
        arithmetic: ``"real"``, ``"whole"`` (:class:`snn_delays.fixed_point.FixedPoint`) or ``"other"``: analog,
            without decay, or nobody says; such a card serves checks alone.
        exact_twin: the integer twin computes what the target does, bit for bit.
        weight_bits: the numbers of bits that weights may have, sign included; the first is the default. Codes are
            whole, ``|code| <= 2^(bits-1) - 1``. Empty: real weights. Real arithmetic: weights alone are on a grid.
        distinct_weights: values that the weights into one neuron may take, zero not counted.
        weight_scale: ``"free"``, any step between codes, or ``"power_of_two"`` alone.
        membrane_shift, weight_align_bits: a code is worth ``2^weight_shift(bits)`` in the membrane; ``any_shift``: or
            what else a network asks for, as engines in software can do it.
        state_bits: of membranes, sign included.
        decay_bits: decays are ``k / 2^decay_bits``; ``decay_rule`` is ``"any"`` k, ``"shift"`` where only decays
            ``1 - 2^-n`` exist, or ``"none"`` where membranes do not decay.
        threshold_bits, threshold_shift: a threshold is an integer of so many bits (no sign) shifted left.
        bias_bits, bias_exponent_min, bias_exponent_max: a bias is an integer of so many bits, sign included, times
            2 to a power within these, one for the population. ``bias_bits`` 0: none.
        resets: ``"hard"``, ``"soft"``; the first is the default.
        strict_threshold: fires only above the threshold (True), also at it (False), or as the network has it (None).
        recurrent: populations may have synapses onto themselves.
        integrator_readout: leaky integrators that never fire, read by their membranes.
        max_inputs, max_hidden, max_outputs: channels, neurons before the last population, and its neurons, of a chip.
        max_fan_in, max_fan_out: synapses into a neuron and out of one (or of a channel).
        neurons_per_core, fan_in_axons: neurons of a core, and the sources that may reach it.
        synapse_bits_per_core: memory for synapses. A synapse takes ``synapse_word_bits``; or where that is None its
            weight, its delay, the index of its target, and ``synapse_tag_bits``. The synapses of a source on a core are
            rows of at most ``synapse_row_length``, each with a header of ``synapse_row_header_bits``, rounded up to
            ``synapse_row_round_bits``.
        synapse_index_bits: least bits of that index.
        accumulator_entries_per_core: neurons times delay slots (a power of two above the longest delay, at most
            ``max_delay_slots``, beyond which relays take over).
        cores_per_chip: for neurons.
        evidence: by field, how it is known. Every field but name, title and about that is on the card has one.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: str
    title: str
    about: str
    software: bool = False

    delay_kind: Literal["synaptic", "axonal", "analog", "none"]
    min_delay_steps: int = Field(0, ge=0)
    max_delay_steps: int | None = Field(None, ge=0)
    recommended_min_delay_steps: int = Field(0, ge=0)

    arithmetic: Literal["real", "whole", "other"]
    exact_twin: bool = False
    weight_bits: tuple[int, ...] = Field((), strict=False)
    distinct_weights: PositiveInt | None = None
    weight_scale: Literal["power_of_two", "free"] = "free"
    membrane_shift: int = Field(0, ge=0)
    weight_align_bits: int = Field(0, ge=0)
    any_shift: bool = False
    state_bits: PositiveInt | None = None
    decay_bits: PositiveInt | None = None
    decay_rule: Literal["any", "shift", "none"] = "any"
    threshold_bits: PositiveInt | None = None
    threshold_shift: int = Field(0, ge=0)
    bias_bits: int | None = Field(None, ge=0)
    bias_exponent_min: int = Field(0, ge=0)
    bias_exponent_max: int = Field(0, ge=0)

    resets: tuple[Literal["hard", "soft"], ...] = Field(strict=False, min_length=1)
    strict_threshold: bool | None = None
    recurrent: bool
    integrator_readout: bool

    max_inputs: PositiveInt | None = None
    max_hidden: PositiveInt | None = None
    max_outputs: PositiveInt | None = None
    max_fan_in: PositiveInt | None = None
    max_fan_out: PositiveInt | None = None
    neurons_per_core: PositiveInt | None = None
    fan_in_axons: PositiveInt | None = None
    synapse_bits_per_core: PositiveInt | None = None
    synapse_word_bits: PositiveInt | None = None
    synapse_index_bits: int = Field(1, ge=1)
    synapse_tag_bits: int = Field(0, ge=0)
    synapse_row_length: PositiveInt | None = None
    synapse_row_header_bits: int = Field(0, ge=0)
    synapse_row_round_bits: int = Field(1, ge=1)
    accumulator_entries_per_core: PositiveInt | None = None
    max_delay_slots: PositiveInt | None = None
    cores_per_chip: PositiveInt | None = None

    evidence: dict[str, Evidence]

    @model_validator(mode="after")
    def _whole(self) -> Profile:
        if self.arithmetic == "whole":
            needed = ("weight_bits", "state_bits", "decay_bits", "threshold_bits")
            if missing := [name for name in needed if not getattr(self, name)]:
                raise ValueError(f"integer arithmetic needs {', '.join(missing)}")
        if any(not 2 <= bits <= 16 for bits in self.weight_bits):
            raise ValueError(f"weight_bits must lie in 2..16, got {list(self.weight_bits)}")
        if self.max_delay_steps is not None and self.max_delay_steps < self.min_delay_steps:
            raise ValueError("max_delay_steps is below min_delay_steps")
        return self

    @property
    def has_delays(self) -> bool:
        """Whether spikes can be held for a programmed number of steps."""
        return self.delay_kind in ("synaptic", "axonal")

    @property
    def default_weight_bits(self) -> int | None:
        """Bits of a weight unless others are requested; None for real weights."""
        return self.weight_bits[0] if self.weight_bits else None

    def weight_shift(self, bits: int) -> int:
        """Bits by which codes of so many bits are shifted left into the membrane."""
        return self.membrane_shift + (self.weight_align_bits - bits if self.weight_align_bits else 0)

    @property
    def unverified(self) -> list[str]:
        """The fields that are from memory; say so wherever they are used."""
        return [name for name, known in self.evidence.items() if known.kind == "unverified"]

    def cite(self, *fields: str) -> list[str]:
        """Fields with their values, how they are known and where from: a line for each source, in the card's order.

        Raises KeyError for a field that is not on the card.
        """
        grouped: dict[Evidence, list[str]] = {}
        for field in fields:
            grouped.setdefault(self.evidence[field], []).append(f"{field} = {_shown(getattr(self, field))}")
        return [f"{', '.join(values)} ({EVIDENCE[by.kind]}: {by.source})" for by, values in grouped.items()]


def _shown(value: Any) -> str:
    return " or ".join(map(str, value)) if isinstance(value, tuple) else str(value)


def read_profile(path: Path) -> Profile:
    """One card: ``name``, ``title``, ``about``, and ``[[facts]]``, each an ``evidence``, a ``source`` and fields.

    Raises DataError naming the file and the key that is missing, unknown, given twice or of the wrong type.
    """
    try:
        content = parse_toml(read_text(path))
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read the card {path}: {error}") from error
    values: dict[str, Any] = {key: value for key, value in content.items() if key != "facts"}
    if stray := sorted(set(values) - {"name", "title", "about"}):
        raise DataError(f"{path}: {stray[0]!r} stands outside [[facts]], without evidence")
    evidence: dict[str, Any] = {}
    for fact in content.get("facts", []):
        known = {"kind": fact.pop("evidence", None), "source": fact.pop("source", None)}
        for key, value in fact.items():
            if key in values or key == "evidence":
                raise DataError(f"{path}: {key!r} is given twice")
            values[key], evidence[key] = value, known
    try:
        return Profile(**values, evidence=evidence)
    except ValidationError as error:
        # A key misspelt is also a key missing; the misspelling is what to mend.
        first = min(error.errors(), key=lambda one: one["type"] != "extra_forbidden")
        where = ".".join(map(str, first["loc"]))
        raise DataError(f"{path}: {where}: {first['msg']}" if where else f"{path}: {first['msg']}") from error


@cache
def profiles() -> Mapping[str, Profile]:
    """All targets by name."""
    return MappingProxyType({path.stem: read_profile(path) for path in sorted(CARDS.glob("*.toml"))})


def profile(name: str) -> Profile:
    """The profile of a target. Raises ConfigError for a name that has no card."""
    known = profiles()
    if name not in known:
        hint = did_you_mean(name, known)
        raise ConfigError(f"there is no profile {name!r}; {hint}the profiles are {', '.join(known)}")
    return known[name]
