"""What each kind of NIR node does in a step, and the shapes between nodes: nir 1.0.8, stepped by forward Euler.

Shapes are found from the nodes' numbers: what graphs in use declare is often missing or wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from snn_delays.errors import DataError
from snn_delays.export.nir.graph import ELEMENTWISE, FIELDS, THROUGH, Array, Graph, Node, Shape, long_axes

Step = Callable[[Array], Array]


def shapes_of(graph: Graph, given: Shape | None) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """What every node takes and what it puts out, without time and samples; ``given`` is what the Input puts out.

    Raises DataError where nothing says a shape, or two do not fit.
    """
    after, before = _after(graph, given), {}
    for name, node in graph.nodes.items():
        sources = graph.sources[name]
        before[name] = _shape_before(node, after[sources[0]] if sources else after[name], after[name])
        for source in sources:
            shape, taken = after[source], before[name]
            flattened = graph.nodes[source].kind == "Flatten" and len(taken) == 1
            # Some tools write axes of length 1 for time and batch.
            if np.prod(shape) != np.prod(taken) or not (flattened or long_axes(shape) == long_axes(taken)):
                raise node.error(f" takes {_text(taken)}, a node before it, {source!r}, has {_text(shape)}")
    return before, after


def _after(graph: Graph, given: Shape | None) -> dict[str, Shape]:
    """What every node puts out; loops are why it cannot be found in one pass."""
    shapes: dict[str, Shape] = {graph.entry: _first(graph) if given is None else given}
    while len(shapes) < len(graph.nodes):
        known = len(shapes)
        for name, node in graph.nodes.items():
            before = next((shapes[source] for source in graph.sources[name] if source in shapes), None)
            shape = None if name in shapes else _shape_after(node, before)
            # A single number is spread over what comes from before.
            if shape is not None and (before is not None or int(np.prod(shape)) > 1):
                shapes[name] = shape
        if len(shapes) == known:
            missing = next(name for name in graph.nodes if name not in shapes)
            raise DataError(f"nothing says what shape node {missing!r} has")
    return shapes


def _first(graph: Graph) -> Shape:
    """What the Input puts out where it does not say: what a node after it takes."""
    for name, node in graph.nodes.items():
        if graph.entry in graph.sources[name] and (after := _shape_after(node, None)) is not None:
            return _shape_before(node, after, after)
    raise DataError(f"nothing says what shape node {graph.entry!r} has")


def _text(shape: Shape) -> str:
    return f"{shape[0]} channels" if len(shape) == 1 else str(list(shape))


def _shape_after(node: Node, before: Shape | None) -> Shape | None:
    """The shape that a node puts out, given what it takes; None while that is not known."""
    if node.kind in ("Linear", "Affine"):
        return (_matrix(node).shape[0],)
    if node.kind in ELEMENTWISE:  # NIR asks for fields of one shape, files in use have single numbers beside it
        shapes = [node.numbers(key).shape for key in ELEMENTWISE[node.kind]]
        try:
            own = tuple(np.broadcast_shapes(*shapes))
        except ValueError:
            raise node.error(f" ({node.kind}) has fields of shapes that do not fit each other") from None
        return own if int(np.prod(own)) > 1 or before is None else before
    if before is None or node.kind in ("Input", "Output", THROUGH):
        return before
    if node.kind == "Flatten":
        start, end = _span(node, len(before))
        return (*before[:start], int(np.prod(before[start : end + 1])), *before[end + 1 :])
    return _Window(node, before).after


def _shape_before(node: Node, before: Shape, after: Shape) -> Shape:
    """The shape in which a node takes what comes from before it."""
    if node.kind in ("Linear", "Affine"):
        return (_matrix(node).shape[1],)
    return after if node.kind in ELEMENTWISE else before


def step_of(node: Node, graph: Graph, before: Shape, after: Shape, dt: float, reset: str | None) -> Step:
    """What a node does in one step to ``[sample, *before]``; its state lives in the function. Not for Delay."""
    kind = node.kind
    if kind in ("Linear", "Affine"):
        return _linear(node)
    if kind == "Scale":
        scale = node.spread("scale", after)
        return lambda x: x * scale
    if kind == "Threshold":
        threshold = node.spread("threshold", after)
        return lambda x: np.asarray(x > threshold, np.float64)
    if kind == "Flatten":
        return lambda x: x.reshape(len(x), *after)
    if kind in ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"):
        return _Window(node, before).step()
    if kind in FIELDS:
        return _neurons(node, graph, after, dt, reset)
    return lambda x: x


def _matrix(node: Node) -> Array:
    weight = node.numbers("weight")
    if weight.ndim != 2:
        raise node.error(f" has weights of shape {list(weight.shape)}, expected [target, source]")
    return weight


def _linear(node: Node) -> Step:
    by_source = np.ascontiguousarray(_matrix(node).T)
    constant = node.numbers("bias") if node.kind == "Affine" else np.zeros(1)
    if node.kind == "Affine" and constant.shape != by_source.shape[1:]:
        raise node.error(f" has {by_source.shape[1]} outputs and a bias of {list(constant.shape)}")

    def step(x: Array) -> Array:
        active = np.flatnonzero(x.any(0))  # few: most copies of most spikes are silent
        return np.asarray(x[:, active] @ by_source[active] + constant)

    return step


def _neurons(node: Node, graph: Graph, shape: Shape, dt: float, reset: str | None) -> Step:
    values = {key: node.spread(key, shape) for key in FIELDS[node.kind]}
    for key in ("tau", "tau_mem", "tau_syn"):
        if key in values:
            node.time_constants(key, dt)
    tau = values.get("tau", values.get("tau_mem"))
    # Without a leak dv = r I dt; there a membrane starts where it is reset to.
    leak, gain = (0.0, values["r"] * dt) if tau is None else (dt / tau, values["r"] * (dt / tau))
    rest = values.get("v_leak", values.get("v_reset", np.zeros(shape)))
    filtering = (dt / values["tau_syn"], values["w_in"]) if "tau_syn" in values else None
    fires = "v_threshold" in values
    strict, reset = graph.firing(node, reset) if fires else (True, "hard")
    threshold, v_reset = values.get("v_threshold"), values.get("v_reset")
    v: Any = rest
    current: Any = 0.0
    owed: Any = 0.0  # what a late reset takes off in the next step

    def step(x: Array) -> Array:
        nonlocal v, current, owed
        if filtering is not None:
            rate, weight = filtering
            x = current = current + rate * (weight * x - current)
        h = v + leak * (rest - v) + gain * x - owed
        if not fires:
            v = h
            return np.asarray(h)
        spikes = h > threshold if strict else h >= threshold
        v = np.where(spikes, v_reset, h) if reset == "hard" else h - threshold * spikes if reset == "soft" else h
        if reset == "soft_late":
            owed = threshold * spikes
        return np.asarray(spikes, np.float64)

    return step


def _span(node: Node, axes: int) -> tuple[int, int]:
    """First and last axis that a Flatten joins, of those of one sample."""
    ends = []
    for key in ("start_dim", "end_dim"):
        value = node.numbers(key).reshape(-1)
        place = value[0] + (axes if value[0] < 0 else 0)
        if len(value) != 1 or place != np.rint(place) or not 0 <= place < axes:
            raise node.error(f" (Flatten) has {key} {value[:4].tolist()}, its input has {axes} axes")
        ends.append(int(place))
    if ends[0] > ends[1]:
        raise node.error(" (Flatten) ends before it starts")
    return ends[0], ends[1]


class _Window:
    """Convolutions and pooling over ``[channel, y, x]`` (``[channel, x]`` for Conv1d, here with one row)."""

    def __init__(self, node: Node, before: Shape) -> None:
        self.node, self.flat = node, node.kind == "Conv1d"
        if len(before) != (2 if self.flat else 3):
            axes = "[channel, x]" if self.flat else "[channel, y, x]"
            raise node.error(f" ({node.kind}) takes {axes}, the node before it has {list(before)}")
        channels, *size = (before[0], 1, before[1]) if self.flat else before
        self.weight, self.groups, out, dilation = None, 1, channels, (1, 1)
        if node.kind.startswith("Conv"):
            weight = node.numbers("weight")
            if weight.ndim != (3 if self.flat else 4):
                raise node.error(f" ({node.kind}) has weights of shape {list(weight.shape)}")
            self.weight = weight = weight[:, :, None] if self.flat else weight
            kernel, dilation, out = weight.shape[2:], self._pair("dilation", 1), weight.shape[0]
            (self.groups,) = node.integers("groups", 1)
            if out % self.groups or channels != weight.shape[1] * self.groups:
                raise node.error(
                    f" has weights of shape {list(weight.shape)} in {self.groups} groups, the node before it has "
                    f"{channels} channels"
                )
        else:
            kernel = self._pair("kernel_size", 1)
        self.stride, self.dilation = self._pair("stride", 1), dilation
        self.mean = 1 / int(np.prod(kernel)) if node.kind == "AvgPool2d" else 1.0
        self.reach = [(k - 1) * d + 1 for k, d in zip(kernel, dilation)]
        self.margin = self._margin()
        places = [(n + sum(m) - r) // s + 1 for n, m, r, s in zip(size, self.margin, self.reach, self.stride)]
        if min(places) < 1:
            raise node.error(f" has a window of {self.reach} for an input of {list(before)}")
        self.after: Shape = (out, places[1]) if self.flat else (out, *places)

    def _pair(self, key: str, least: int) -> tuple[int, int]:
        values = self.node.integers(key, least, pair=not self.flat)
        return (least, values[0]) if self.flat else (values[0], values[1])

    def _margin(self) -> list[tuple[int, int]]:
        padding = getattr(self.node.raw, "padding", None)
        if isinstance(padding, bytes):
            padding = padding.decode("utf8", "replace")
        if not isinstance(padding, str):
            return [(n, n) for n in self._pair("padding", 0)]
        if padding != "valid" and not (padding == "same" and self.stride == (1, 1)):
            raise self.node.error(f" has padding {padding!r} and stride {self.stride}")
        total = [r - 1 if padding == "same" else 0 for r in self.reach]
        return [(t // 2, t - t // 2) for t in total]

    def step(self) -> Step:
        """The function of a step, on ``[sample, *before]``."""
        weight, groups, (down, right), (rows, columns) = self.weight, self.groups, self.stride, self.dilation
        if weight is not None:
            bias = self.node.spread("bias", (len(weight),))[:, None, None]
            weight = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])

        def step(x: Array) -> Array:
            maps = np.pad(x[:, :, None] if self.flat else x, [(0, 0), (0, 0), *self.margin])
            windows = sliding_window_view(maps, self.reach, axis=(2, 3))[:, :, ::down, ::right, ::rows, ::columns]
            if weight is None:
                sums = windows.sum((4, 5)) * self.mean
            else:
                parts = windows.reshape(len(x), groups, -1, *windows.shape[2:])
                sums = np.einsum("ngivuac,goiac->ngovu", parts, weight, optimize=True)
                sums = sums.reshape(len(x), -1, *sums.shape[3:]) + bias
            return np.asarray(sums.reshape(len(x), *self.after))

        return step
