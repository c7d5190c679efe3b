"""The shapes of a NIR graph, found from the nodes' numbers: what graphs in use declare is often missing or wrong."""

from __future__ import annotations

import numpy as np

from snn_delays.errors import DataError
from snn_delays.export.nir.graph import Graph, Shape, long_axes
from snn_delays.export.nir.nodes import shape_after, shape_before


def shapes_of(graph: Graph, given: Shape | None) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """What every node takes and what it puts out, without time and samples; ``given`` is what the Input puts out.

    Raises DataError where nothing says a shape, or two do not fit.
    """
    after, before = _after(graph, given), {}
    for name, node in graph.nodes.items():
        sources = graph.sources[name]
        before[name] = shape_before(node, after[sources[0]] if sources else after[name], after[name])
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
            shape = None if name in shapes else shape_after(node, before)
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
        if graph.entry in graph.sources[name] and (after := shape_after(node, None)) is not None:
            return shape_before(node, after, after)
    raise DataError(f"nothing says what shape node {graph.entry!r} has")


def _text(shape: Shape) -> str:
    return f"{shape[0]} channels" if len(shape) == 1 else str(list(shape))
