"""The shapes of a NIR graph, found from the nodes' numbers: what graphs in use declare is often missing or wrong."""

from __future__ import annotations

import numpy as np

from snn_delays.errors import DataError
from snn_delays.export.nir.graph import Graph
from snn_delays.export.nir.nodes import Shape, shape_before, shape_behind


def shapes_of(graph: Graph, given: Shape | None) -> tuple[dict[str, Shape], dict[str, Shape]]:
    """What every node takes and what it puts out, without time and samples; ``given`` is what the Input puts out.

    Raises DataError where nothing says a shape, or two do not fit.
    """
    behind = _behind(graph, given)
    before = {}
    for name, node in graph.nodes.items():
        sources = graph.sources[name]
        before[name] = shape_before(node, behind[sources[0]] if sources else behind[name], behind[name])
        for source in sources:
            shape, wanted = behind[source], before[name]
            flattened = graph.nodes[source].kind == "Flatten" and len(wanted) == 1
            # Some tools write axes of length 1 for time and batch.
            if np.prod(shape) != np.prod(wanted) or not (flattened or _long(shape) == _long(wanted)):
                raise DataError(
                    f"node {name!r} takes {_text(wanted)}, a node before it, {source!r}, has {_text(shape)}"
                )
    return before, behind


def _behind(graph: Graph, given: Shape | None) -> dict[str, Shape]:
    """What every node puts out; loops are why it cannot be found in one pass."""
    given = _first(graph) if given is None else given
    found: dict[str, Shape] = {graph.entry: given}
    while len(found) < len(graph.nodes):
        known = len(found)
        for name, node in graph.nodes.items():
            before = next((found[source] for source in graph.sources[name] if source in found), None)
            shape = None if name in found else shape_behind(node, before)
            # A single number is spread over what comes from before.
            if shape is not None and (before is not None or int(np.prod(shape)) > 1):
                found[name] = shape
        if len(found) == known:
            missing = next(name for name in graph.nodes if name not in found)
            raise DataError(f"nothing says what shape node {missing!r} has")
    return found


def _first(graph: Graph) -> Shape:
    """What the Input puts out where it does not say: what a node after it takes."""
    for name, node in graph.nodes.items():
        if graph.entry in graph.sources[name] and (behind := shape_behind(node, None)) is not None:
            return shape_before(node, behind, behind)
    raise DataError(f"nothing says what shape node {graph.entry!r} has")


def _long(shape: Shape) -> list[int]:
    return [n for n in shape if n != 1]


def _text(shape: Shape) -> str:
    return f"{shape[0]} channels" if len(shape) == 1 else str(list(shape))
