"""A small simulator of NIR graphs: it reads the graph alone, and shares nothing with the operations it checks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from snn_delays.errors import DataError, ShapeError

if TYPE_CHECKING:
    import nir

Array = NDArray[np.float64]
Step = Callable[[Array], Array]


def interpret(
    graph: nir.NIRGraph, x: ArrayLike, *, dt: float | None = None, keep: Collection[str] | None = None
) -> dict[str, Array]:
    r"""Run samples through a NIR graph, step by step in float64.

    Knows Input, Linear, Affine, Delay, LIF, LI and Output; several edges into a node add up. In step t a node sees what
    the nodes before it put out in step t. A Delay whose delays are all at least one step puts out what it was given
    earlier, so cycles that pass through one are run; other cycles have no order. Neurons move by forward Euler from
    ``v_leak``,

    .. math:: h = v + \frac{dt}{\tau} \left( (v_{leak} - v) + r I \right)

    and a LIF fires at ``h > v_threshold``, as NIR has it, or at ``>=`` where the metadata of the node or of the graph
    have ``threshold_op = "ge"``. A neuron that fired is at ``v_reset``.

    Args:
        graph: from :func:`snn_delays.export.nir.to_nir` or ``read_nir``, or another tool's.
        x: input, ``[time, channel]`` or ``[time, sample, channel]``.
        dt: length of a step in the graph's unit of time; None takes it from the graph's metadata.
        keep: nodes whose outputs are wanted; None: all. A wide graph has many.

    Returns:
        For each node, in the order they run, ``[time, channel]`` or ``[time, sample, channel]``: spikes of a LIF,
        membranes of an LI.

    Raises:
        DataError: a node of another kind, a cycle without such a Delay, not exactly one Input, no ``dt``, a delay that
            is not whole steps, a reset that is not NIR's, or an input that is not finite.
        ShapeError: ``x`` does not fit the Input.
    """
    dt = float(graph.metadata.get("dt", np.nan) if dt is None else dt)
    if not (np.isfinite(dt) and dt > 0):
        raise DataError("the graph's metadata have no dt, the length of a step; pass dt=")
    sources: dict[str, list[str]] = {name: [] for name in graph.nodes}
    for source, target in graph.edges:
        sources[target].append(source)
    entry = _entry(graph, sources)
    x = np.asarray(x, np.float64)
    channels = tuple(int(n) for n in graph.nodes[entry].output_type["output"])
    if x.ndim not in (2, 3) or x.shape[-1:] != channels:
        wanted = ", ".join(map(str, channels))
        raise ShapeError(f"the input has shape {x.shape}, the graph takes [time, {wanted}] or [time, sample, {wanted}]")
    if not np.isfinite(x).all():
        raise DataError("the input has values that are not finite")
    samples = x[:, None] if x.ndim == 2 else x
    lines = {name: _Line(name, node, dt, samples) for name, node in graph.nodes.items() if _kind(node) == "Delay"}
    ahead = [name for name, line in lines.items() if line.lags.min(initial=1) >= 1]
    order = _order({name: [] if name in ahead else heard for name, heard in sources.items()})
    steps = {name: _step(name, graph, lines, dt) for name in order}
    outputs: dict[str, list[Array]] = {name: [] for name in order if keep is None or name in keep}
    for now in samples:
        values: dict[str, Array] = {entry: now}
        for name in order:
            if name in ahead:
                values[name] = lines[name].read()
            elif name != entry:
                values[name] = steps[name](_sum(values, sources[name]))
        for name in ahead:
            lines[name].write(_sum(values, sources[name]))
        for name, kept in outputs.items():
            kept.append(values[name])
    return {
        name: np.array(kept).reshape(*x.shape[:-1], *(int(n) for n in graph.nodes[name].output_type["output"]))
        for name, kept in outputs.items()
    }


def _kind(node: Any) -> str:
    return type(node).__name__


def _sum(values: dict[str, Array], names: list[str]) -> Array:
    return np.asarray(sum(values[name] for name in names))


def _entry(graph: nir.NIRGraph, sources: dict[str, list[str]]) -> str:
    entries = [name for name, node in graph.nodes.items() if _kind(node) == "Input"]
    if len(entries) != 1:
        raise DataError(f"the graph has {len(entries)} Input nodes, expected one")
    deaf = [name for name, heard in sources.items() if not heard and name != entries[0]]
    if deaf:
        raise DataError(f"no edge leads to node {deaf[0]!r}")
    return entries[0]


def _order(sources: dict[str, list[str]]) -> list[str]:
    """Nodes so that each comes after those it hears."""
    try:
        return list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        raise DataError(
            f"the graph has a cycle through {', '.join(error.args[1][:-1])} without a Delay of at least one step"
        ) from None


def _step(name: str, graph: nir.NIRGraph, lines: dict[str, _Line], dt: float) -> Step:
    """What the node does in one step to ``[sample, channel]``; its state lives in the function."""
    node = graph.nodes[name]
    kind = _kind(node)
    if kind in ("Input", "Output"):
        return lambda x: x
    if kind in ("Linear", "Affine"):
        return _linear(node.weight, node.bias if kind == "Affine" else np.zeros(1))
    if kind == "Delay":
        return lines[name].step
    if kind in ("LIF", "LI"):
        fires = None
        if kind == "LIF":
            wanted = {**graph.metadata, **node.metadata}
            if (reset := wanted.get("reset", "hard")) != "hard":
                raise DataError(f"node {name!r} asks for a {reset!r} reset; NIR's LIF is set to v_reset")
            operations = {"gt": np.greater, "ge": np.greater_equal}
            if (operation := wanted.get("threshold_op", "gt")) not in operations:
                raise DataError(f"node {name!r} has threshold_op {operation!r}, expected 'gt' or 'ge'")
            fires = operations[operation]
        return _leaky(node, dt, fires)
    raise DataError(f"node {name!r} is a {kind}; known are Input, Linear, Affine, Delay, LIF, LI and Output")


def _linear(weight: ArrayLike, bias: ArrayLike) -> Step:
    by_source, constant = np.array(np.asarray(weight).T, np.float64, order="C"), np.asarray(bias, np.float64)

    def step(x: Array) -> Array:
        active = np.flatnonzero(x.any(0))  # few: most copies of most spikes are silent
        return np.asarray(x[:, active] @ by_source[active] + constant)

    return step


class _Line:
    """The delay lines of a Delay node."""

    def __init__(self, name: str, node: Any, dt: float, x: Array) -> None:
        delay_steps = np.asarray(node.delay, np.float64) / dt
        whole = np.rint(delay_steps)
        # To the precision of float32, in which other tools keep times.
        sound = np.isclose(delay_steps, whole, rtol=1e-6, atol=1e-6) & np.isfinite(whole) & (whole >= 0)
        if not sound.all():
            raise DataError(f"node {name!r} has delays that are not whole steps >= 0 of dt")
        # What is later than the last step never arrives, however late.
        self.lags = np.minimum(whole, max(len(x), 1)).astype(np.int64)
        self.line = np.zeros((int(self.lags.max(initial=0)) + 1, x.shape[1], len(whole)))
        self.t = 0

    def read(self) -> Array:
        """What arrives in this step."""
        arriving: Array = self.line[(self.t - self.lags) % len(self.line), :, np.arange(len(self.lags))]
        return arriving.T

    def write(self, x: Array) -> None:
        """What sets out in this step, which then ends."""
        self.line[self.t % len(self.line)] = x
        self.t += 1

    def step(self, x: Array) -> Array:
        """Both, where some delays are 0."""
        self.line[self.t % len(self.line)] = x
        out = self.read()
        self.t += 1
        return out


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
