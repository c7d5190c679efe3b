"""The golden trace: real samples and the network's outputs, for checking any other simulator."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field

from snn_delays.errors import DataError, ExportError, ShapeError
from snn_delays.ir.archive import Outline, archive_bytes, opened
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.simulator import simulate

FORMAT = "snn_delays trace 1"
Array = NDArray[Any]


@dataclass(frozen=True, eq=False)
class Trace:
    """Samples in and out.

    Attributes:
        counts: events, uint8 or wider ``[time, sample, input]``; zero after a sample's end.
        outputs: by population ``[time, sample, neuron]``: spikes (uint8) or membranes of integrators (float64, or
            int64 in integer arithmetic).
        margins: by spiking population the least ``|h - threshold|`` met (see
            :class:`snn_delays.ir.simulator.Response`).
        notes: where the samples come from.
    """

    counts: Array
    outputs: dict[str, Array]
    margins: dict[str, float]
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def margin(self) -> float:
        """The least of all margins."""
        return min(self.margins.values(), default=np.inf)

    @property
    def samples(self) -> int:
        """Number of samples."""
        return int(self.counts.shape[1])


@dataclass(frozen=True)
class Mismatch:
    """The first place where another simulator differs: of all, the earliest step of the first sample and layer."""

    layer: str
    sample: int
    t: int
    neuron: int
    differing: int
    total: int

    def __str__(self) -> str:
        return (
            f"first mismatch at (sample {self.sample}, layer {self.layer}, t {self.t}, neuron {self.neuron}); "
            f"{self.differing} of {self.total} values of the layer differ"
        )


def make_trace(network: CanonicalNetwork, counts: ArrayLike, notes: dict[str, str] | None = None) -> Trace:
    """Run samples ``[time, sample, input]`` through the reference simulator; without samples nothing can be compared.

    Raises ShapeError for a wrong shape, ExportError if a spiking population stays silent: an empty raster would let
    any simulator pass.
    """
    x = np.asarray(counts)
    if x.ndim != 3 or x.shape[2] != network.inputs:
        raise ShapeError(f"samples must be [time, sample, {network.inputs}], got shape {x.shape}")
    if not np.isfinite(x).all() or (x < 0).any() or (x != np.rint(x)).any() or x.max(initial=0) >= 2**31:
        raise ExportError("samples must hold counts of events: integers from 0 to 2^31 - 1")
    x = x.astype(np.uint8 if x.max(initial=0) < 256 else np.int32)
    if not x.shape[1]:
        empty = simulate(network, np.zeros((0, network.inputs))).outputs.items()
        outputs = {name: np.zeros((len(x), 0, out.shape[1]), out.dtype) for name, out in empty}
        return Trace(x, outputs, {}, dict(notes or {}))
    responses = [simulate(network, x[:, i]) for i in range(x.shape[1])]
    outputs = {p.name: np.stack([r.outputs[p.name] for r in responses], axis=1) for p in network.populations}
    if silent := [p.name for p in network.populations if not outputs[p.name].any()]:
        raise ExportError(f"{', '.join(silent)} stayed silent on {x.shape[1]} samples; such a trace proves nothing")
    margins = {name: min(r.margins[name] for r in responses) for name in responses[0].margins}
    return Trace(x, outputs, margins, dict(notes or {}))


def first_mismatch(network: CanonicalNetwork, trace: Trace, outputs: dict[str, Array]) -> Mismatch | None:
    """Where other outputs, keyed and shaped as the trace's, first differ; spikes and integers exactly.

    Real membranes of integrators may differ by ``1e-9 * (1 + |v|)``, the order of summation.

    Raises ShapeError if a population is missing or has another shape, ExportError for a trace without samples, which
    compares nothing.
    """
    if not trace.samples:
        raise ExportError("the trace has no samples, so there is nothing to compare; export with samples")
    if unknown := set(trace.outputs) ^ {population.name for population in network.populations}:
        raise ShapeError(f"the trace and the network differ in populations: {', '.join(sorted(unknown))}")
    for population in network.populations:
        want, got = trace.outputs[population.name], outputs.get(population.name)
        if got is None or got.shape != want.shape:
            raise ShapeError(
                f"{population.name}: expected outputs of shape {want.shape}, got {None if got is None else got.shape}"
            )
        if want.dtype.kind == "f":
            differs = ~(np.abs(want - got) <= 1e-9 * (1 + np.abs(want)))
        else:
            differs = want != got
        if differs.any():
            sample = int(np.flatnonzero(differs.any((0, 2)))[0])
            t, neuron = np.argwhere(differs[:, sample])[0]
            return Mismatch(population.name, sample, int(t), int(neuron), int(differs.sum()), differs.size)
    return None


def trace_bytes(trace: Trace) -> bytes:
    """The trace as the bytes of an ``.npz``: ``input``, one array per population, and ``trace``, a JSON text."""
    outline = {"format": FORMAT, "margin": trace.margin, "margins": trace.margins, "notes": trace.notes}
    return archive_bytes({"input": trace.counts, "trace": outline, **trace.outputs})


class _TraceOutline(Outline):
    margin: float = Field(ge=0, allow_inf_nan=True)
    margins: dict[str, Annotated[float, Field(ge=0)]]
    notes: dict[str, str]


def read_trace(path: str | Path) -> Trace:
    """A trace from the ``.npz`` of :func:`trace_bytes`.

    Raises DataError if it is missing, damaged, or its arrays contradict each other.
    """
    with opened(path, "trace", FORMAT, _TraceOutline) as (arrays, outline):
        counts = arrays.take("input", "integers", (None, None, None))
        if (counts < 0).any():
            raise DataError("input must hold counts of events, none below 0")
        steps, samples, _ = counts.shape
        outputs = {name: arrays.take(name, "numbers", (steps, samples, None)) for name in arrays.names()}
        if unknown := sorted(set(outline.margins) - set(outputs)):
            raise DataError(f"margins are of {unknown[0]}, which has no array")
        return Trace(counts, outputs, outline.margins, outline.notes)
