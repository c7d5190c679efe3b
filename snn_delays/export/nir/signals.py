"""What the nodes of a NIR graph put out, in terms of its input and its populations: delayed, weighted taps."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import DataError
from snn_delays.export.nir.graph import PRECISION, Array, Graph, Node
from snn_delays.export.nir.nodes import spread


class Taps(NamedTuple):
    """Ways from a source to a node: channel ``row`` receives ``weight`` times ``column``, ``delay`` steps late."""

    row: NDArray[np.int64]
    column: NDArray[np.int64]
    delay: NDArray[np.int64]
    weight: Array


@dataclass(frozen=True)
class Signal:
    """What a node puts out: taps from input and populations, and a constant for each channel."""

    taps: dict[str, Taps]
    bias: Array


def is_population(node: Node) -> bool:
    """Whether a node begins anew what is put out."""
    return node.kind in ("LIF", "LI")


def signals_of(graph: Graph, sizes: dict[str, int], dt: float) -> dict[str, Signal]:
    """What every node puts out in terms of the input and the populations."""
    # Populations begin anew: what leads to them does not lead through them.
    within = {name: [] if is_population(graph.nodes[name]) else sources for name, sources in graph.sources.items()}
    try:
        order = list(TopologicalSorter(within).static_order())
    except CycleError as error:
        raise DataError(f"the graph has a cycle without neurons: {', '.join(error.args[1][:-1])}") from None
    signals: dict[str, Signal] = {}
    for name in order:
        node = graph.nodes[name]
        if name == graph.entry or is_population(node):
            every = np.arange(sizes[name])
            taps = Taps(every, every, np.zeros_like(every), np.ones(len(every)))
            signals[name] = Signal({name: taps}, np.zeros(len(every)))
        else:
            signals[name] = _behind(node, arriving(graph, name, signals, sizes), sizes[name], dt)
    return signals


def arriving(graph: Graph, name: str, signals: dict[str, Signal], sizes: dict[str, int]) -> Signal:
    """What a node is given: the sum of what comes from before, over edges that take a step a step later."""
    taps: dict[str, Taps] = {}
    bias: Array | None = None
    for before in graph.sources[name]:
        signal = signals[before]
        if (before, name) in graph.lagging:
            signal = _later(name, signal, np.ones(sizes[before], np.int64))
        bias = signal.bias if bias is None else bias + signal.bias
        for source, more in signal.taps.items():
            taps[source] = _together([taps[source], more]) if source in taps else more
    return Signal(taps, np.zeros(sizes[name]) if bias is None else bias)


def _later(name: str, signal: Signal, steps: NDArray[np.int64]) -> Signal:
    if (steps[signal.bias != 0] > 0).any():
        raise DataError(
            f"node {name!r} delays a bias, which would act late; a network's bias acts from the first step on: put "
            "it after the delay"
        )
    return Signal({s: t._replace(delay=t.delay + steps[t.row]) for s, t in signal.taps.items()}, signal.bias)


def _behind(node: Node, signal: Signal, size: int, dt: float) -> Signal:
    """What a node makes of what it is given."""
    if node.kind == "Delay":
        return _later(node.name, signal, _whole_steps(node, size, dt))
    if node.kind == "Scale":
        scale = spread(node, "scale", node.numbers("scale").reshape(-1), (size,))
        taps = {source: taps._replace(weight=taps.weight * scale[taps.row]) for source, taps in signal.taps.items()}
        return Signal(taps, signal.bias * scale)
    if node.kind not in ("Linear", "Affine"):
        return signal
    weight = node.numbers("weight")
    bias = weight @ signal.bias
    if node.kind == "Affine":
        bias = bias + spread(node, "bias", node.numbers("bias"), (size,))
    return Signal({source: _weighed(weight, taps) for source, taps in signal.taps.items()}, bias)


def _together(parts: list[Taps]) -> Taps:
    whole = [np.concatenate([part[i] for part in parts]) for i in range(4)]
    return Taps(*whole)


def _weighed(weight: Array, taps: Taps) -> Taps:
    """Taps after a matrix, delay by delay."""
    found = [Taps(taps.row[:0], taps.row[:0], taps.row[:0], taps.weight[:0])]
    for delay in np.unique(taps.delay):
        here = taps.delay == delay
        rows, row = np.unique(taps.row[here], return_inverse=True)
        columns, column = np.unique(taps.column[here], return_inverse=True)
        dense = np.zeros((len(rows), len(columns)))
        np.add.at(dense, (row, column), taps.weight[here])
        product = weight[:, rows] @ dense
        target, source = np.nonzero(product)
        found.append(Taps(target, columns[source], np.full(len(target), delay), product[target, source]))
    return _together(found)


def _whole_steps(node: Node, size: int, dt: float) -> NDArray[np.int64]:
    delay = spread(node, "delay", node.numbers("delay").reshape(-1), (size,))
    steps = delay / dt
    whole = np.rint(steps)
    odd = (np.abs(steps - whole) > PRECISION * np.maximum(1, whole)) | (whole < 0) | (whole > 2**30)
    if odd.any():
        raise DataError(
            f"node {node.name!r}: {int(odd.sum())} of {len(whole)} delays are not whole steps >= 0 of {dt:g}, as "
            f"{float(delay[odd][0]):g}; pass the dt_ms the graph was made with"
        )
    return whole.astype(np.int64)
