"""What the nodes of a NIR graph put out, in terms of its input and its populations: delayed, weighted taps."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.export.nir.graph import Array, Graph, Node, ordered

LONGEST = 2**30  # steps of a delay
Integers = NDArray[np.int64]


class Taps(NamedTuple):
    """Ways from a source to a node: channel ``row`` receives ``weight`` times ``column``, ``delay`` steps late."""

    row: Integers
    column: Integers
    delay: Integers
    weight: Array


class Signal(NamedTuple):
    """What a node puts out: taps from input and populations, and a constant for each channel."""

    taps: dict[str, Taps]
    bias: Array


def is_population(node: Node) -> bool:
    """Whether a node begins anew what is put out."""
    return node.kind in ("LIF", "CubaLIF", "IF", "LI")


class Signals:
    """What every node of a graph puts out, in terms of the input and the populations; ``sizes`` are of its outputs."""

    def __init__(self, graph: Graph, sizes: dict[str, int], dt: float) -> None:
        self.graph, self.sizes, self.dt = graph, sizes, dt
        # Populations begin anew: what leads to them does not lead through them.
        within = {name: [] if is_population(graph.nodes[name]) else inputs for name, inputs in graph.sources.items()}
        self.after: dict[str, Signal] = {}
        for name in ordered(within, "the graph has a cycle without neurons: {}"):
            node, every = graph.nodes[name], np.arange(sizes[name])
            if name == graph.entry or is_population(node):
                taps = Taps(every, every, np.zeros_like(every), np.ones(len(every)))
                self.after[name] = Signal({name: taps}, np.zeros(len(every)))
            else:
                self.after[name] = self._through(node, self.arriving(name))

    def arriving(self, name: str) -> Signal:
        """What a node receives: the sum of what comes from before, over edges that take a step a step later."""
        taps: dict[str, Taps] = {}
        biases = []
        for before in self.graph.sources[name]:
            signal = self.after[before]
            if (before, name) in self.graph.lagging:
                signal = _later(self.graph.nodes[name], signal, np.ones(self.sizes[before], np.int64))
            biases.append(signal.bias)
            for source, more in signal.taps.items():
                taps[source] = _together([taps[source], more]) if source in taps else more
        return Signal(taps, np.asarray(sum(biases[1:], biases[0])) if biases else np.zeros(self.sizes[name]))

    def _through(self, node: Node, signal: Signal) -> Signal:
        """What a node makes of what it receives."""
        size = self.sizes[node.name]
        if node.kind == "Delay":
            return _later(node, signal, node.delay_steps(size, self.dt, LONGEST).astype(np.int64))
        if node.kind == "Scale":
            scale = node.spread("scale", (size,), axes=False)
            scaled = {
                source: taps._replace(weight=taps.weight * scale[taps.row]) for source, taps in signal.taps.items()
            }
            return Signal(scaled, signal.bias * scale)
        if node.kind not in ("Linear", "Affine"):
            return signal
        weight = node.numbers("weight")
        bias = weight @ signal.bias
        if node.kind == "Affine":
            bias = bias + node.spread("bias", (size,))
        return Signal({source: _weighed(weight, taps) for source, taps in signal.taps.items()}, bias)


def _later(node: Node, signal: Signal, steps: Integers) -> Signal:
    if (steps[signal.bias != 0] > 0).any():
        raise node.error(
            " delays a bias, which would act late; a network's bias acts from the first step on: put it after the delay"
        )
    return Signal({s: t._replace(delay=t.delay + steps[t.row]) for s, t in signal.taps.items()}, signal.bias)


def _together(parts: list[Taps]) -> Taps:
    return Taps(*(np.concatenate(columns) for columns in zip(*parts)))


def _weighed(weight: Array, taps: Taps) -> Taps:
    """Taps after a matrix, delay by delay."""
    parts = [Taps(taps.row[:0], taps.row[:0], taps.row[:0], taps.weight[:0])]
    for delay in np.unique(taps.delay):
        here = taps.delay == delay
        rows, row = np.unique(taps.row[here], return_inverse=True)
        columns, column = np.unique(taps.column[here], return_inverse=True)
        dense = np.zeros((len(rows), len(columns)))
        np.add.at(dense, (row, column), taps.weight[here])
        product = weight[:, rows] @ dense
        target, source = np.nonzero(product)
        parts.append(Taps(target, columns[source], np.full(len(target), delay), product[target, source]))
    return _together(parts)
