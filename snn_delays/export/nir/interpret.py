"""A small simulator of NIR graphs: it reads the graph alone, and shares nothing with the operations it checks."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from snn_delays.errors import DataError, ShapeError
from snn_delays.export.nir.graph import Array, Graph, Node, Shape, flat, ordered
from snn_delays.export.nir.nodes import Step, shapes_of, step_of

if TYPE_CHECKING:
    import nir


def interpret(
    graph: nir.NIRGraph,
    x: ArrayLike,
    *,
    dt: float | None = None,
    keep: Collection[str] | None = None,
    reset: str | None = None,
) -> dict[str, Array]:
    r"""Run samples through a NIR graph, step by step in float64.

    Knows every node of nir 1.0.8 and nested graphs; several edges into a node add up. In step t a node sees what the
    nodes before it put out in step t. A Delay of at least one step puts out what it received earlier, so cycles through
    one are run. Where a population's output comes back to it without a Delay, it comes back a step later, as recurrent
    graphs of other tools are written; other cycles have no order. Neurons move by forward Euler from ``v_leak`` (IF,
    which has none, from ``v_reset``),

    .. math:: h = v + \frac{dt}{\tau} \left( (v_{leak} - v) + r I \right)

    with :math:`I` the input, in CubaLIF and CubaLI filtered first,
    :math:`I \leftarrow I + dt / \tau_{syn} (w_{in} x - I)`, and in IF and I without leak, :math:`h = v + dt\, r I`. A
    neuron fires at ``h > v_threshold``, or at ``>=`` where the metadata of the node or of the graph have
    ``threshold_op = "ge"``; then it is at ``v_reset`` unless ``reset`` is another.

    Args:
        graph: from :func:`snn_delays.export.nir.write.to_nir` or ``read_nir``, or another tool's.
        x: input, ``[time, ...]`` or ``[time, sample, ...]`` with the Input's shape after that.
        dt: length of a step in the graph's unit of time; None takes it from the graph's metadata.
        keep: nodes whose outputs are returned; None: all. A wide graph has many.
        reset: of neurons that say nothing in their metadata: ``"hard"`` (as NIR has it, also None), ``"soft"`` or
            ``"soft_late"``, as in :func:`snn_delays.export.nir.read.from_nir`.

    Returns:
        For each node by its name (``outer.inner`` in nested graphs), in the order they run, ``[time, ...]`` or
        ``[time, sample, ...]``: spikes of a LIF, membranes of an LI.

    Raises:
        DataError: a node of another kind, a cycle that cannot be run, not exactly one Input, no ``dt``, a delay that is
            not integer steps, a time constant shorter than a step, shapes that do not fit, fields that are missing or
            not finite, a reset other than the one that metadata say, an input that is not finite.
        ShapeError: ``x`` does not fit the Input.
        ConfigError: no such reset.
    """
    plain = flat(graph, reset)
    step = plain.number("dt") if dt is None else float(dt)
    if step is None or not (np.isfinite(step) and step > 0):
        raise DataError("the graph's metadata have no dt, the length of a step; pass dt=")
    samples = _samples(plain, x)
    outputs = _run(plain, samples, step, keep, reset)
    return {name: out[:, 0] if np.ndim(x) < samples.ndim else out for name, out in outputs.items()}


def _samples(graph: Graph, x: ArrayLike) -> Array:
    """The input as ``[time, sample, ...]``."""
    values = np.asarray(x)
    if values.dtype.kind not in "biuf":
        raise ShapeError(f"the input must be numbers, got an array of {values.dtype}")
    shape = graph.nodes[graph.entry].shape()
    axes = 1 if shape is None else len(shape)
    if values.ndim not in (axes + 1, axes + 2) or (shape is not None and values.shape[-axes:] != shape):
        taken = "channel" if shape is None else ", ".join(map(str, shape))
        raise ShapeError(
            f"the input has shape {values.shape}, the graph takes [time, {taken}] or [time, sample, {taken}]"
        )
    values = values.astype(np.float64)
    if not np.isfinite(values).all():
        raise DataError("the input has values that are not finite")
    return values[:, None] if values.ndim == axes + 1 else values


def _run(graph: Graph, samples: Array, dt: float, keep: Collection[str] | None, reset: str | None) -> dict[str, Array]:
    before, after = shapes_of(graph, samples.shape[2:])
    lines = {name: _Line(node, dt, samples, after[name]) for name, node in graph.nodes.items() if node.kind == "Delay"}
    ahead = [name for name, line in lines.items() if line.lags.min(initial=1) >= 1]
    sources = {
        name: [] if name in ahead else [one for one in inputs if (one, name) not in graph.lagging]
        for name, inputs in graph.sources.items()
    }
    order = ordered(sources, "the graph has a cycle through {} without a Delay of at least one step")
    steps: dict[str, Step] = {
        name: step_of(node, graph, before[name], after[name], dt, reset)
        for name, node in graph.nodes.items()
        if name not in lines
    }
    count = samples.shape[1]
    held = {source: np.zeros((count, *after[source])) for source, _ in graph.lagging}
    outputs: dict[str, list[Array]] = {name: [] for name in order if keep is None or name in keep}

    def arriving(name: str, values: dict[str, Array]) -> Array:
        parts = [(held if (s, name) in graph.lagging else values)[s] for s in graph.sources[name]]
        return np.asarray(sum(part.reshape(count, *before[name]) for part in parts))

    for t, now in enumerate(samples):
        values: dict[str, Array] = {graph.entry: now}
        for name in order:
            if name in lines:
                if name not in ahead:
                    lines[name].write(t, arriving(name, values))
                values[name] = lines[name].read(t)
            elif name != graph.entry:
                values[name] = steps[name](arriving(name, values))
        for name in ahead:
            lines[name].write(t, arriving(name, values))
        held = {name: values[name] for name in held}
        for name, kept in outputs.items():
            kept.append(values[name])
    return {name: np.array(kept).reshape(len(samples), count, *after[name]) for name, kept in outputs.items()}


class _Line:
    """The delay lines of a Delay node."""

    def __init__(self, node: Node, dt: float, x: Array, shape: Shape) -> None:
        steps = node.delay_steps(int(np.prod(shape)), dt)
        # What is later than the last step never arrives, however late.
        self.lags = np.minimum(steps, max(len(x), 1)).astype(np.int64)
        self.line = np.zeros((int(self.lags.max(initial=0)) + 1, x.shape[1], len(steps)))
        self.shape = shape

    def read(self, t: int) -> Array:
        """What arrives in step ``t``."""
        arriving: Array = self.line[(t - self.lags) % len(self.line), :, np.arange(len(self.lags))]
        return arriving.T.reshape(-1, *self.shape)

    def write(self, t: int, x: Array) -> None:
        """What sets out in step ``t``."""
        self.line[t % len(self.line)] = x.reshape(len(x), -1)
