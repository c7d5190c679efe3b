"""The canonical form: a discrete network as plain arrays, which every exporter reads."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from snn_delays.errors import DataError, ExportError
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.archive import Arrays, Outline, archive_bytes, opened

FORMAT = "snn_delays network 1"
MOST_INPUTS = 2**24
Sharing = Literal["synapse", "axon", "dendrite"]
Integers = NDArray[np.int32]
NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_-])?")  # of populations, arrays and files
TAKEN = ("input", "network", "trace", "file")
TAKEN_ENDINGS = (".recurrent", ".bias", ".source", ".target", ".delay_steps", ".weight")


@dataclass(frozen=True, eq=False)
class Synapses:
    r"""Synapses one by one, ordered by source, then target, then delay; none has weight zero.

    .. math:: x_t[i] = \sum_{n:\, target_n = i} weight_n \; s_{t - delay_n}[source_n]

    Attributes:
        sources, targets: numbers of neurons on either side.
        source, target, delay_steps: int32 ``[synapse]``.
        weight: float64 ``[synapse]``; integers where the population computes in integers.
        sharing: ``"synapse"``, ``"axon"`` or ``"dendrite"``: what has a delay of its own.
    """

    sources: int
    targets: int
    source: Integers
    target: Integers
    delay_steps: Integers
    weight: NDArray[np.float64]
    sharing: str = "synapse"

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def max_delay_steps(self) -> int:
        """Longest delay; 0 without synapses."""
        return int(self.delay_steps.max(initial=0))

    @property
    def min_delay_steps(self) -> int:
        """Shortest delay; 0 without synapses."""
        return int(self.delay_steps.min()) if len(self) else 0

    @property
    def row_pointers(self) -> NDArray[np.int64]:
        """Where each source's synapses begin, ``[sources + 1]`` (compressed rows by source)."""
        return np.searchsorted(self.source, np.arange(self.sources + 1)).astype(np.int64)

    @property
    def twin(self) -> NDArray[np.int64]:
        """For each synapse, how many of the same source, target and delay come before it, ``[synapse]``."""
        number = np.arange(len(self))
        same = np.diff(np.stack([self.source, self.target, self.delay_steps]), axis=1) == 0
        return number - np.maximum.accumulate(np.where(np.append(False, same.all(0))[: len(self)], 0, number))

    @classmethod
    def sorted(
        cls, sources: int, targets: int, source: Any, target: Any, delay_steps: Any, weight: Any, sharing: str
    ) -> Synapses:
        """Synapses in order, those of weight zero left out. Raises ExportError for delays that are not integers."""
        if (np.asarray(delay_steps) != np.rint(delay_steps)).any():
            raise ExportError("delays must be integer steps; discretize() rounds them")
        source, target, delay = (np.asarray(part, np.int32) for part in (source, target, delay_steps))
        weight = np.asarray(weight, np.float64)
        present = np.flatnonzero(weight)
        order = present[np.lexsort((delay[present], target[present], source[present]))]
        return cls(sources, targets, source[order], target[order], delay[order], weight[order], sharing)


@dataclass(frozen=True)
class Membrane:
    """Neurons in real numbers, as :func:`snn_delays.ops.lif.lif`; ``tau_steps`` gives ``decay = 1 - 1/tau``.

    ``tau_syn_steps``: time constant of a filter of the current (:class:`snn_delays.nn.CubaLIF`); 1 is none.
    """

    tau_steps: float
    decay_input: bool = False
    threshold: float = 1.0
    v_reset: float = 0.0
    reset: str = "hard"
    strict: bool = False
    tau_syn_steps: float = 1.0

    def __post_init__(self) -> None:
        if not (self.tau_steps >= 1 and np.isfinite([self.threshold, self.v_reset]).all()):
            raise ExportError(
                f"neurons need tau_steps >= 1 and a finite threshold and v_reset, got {self.tau_steps}, "
                f"{self.threshold} and {self.v_reset}"
            )
        if not 1 <= self.tau_syn_steps < np.inf:
            raise ExportError(f"neurons need a finite tau_syn_steps >= 1, got {self.tau_syn_steps}")
        if self.reset not in ("hard", "soft"):
            raise ExportError(f"reset must be 'hard' or 'soft', got {self.reset!r}")

    @property
    def decay(self) -> float:
        """Factor by which the membrane's distance from rest shrinks in a step."""
        return 1.0 - 1.0 / self.tau_steps

    @property
    def gain(self) -> float:
        """Factor of the current."""
        return 1.0 - self.decay if self.decay_input else 1.0

    @property
    def filters(self) -> bool:
        """Whether the current is filtered before it reaches the membrane."""
        return self.tau_syn_steps != 1

    @property
    def numbers(self) -> dict[str, Any]:
        """The fields by name, as files have them: ``tau_syn_steps`` where the current is filtered."""
        return {name: value for name, value in asdict(self).items() if name != "tau_syn_steps" or self.filters}


@dataclass(frozen=True, eq=False)
class Population:
    """Neurons and the synapses onto them.

    Attributes:
        name: as ``hidden1``.
        synapses: from the population before it (the inputs for the first).
        bias: constant current, float64 ``[neuron]``; in units of the membrane in integer arithmetic.
        arithmetic: :class:`Membrane` (real numbers) or :class:`snn_delays.fixed_point.FixedPoint` (integers).
        fires: spiking neurons; else leaky integrators, read by their membranes.
        recurrent: synapses of the population onto itself, delays >= 1, or None.
    """

    name: str
    synapses: Synapses
    bias: NDArray[np.float64]
    arithmetic: Membrane | FixedPoint
    fires: bool = True
    recurrent: Synapses | None = None

    @property
    def size(self) -> int:
        """Number of neurons."""
        return self.synapses.targets

    @property
    def parts(self) -> dict[str, Synapses]:
        """The synapses onto it by name, its recurrent ones last."""
        own = {} if self.recurrent is None else {f"{self.name}.recurrent": self.recurrent}
        return {self.name: self.synapses, **own}

    @property
    def weights(self) -> NDArray[np.float64]:
        """The weights of all synapses onto it."""
        return np.concatenate([part.weight for part in self.parts.values()])

    @property
    def whole(self) -> bool:
        """Whether the population computes in integers."""
        return isinstance(self.arithmetic, FixedPoint)


@dataclass(frozen=True, eq=False)
class CanonicalNetwork:
    """A chain of populations after ``inputs`` channels, in steps of ``dt_ms``; ``notes`` says where it came from."""

    inputs: int
    populations: tuple[Population, ...]
    dt_ms: float
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def whole(self) -> bool:
        """Whether every population computes in integers."""
        return all(population.whole for population in self.populations)

    @property
    def recurrent(self) -> bool:
        """Whether any population has synapses onto itself."""
        return any(population.recurrent is not None for population in self.populations)

    @property
    def filtering(self) -> str | None:
        """A sentence on the first population that filters its current, or None: few tools have such neurons."""
        for population in self.populations:
            numbers = population.arithmetic
            if isinstance(numbers, Membrane) and numbers.filters:
                return f"{population.name} filters its current (CubaLIF, tau_syn_steps = {numbers.tau_syn_steps:g})"
        return None

    @property
    def lags(self) -> bool:
        """Whether a spike may act on the next population in its own step: most tools have populations run late then."""
        return any(bool((population.synapses.delay_steps == 0).any()) for population in self.populations)

    def all_synapses(self) -> list[tuple[str, Synapses]]:
        """Every set of synapses by name: ``hidden1``, ``hidden1.recurrent``, ``readout``, ..."""
        return [part for population in self.populations for part in population.parts.items()]


def numbers_of(arithmetic: Membrane | FixedPoint) -> dict[str, Any]:
    """The numbers of a population's arithmetic by name, as files have them."""
    return arithmetic.numbers if isinstance(arithmetic, Membrane) else asdict(arithmetic)


def to_bytes(network: CanonicalNetwork) -> bytes:
    """The network as the bytes of an ``.npz``: numeric arrays, and ``network``, a JSON text of all else.

    Arrays: ``NAME.source``, ``NAME.target``, ``NAME.delay_steps`` (int32), ``NAME.weight`` (float64), where ``NAME`` is
    the population's name or that with ``.recurrent``; ``NAME.bias`` (float64). The JSON has ``format``, ``dt_ms``,
    ``inputs``, ``notes`` and for each population ``name``, ``size``, ``fires``, ``sharing``, ``recurrent`` (null or its
    sharing), ``arithmetic`` (``"real"`` or ``"whole"``) and ``numbers``, the fields of its arithmetic. Nothing is lost.
    """
    arrays: dict[str, Any] = {f"{population.name}.bias": population.bias for population in network.populations}
    for name, synapses in network.all_synapses():
        arrays |= {f"{name}.{what}": getattr(synapses, what) for what in ("source", "target", "delay_steps", "weight")}
    populations = [
        {
            "name": population.name,
            "size": population.size,
            "fires": population.fires,
            "sharing": population.synapses.sharing,
            "recurrent": None if population.recurrent is None else population.recurrent.sharing,
            "arithmetic": "whole" if population.whole else "real",
            "numbers": numbers_of(population.arithmetic),
        }
        for population in network.populations
    ]
    arrays["network"] = {
        "format": FORMAT, "dt_ms": network.dt_ms, "inputs": network.inputs, "notes": network.notes,
        "populations": populations,
    }  # fmt: skip
    return archive_bytes(arrays)


class _PopulationOutline(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")  # neurons that never leak have an infinite tau

    name: str
    size: int = Field(ge=1, lt=2**31)
    fires: bool
    sharing: Sharing
    recurrent: Sharing | None
    arithmetic: Literal["real", "whole"]
    numbers: dict[str, bool | int | float | str]


class _NetworkOutline(Outline):
    dt_ms: float = Field(gt=0)
    inputs: int = Field(ge=1, le=MOST_INPUTS)
    notes: dict[str, str]
    populations: list[_PopulationOutline] = Field(min_length=1)


def read_network(path: str | Path) -> CanonicalNetwork:
    """A network from the ``.npz`` of :func:`to_bytes`.

    Raises DataError, with the file and what in it, if it is missing, damaged, of another format, has arrays or keys
    that are missing, unknown, of another type or contradict each other, or holds an impossible network.
    """
    with opened(path, "network", FORMAT, _NetworkOutline) as (arrays, outline):
        populations, width = [], outline.inputs
        for entry in outline.populations:
            populations.append(_population(entry, width, arrays))
            width = entry.size
        network = CanonicalNetwork(outline.inputs, tuple(populations), float(outline.dt_ms), outline.notes)
        check(network)
    return network


def _population(entry: _PopulationOutline, width: int, arrays: Arrays) -> Population:
    name, size = entry.name, entry.size

    def synapses(prefix: str, sources: int, sharing: str) -> Synapses:
        weight = arrays.take(f"{prefix}.weight", "numbers", (None,))
        source, target, delay = (
            arrays.take(f"{prefix}.{what}", "integers", weight.shape, end)
            for what, end in (("source", sources), ("target", size), ("delay_steps", 2**31))
        )
        return Synapses.sorted(sources, size, source, target, delay, weight, sharing)

    onto = synapses(name, width, entry.sharing)
    bias = np.asarray(arrays.take(f"{name}.bias", "numbers", (size,)), np.float64)
    recurrent = None if entry.recurrent is None else synapses(f"{name}.recurrent", size, entry.recurrent)
    return Population(name, onto, bias, _arithmetic(entry), entry.fires, recurrent)


def _arithmetic(entry: _PopulationOutline) -> Membrane | FixedPoint:
    """The neurons' numbers; all are there, under their names, of their types."""
    kind: Any = FixedPoint if entry.arithmetic == "whole" else Membrane
    types = {part.name: str(getattr(part.type, "__name__", part.type)) for part in fields(kind)}
    optional = {"tau_syn_steps"} - set(entry.numbers)
    if unknown := sorted((set(types) ^ set(entry.numbers)) - optional):
        raise DataError(f"{entry.name}: numbers should have the keys {', '.join(types)}; missing or unknown: {unknown}")
    for key, value in entry.numbers.items():
        if type(value).__name__ not in {types[key], "int" if types[key] == "float" else ""}:
            raise DataError(f"{entry.name}: numbers.{key} should be a {types[key]}, got {value!r}")
    return kind(**entry.numbers)


def check(network: CanonicalNetwork) -> None:
    """Raise ExportError where a network is impossible: indices, delays, or numbers that are not finite."""
    if not network.populations:
        raise ExportError("the network has no populations")
    if not (np.isfinite(network.dt_ms) and network.dt_ms > 0):
        raise ExportError(f"dt_ms must be a positive number of milliseconds, got {network.dt_ms}")
    names = [population.name for population in network.populations]
    for place, population in enumerate(network.populations):
        name = population.name
        if not NAME.fullmatch(name) or name in TAKEN or name.endswith(TAKEN_ENDINGS) or names.count(name) > 1:
            raise ExportError(
                f"population {name!r}: a name has letters, digits, '_', '-' and inner dots, belongs to one population, "
                f"is none of {', '.join(TAKEN)} and ends in none of {', '.join(TAKEN_ENDINGS)}; rename the layer"
            )
        if not population.fires and (place < len(names) - 1 or population.recurrent is not None):
            raise ExportError(f"{name}: leaky integrators never fire: they stand at the end alone, without recurrence")
        if population.bias.shape != (population.size,) or not np.isfinite(population.bias).all():
            raise ExportError(f"{name}.bias must be {population.size} finite numbers")
        values = np.concatenate([population.bias, population.weights])
        if population.whole and (np.isfinite(values) & (values != np.rint(values))).any():
            raise ExportError(f"{name} computes in integers; its weights and biases must be integers, too")
    for name, synapses in network.all_synapses():
        if bad := int((~np.isfinite(synapses.weight)).sum()):
            raise ExportError(
                f"{name}: {bad} of {len(synapses)} weights are not finite; training diverged, export an "
                "earlier checkpoint"
            )
        for what, end in (("source", synapses.sources), ("target", synapses.targets)):
            values = getattr(synapses, what)
            if len(values) and (values.min() < 0 or values.max() >= end):
                raise ExportError(f"{name}.{what} must lie in 0..{end - 1}")
        least = 1 if name.endswith(".recurrent") else 0
        if early := int((synapses.delay_steps < least).sum()):
            raise ExportError(
                f"{name}: {early} of {len(synapses)} delays are below {least}; a spike cannot act before it "
                "is fired" + (", nor on its own population in the same step: set min_delay_steps = 1" if least else "")
            )
