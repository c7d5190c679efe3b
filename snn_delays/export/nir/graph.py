"""A NIR graph of any tool as plain nodes and edges: nested graphs flattened, every field checked where it is read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ConfigError, DataError

Array = NDArray[np.float64]
RESETS = ("hard", "soft", "soft_late")
# Fields of the nodes with a state, all of them one number for each neuron.
FIELDS: dict[str, tuple[str, ...]] = {
    "LIF": ("tau", "r", "v_leak", "v_threshold", "v_reset"),
    "LI": ("tau", "r", "v_leak"),
    "IF": ("r", "v_threshold", "v_reset"),
    "I": ("r",),
    "CubaLIF": ("tau_mem", "tau_syn", "r", "v_leak", "v_threshold", "v_reset", "w_in"),
    "CubaLI": ("tau_mem", "tau_syn", "r", "v_leak", "w_in"),
}
# To which two numbers of other tools are one: they may keep float32.
PRECISION = 1e-6
THROUGH = "Through"  # an Input or Output of a nested graph
_DEEPEST = 32


@dataclass(frozen=True)
class Node:
    """A node under its full name, ``outer.inner`` in nested graphs."""

    name: str
    kind: str
    raw: Any

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What the node says beside its fields."""
        return mapping(getattr(self.raw, "metadata", None))

    def numbers(self, key: str) -> Array:
        """A field as finite numbers in float64. Raises DataError if it is not there or is something else."""
        value = getattr(self.raw, key, None)
        try:
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            what = "no" if value is None else "not numbers in"
            raise DataError(f"node {self.name!r} ({self.kind}) has {what} {key}") from None
        if bad := int((~np.isfinite(array)).sum()):
            raise DataError(f"node {self.name!r}: {bad} of {array.size} values of {key} are not finite")
        if not array.size:
            raise DataError(f"node {self.name!r} ({self.kind}) has an empty {key}")
        return array

    def time_constants(self, key: str, dt: float) -> Array:
        """Time constants, none shorter than a step. Raises DataError for those that are."""
        tau = self.numbers(key)
        if not (tau >= dt * (1 - PRECISION)).all():
            raise DataError(
                f"node {self.name!r} has {key} {tau.min():g}, shorter than a step of {dt:g}; both in the graph's unit "
                "of time: pass the graph's own dt, or its unit"
            )
        return tau

    def whole(self, key: str, least: int, pair: bool = False) -> tuple[int, ...]:
        """A field of integers from ``least`` on: one, or with ``pair`` two, of which one may stand for both."""
        values = self.numbers(key).reshape(-1)
        wanted = (1, 2) if pair else (1,)
        if len(values) not in wanted or (values != np.rint(values)).any() or not least <= values.min() <= 2**31:
            raise DataError(f"node {self.name!r} ({self.kind}) has {key} {values[:4].tolist()}, expected integers")
        return tuple(int(n) for n in (np.repeat(values, 2) if pair and len(values) == 1 else values))

    def shape(self) -> tuple[int, ...] | None:
        """The shape that an Input or Output declares, or None."""
        for types in (getattr(self.raw, "input_type", None), getattr(self.raw, "output_type", None)):
            for value in mapping(types).values():
                if value is None:
                    continue
                sizes = np.asarray(value)
                if sizes.ndim > 1 or not sizes.size or sizes.dtype.kind not in "iu" or (sizes < 1).any():
                    raise DataError(f"node {self.name!r} has a shape that is not of integers from 1 on")
                return tuple(int(n) for n in sizes.reshape(-1))
        return None


@dataclass(frozen=True)
class Graph:
    """Nodes by name, the sources of each, the node that the input enters, and the edges that take a step."""

    nodes: dict[str, Node]
    sources: dict[str, list[str]]
    entry: str
    metadata: Mapping[str, Any]
    lagging: frozenset[tuple[str, str]]

    def firing(self, node: Node, reset: str | None) -> tuple[bool, str]:
        """Whether neurons fire only above the threshold, and their reset: what metadata say, else NIR or ``reset``."""
        said = {**self.metadata, **node.metadata}
        if (operation := said.get("threshold_op", "gt")) not in ("gt", "ge"):
            raise DataError(f"node {node.name!r} has threshold_op {operation!r}, expected 'gt' or 'ge'")
        named = said.get("reset", reset or "hard")
        if named not in RESETS:
            raise DataError(f"node {node.name!r} asks for a {named!r} reset, known are {', '.join(RESETS)}")
        if reset not in (None, named):
            raise DataError(f"node {node.name!r} says that its reset is {named!r}, and reset={reset!r} was passed")
        return operation == "gt", str(named)


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, or an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def number(metadata: Mapping[str, Any], key: str) -> float | None:
    """A number in metadata, or None. Raises DataError for what is none."""
    if (value := metadata.get(key)) is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        raise DataError(f"the graph's metadata have {key} {value!r}, expected a number") from None


def check_reset(reset: str | None) -> None:
    """Raise ConfigError for a reset that is not known."""
    if reset is not None and reset not in RESETS:
        raise ConfigError(f"reset must be one of {', '.join(RESETS)} or None, got {reset!r}")


def flat(graph: Any) -> Graph:
    """A graph with those nested in it flattened.

    Edges that close a loop through one population's synapses without a Delay take a step, as every tool that writes
    such graphs has it: what a neuron puts out comes back no earlier.

    A graph without Input gets one before the node that nothing leads to.

    Raises DataError for nodes or edges that are none, edges to nowhere, nodes that nothing leads to, not exactly one
    Input.
    """
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    entry, _ = _collect(graph, "", nodes, edges)
    sources: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        if source in sources[target]:
            raise DataError(f"the edge from {source!r} to {target!r} is there twice")
        sources[target].append(source)
    if nodes[entry].kind != "Input":
        entry, first = _free("input", nodes), entry
        nodes[entry] = Node(entry, "Input", None)
        sources = {entry: [], **sources}
        sources[first] = [entry, *sources[first]]
    alone = [name for name, inputs in sources.items() if not inputs and name != entry]
    if alone:
        raise DataError(f"no edge leads to node {alone[0]!r}")
    return Graph(nodes, sources, entry, mapping(getattr(graph, "metadata", None)), frozenset(_lagging(nodes, edges)))


def _collect(graph: Any, prefix: str, nodes: dict[str, Node], edges: list[tuple[str, str]]) -> tuple[str, str]:
    """Add a graph's nodes and edges; returns the nodes that its input enters and its output leaves."""
    where = f"the graph {prefix[:-1]!r}" if prefix else "the graph"
    if prefix.count(".") > _DEEPEST:
        raise DataError(f"{where[:60]} is nested more than {_DEEPEST} deep")
    given = getattr(graph, "nodes", None)
    if not isinstance(given, Mapping) or not given or not all(isinstance(name, str) for name in given):
        raise DataError(f"{where} has no nodes by name")
    own: dict[str, str] = {}
    ends: dict[str, tuple[str, str]] = {}
    for name, raw in given.items():
        full, kind = prefix + name, type(raw).__name__
        if kind == "NIRGraph":
            ends[name] = _collect(raw, f"{full}.", nodes, edges)
        elif full in nodes:
            raise DataError(f"two nodes would be called {full!r}; rename one")
        else:
            own[name], ends[name] = kind, (full, full)
            nodes[full] = Node(full, THROUGH if prefix and kind in ("Input", "Output") else kind, raw)
    targets, starts = set(), set()
    for source, target in _edges(graph, where):
        if source not in ends or target not in ends:
            raise DataError(f"the edge from {source!r} to {target!r} leads from or to no node of {where}")
        if own.get(source) == "Output" or own.get(target) == "Input":
            raise DataError(f"the edge from {source!r} to {target!r} leaves an Output or enters an Input")
        edges.append((ends[source][1], ends[target][0]))
        targets.add(target)
        starts.add(source)
    first = _end(where, "Input", own, [name for name in ends if name not in targets])
    if not prefix:
        return ends[first][0], ""
    last = _end(where, "Output", own, [name for name in ends if name not in starts])
    return ends[first][0], ends[last][1]


def _edges(graph: Any, where: str) -> Iterator[tuple[str, str]]:
    given = getattr(graph, "edges", None)
    if not isinstance(given, list | tuple | set):
        raise DataError(f"{where} has no list of edges")
    for edge in given:
        if not isinstance(edge, list | tuple) or len(edge) != 2 or not all(isinstance(end, str) for end in edge):
            raise DataError(f"{where} has an edge {edge!r}, expected the names of two nodes")
        yield edge[0], edge[1]


def _end(where: str, kind: str, own: dict[str, str], loose: list[str]) -> str:
    """The one Input or Output of a graph; where it has none, the one node without edges on that side."""
    found = [name for name, its in own.items() if its == kind] or loose
    if len(found) != 1:
        raise DataError(f"{where} has {len(found)} {kind} nodes, expected one")
    return found[0]


def _lagging(nodes: dict[str, Node], edges: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """In each loop of one population without a Delay, the first edge after which all leads back to it."""
    targets: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        targets[source].append(target)

    def ends(name: str) -> set[str]:
        """Where a node leads, through nodes without state."""
        found, seen, ahead = set(), {name}, [name]
        while ahead:
            here = ahead.pop()
            if nodes[here].kind in FIELDS or nodes[here].kind == "Delay" or not targets[here]:
                found.add(here)
                continue
            ahead += [target for target in targets[here] if target not in seen]
            seen.update(targets[here])
        return found

    for neuron in [name for name, node in nodes.items() if node.kind in FIELDS]:
        ahead, seen = [neuron], {neuron}
        while ahead:
            here = ahead.pop()
            for target in targets[here]:
                reached = {neuron} if target == neuron else ends(target)
                if reached == {neuron}:
                    yield here, target
                elif neuron in reached and target not in seen:
                    seen.add(target)
                    ahead.append(target)


def _free(name: str, taken: Mapping[str, Any]) -> str:
    return name if name not in taken else _free(f"{name}_", taken)
