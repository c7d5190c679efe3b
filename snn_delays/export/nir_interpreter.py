"""A small simulator of NIR graphs: it reads the graph alone, and shares nothing with the operations it checks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import DataError, ShapeError

if TYPE_CHECKING:
    import nir

Array = NDArray[np.float64]
Step = Callable[[Array], Array]


def interpret(graph: nir.NIRGraph, x: ArrayLike, *, dt: float | None = None) -> dict[str, Array]:
    r"""Run one sample through a NIR graph, step by step in float64.

    Knows Input, Linear, Affine, Delay, LIF, LI and Output, in any graph without cycles; several edges into a node add
    up. In step t a node sees what the nodes before it put out in step t. Neurons move by forward Euler from ``v_leak``,

    .. math:: h = v + \frac{dt}{\tau} \left( (v_{leak} - v) + r I \right)

    and a LIF fires at ``h > v_threshold``, as NIR has it, or at ``>=`` where the metadata of the node or of the graph
    have ``threshold_op = "ge"``. A neuron that fired is at ``v_reset``.

    Args:
        graph: from :func:`snn_delays.export.nir.to_nir` or ``read_nir``, or another tool's.
        x: input, ``[time, channel]``.
        dt: length of a step in the graph's unit of time; None takes it from the graph's metadata.

    Returns:
        For each node, in the order they run, ``[time, channel]``: spikes of a LIF, membranes of an LI.

    Raises:
        DataError: a node of another kind, a cycle, not exactly one Input, no ``dt``, a delay that is not whole steps,
            a reset that is not NIR's, or an input that is not finite.
        ShapeError: ``x`` does not fit the Input.
    """
    dt = float(graph.metadata.get("dt", np.nan) if dt is None else dt)
    if not (np.isfinite(dt) and dt > 0):
        raise DataError("the graph's metadata have no dt, the length of a step; pass dt=")
    order, sources = _order(graph)
    entries = [name for name in order if type(graph.nodes[name]).__name__ == "Input"]
    if len(entries) != 1:
        raise DataError(f"the graph has {len(entries)} Input nodes, expected one")
    x = np.asarray(x, np.float64)
    channels = tuple(int(n) for n in graph.nodes[entries[0]].output_type["output"])
    if x.ndim != 2 or x.shape[1:] != channels:
        raise ShapeError(f"the input has shape {x.shape}, the graph takes [time, {', '.join(map(str, channels))}]")
    if not np.isfinite(x).all():
        raise DataError("the input has values that are not finite")
    steps = {name: _step(name, graph.nodes[name], graph.metadata, dt) for name in order}
    outputs: dict[str, list[Array]] = {name: [] for name in order}
    for now in x:
        for name in order:
            incoming = now if name == entries[0] else sum(outputs[source][-1] for source in sources[name])
            outputs[name].append(steps[name](np.asarray(incoming)))
    return {
        name: np.array(values).reshape(len(x), *(int(n) for n in graph.nodes[name].output_type["output"]))
        for name, values in outputs.items()
    }


def _order(graph: nir.NIRGraph) -> tuple[list[str], dict[str, list[str]]]:
    """Nodes so that each comes after those it hears, and whom it hears."""
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        sources[target].append(source)
    order: list[str] = []
    while len(order) < len(sources):
        ready = [name for name in sources if name not in order and all(source in order for source in sources[name])]
        if not ready:
            raise DataError(f"the graph has a cycle through {', '.join(sorted(set(sources) - set(order)))}")
        order += ready
    return order, sources


def _step(name: str, node: Any, graph_metadata: dict[str, Any], dt: float) -> Step:
    """What the node does in one step; its state lives in the function."""
    kind = type(node).__name__
    if kind in ("Input", "Output"):
        return lambda x: x
    if kind in ("Linear", "Affine"):
        weight = np.asarray(node.weight, np.float64)
        bias = np.asarray(node.bias, np.float64) if kind == "Affine" else 0.0
        return lambda x: weight @ x + bias
    if kind == "Delay":
        return _delay(name, np.asarray(node.delay, np.float64) / dt)
    if kind in ("LIF", "LI"):
        fires = None
        if kind == "LIF":
            wanted = {**graph_metadata, **node.metadata}
            if (reset := wanted.get("reset", "hard")) != "hard":
                raise DataError(f"node {name!r} asks for a {reset!r} reset; NIR's LIF is set to v_reset")
            operations = {"gt": np.greater, "ge": np.greater_equal}
            if (operation := wanted.get("threshold_op", "gt")) not in operations:
                raise DataError(f"node {name!r} has threshold_op {operation!r}, expected 'gt' or 'ge'")
            fires = operations[operation]
        return _leaky(node, dt, fires)
    raise DataError(f"node {name!r} is a {kind}; known are Input, Linear, Affine, Delay, LIF, LI and Output")


def _delay(name: str, delay_steps: Array) -> Step:
    whole = np.rint(delay_steps)
    if not (np.abs(delay_steps - whole) < 1e-6).all() or (whole < 0).any():
        raise DataError(f"node {name!r} has delays that are not whole steps >= 0 of dt")
    lags, channels = whole.astype(np.int64), np.arange(len(whole))
    line = np.zeros((int(lags.max(initial=0)) + 1, len(lags)))
    t = 0

    def step(x: Array) -> Array:
        nonlocal t
        line[t % len(line)] = x
        out: Array = line[(t - lags) % len(line), channels]
        t += 1
        return out

    return step


def _leaky(node: Any, dt: float, fires: Callable[..., Any] | None) -> Step:
    tau_steps = np.asarray(node.tau, np.float64) / dt
    leak, gain = 1 / tau_steps, np.asarray(node.r, np.float64) / tau_steps
    v_leak = np.asarray(node.v_leak, np.float64)
    v = v_leak

    def step(x: Array) -> Array:
        nonlocal v
        h = v + leak * (v_leak - v) + gain * x
        if fires is None:
            v = h
            return h
        spikes = fires(h, node.v_threshold)
        v = np.where(spikes, node.v_reset, h)
        return np.asarray(spikes, np.float64)

    return step
