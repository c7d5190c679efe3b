"""What each kind of NIR node does in a step, in numpy: equations of nir 1.0.8, stepped by forward Euler."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from snn_delays.errors import DataError
from snn_delays.export.nir.graph import FIELDS, THROUGH, Array, Graph, Node

Shape = tuple[int, ...]
Step = Callable[[Array], Array]
ELEMENTWISE: dict[str, tuple[str, ...]] = {
    **FIELDS,
    "Delay": ("delay",),
    "Scale": ("scale",),
    "Threshold": ("threshold",),
}
KNOWN = ("Input", "Output", "Linear", "Affine", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", *ELEMENTWISE)


def check_known(node: Node) -> None:
    """Raise DataError for a node that no interpreter here has."""
    if node.kind not in KNOWN and node.kind != THROUGH:
        raise DataError(f"node {node.name!r} is a {node.kind}; known are {', '.join(KNOWN)} and nested graphs")


def shape_behind(node: Node, before: Shape | None) -> Shape | None:
    """The shape that a node puts out, given what it takes; None while that is not known."""
    if node.kind in ("Linear", "Affine"):
        return (_matrix(node).shape[0],)
    if node.kind in ELEMENTWISE:
        own = _own_shape(node)
        return own if int(np.prod(own)) > 1 or before is None else before
    if before is None or node.kind in ("Input", "Output", THROUGH):
        return before
    if node.kind == "Flatten":
        start, end = _span(node, len(before))
        return (*before[:start], int(np.prod(before[start : end + 1])), *before[end + 1 :])
    return _Window(node, before).behind


def shape_before(node: Node, before: Shape, behind: Shape) -> Shape:
    """The shape in which a node takes what comes from before it."""
    if node.kind in ("Linear", "Affine"):
        return (_matrix(node).shape[1],)
    return behind if node.kind in ELEMENTWISE else before


def step_of(node: Node, graph: Graph, before: Shape, behind: Shape, dt: float, reset: str | None) -> Step:
    """What a node does in one step to ``[sample, *before]``; its state lives in the function. Not for Delay."""
    kind = node.kind
    if kind in ("Linear", "Affine"):
        return _linear(node)
    if kind == "Scale":
        scale = _each(node, "scale", behind)
        return lambda x: x * scale
    if kind == "Threshold":
        threshold = _each(node, "threshold", behind)
        return lambda x: np.asarray(x > threshold, np.float64)
    if kind == "Flatten":
        return lambda x: x.reshape(len(x), *behind)
    if kind in ("Conv1d", "Conv2d", "SumPool2d", "AvgPool2d"):
        return _Window(node, before).step()
    if kind in FIELDS:
        return _neurons(node, graph, behind, dt, reset)
    return lambda x: x


def _matrix(node: Node) -> Array:
    weight = node.numbers("weight")
    if weight.ndim != 2:
        raise DataError(f"node {node.name!r} has weights of shape {list(weight.shape)}, expected [target, source]")
    return weight


def _linear(node: Node) -> Step:
    by_source = np.ascontiguousarray(_matrix(node).T)
    constant = node.numbers("bias") if node.kind == "Affine" else np.zeros(1)
    if node.kind == "Affine" and constant.shape != by_source.shape[1:]:
        raise DataError(f"node {node.name!r} has {by_source.shape[1]} outputs and a bias of {list(constant.shape)}")

    def step(x: Array) -> Array:
        active = np.flatnonzero(x.any(0))  # few: most copies of most spikes are silent
        return np.asarray(x[:, active] @ by_source[active] + constant)

    return step


def _own_shape(node: Node) -> Shape:
    """The shape of a node's fields; NIR asks for one, files in use have single numbers beside it."""
    shapes = [node.numbers(key).shape for key in ELEMENTWISE[node.kind]]
    try:
        return tuple(np.broadcast_shapes(*shapes))
    except ValueError:
        raise DataError(f"node {node.name!r} ({node.kind}) has fields of shapes that do not fit each other") from None


def _each(node: Node, key: str, shape: Shape) -> Array:
    """A field as one number for each neuron."""
    return spread(node, key, node.numbers(key), shape)


def spread(node: Node, key: str, values: Array, shape: Shape) -> Array:
    """Numbers of a field over a shape: one for all, or one for each whatever axes of length 1 there are."""
    if values.size == 1:
        return np.full(shape, values.reshape(-1)[0])
    if [n for n in values.shape if n != 1] != [n for n in shape if n != 1]:
        raise DataError(f"node {node.name!r} ({node.kind}) has {key} of shape {list(values.shape)} for {list(shape)}")
    return values.reshape(shape)


def _neurons(node: Node, graph: Graph, shape: Shape, dt: float, reset: str | None) -> Step:
    values = {key: _each(node, key, shape) for key in FIELDS[node.kind]}
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
    found = []
    for key in ("start_dim", "end_dim"):
        value = node.numbers(key).reshape(-1)
        place = value[0] + (axes if value[0] < 0 else 0)
        if len(value) != 1 or place != np.rint(place) or not 0 <= place < axes:
            raise DataError(f"node {node.name!r} (Flatten) has {key} {value[:4].tolist()}, its input has {axes} axes")
        found.append(int(place))
    if found[0] > found[1]:
        raise DataError(f"node {node.name!r} (Flatten) ends before it starts")
    return found[0], found[1]


class _Window:
    """Convolutions and pooling over ``[channel, y, x]`` (``[channel, x]`` for Conv1d, here with one row)."""

    def __init__(self, node: Node, before: Shape) -> None:
        self.node, self.flat = node, node.kind == "Conv1d"
        if len(before) != (2 if self.flat else 3):
            axes = "[channel, x]" if self.flat else "[channel, y, x]"
            raise DataError(f"node {node.name!r} ({node.kind}) takes {axes}, the node before it has {list(before)}")
        channels, *size = (before[0], 1, before[1]) if self.flat else before
        self.weight = self._weight() if node.kind.startswith("Conv") else None
        if self.weight is None:
            self.kernel, self.dilation, self.groups, out = self._pair("kernel_size", 1), (1, 1), 1, channels
        else:
            self.kernel, self.dilation = self.weight.shape[2:], self._pair("dilation", 1)
            (self.groups,) = node.whole("groups", 1)
            out = self.weight.shape[0]
            if out % self.groups or channels != self.weight.shape[1] * self.groups:
                raise DataError(
                    f"node {node.name!r} has weights of shape {list(self.weight.shape)} in {self.groups} groups, the "
                    f"node before it has {channels} channels"
                )
        self.stride = self._pair("stride", 1)
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation)]
        self.margin = self._margin(reach)
        places = [(n + sum(m) - r) // s + 1 for n, m, r, s in zip(size, self.margin, reach, self.stride)]
        if min(places) < 1:
            raise DataError(f"node {node.name!r} has a window of {reach} for an input of {list(before)}")
        self.behind: Shape = (out, places[1]) if self.flat else (out, *places)

    def _weight(self) -> Array:
        weight = self.node.numbers("weight")
        if weight.ndim != (3 if self.flat else 4):
            raise DataError(f"node {self.node.name!r} ({self.node.kind}) has weights of shape {list(weight.shape)}")
        return weight[:, :, None] if self.flat else weight

    def _pair(self, key: str, least: int) -> tuple[int, int]:
        given = self.node.whole(key, least, pair=not self.flat)
        return (least, given[0]) if self.flat else (given[0], given[1])

    def _margin(self, reach: list[int]) -> list[tuple[int, int]]:
        padding = getattr(self.node.raw, "padding", None)
        if isinstance(padding, bytes):
            padding = padding.decode("utf8", "replace")
        if not isinstance(padding, str):
            given = self._pair("padding", 0)
            return [(given[0], given[0]), (given[1], given[1])]
        if padding != "valid" and not (padding == "same" and self.stride == (1, 1)):
            raise DataError(f"node {self.node.name!r} has padding {padding!r} and stride {self.stride}")
        total = [r - 1 if padding == "same" else 0 for r in reach]
        return [(t // 2, t - t // 2) for t in total]

    def step(self) -> Step:
        """The function of a step, on ``[sample, *before]``."""
        reach = [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation)]
        weight, groups = self.weight, self.groups
        bias = None
        if weight is not None:
            bias = spread(self.node, "bias", self.node.numbers("bias"), (len(weight),))[:, None, None]
            weight = weight.reshape(groups, len(weight) // groups, *weight.shape[1:])
        mean = 1 / int(np.prod(self.kernel)) if self.node.kind == "AvgPool2d" else 1.0

        def step(x: Array) -> Array:
            maps = x[:, :, None] if self.flat else x
            maps = np.pad(maps, [(0, 0), (0, 0), *self.margin])
            windows = sliding_window_view(maps, reach, axis=(2, 3))
            windows = windows[:, :, :: self.stride[0], :: self.stride[1], :: self.dilation[0], :: self.dilation[1]]
            if weight is None:
                made = windows.sum((4, 5)) * mean
            else:
                parts = windows.reshape(len(x), groups, -1, *windows.shape[2:])
                made = np.einsum("ngivuac,goiac->ngovu", parts, weight, optimize=True)
                made = made.reshape(len(x), -1, *made.shape[3:]) + bias
            return np.asarray(made.reshape(len(x), *self.behind))

        return step
