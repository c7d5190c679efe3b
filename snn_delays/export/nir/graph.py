"""A NIR graph of any tool as plain nodes and edges: nested graphs flattened, every field checked where it is read."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ConfigError, DataError

Array = NDArray[np.float64]
Shape = tuple[int, ...]
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
ELEMENTWISE = {**FIELDS, "Delay": ("delay",), "Scale": ("scale",), "Threshold": ("threshold",)}
KNOWN = ("Input", "Output", "Linear", "Affine", "Conv1d", "Conv2d", "SumPool2d", "AvgPool2d", "Flatten", *ELEMENTWISE)
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
        """What the node has beside its fields."""
        return mapping(getattr(self.raw, "metadata", None))

    def error(self, text: str) -> DataError:
        """An error that names the node; ``text`` begins with what follows the name."""
        return DataError(f"node {self.name!r}{text}")

    def numbers(self, key: str) -> Array:
        """A field as finite numbers in float64. Raises DataError if it is not there or is something else."""
        value = getattr(self.raw, key, None)
        try:
            array = np.asarray(value)
            if array.dtype.kind not in "biuf":
                raise TypeError
            array = array.astype(np.float64)
        except (TypeError, ValueError):
            raise self.error(f" ({self.kind}) has {'no' if value is None else 'not numbers in'} {key}") from None
        if bad := int((~np.isfinite(array)).sum()):
            raise self.error(f": {bad} of {array.size} values of {key} are not finite")
        if not array.size:
            raise self.error(f" ({self.kind}) has an empty {key}")
        return array

    def spread(self, key: str, shape: Shape, axes: bool = True) -> Array:
        """A field over a shape: one number for all, or one for each whatever axes of length 1 there are.

        ``axes`` false: however the field's numbers are arranged. Raises DataError for another number of them.
        """
        values = self.numbers(key) if axes else self.numbers(key).reshape(-1)
        if values.size == 1:
            return np.full(shape, values.reshape(-1)[0])
        if long_axes(values.shape) != long_axes(shape):
            raise self.error(f" ({self.kind}) has {key} of shape {list(values.shape)} for {list(shape)}")
        return values.reshape(shape)

    def time_constants(self, key: str, dt: float) -> Array:
        """Time constants, none shorter than a step. Raises DataError for those that are."""
        tau = self.numbers(key)
        if not (tau >= dt * (1 - PRECISION)).all():
            raise self.error(
                f" has {key} {tau.min():g}, shorter than a step of {dt:g}; both in the graph's unit of time: pass the "
                "graph's own dt, or its unit"
            )
        return tau

    def delay_steps(self, size: int, dt: float, most: float = np.inf) -> Array:
        """The delays of a Delay of ``size`` channels, in steps. Raises DataError for any but integers to ``most``."""
        delay = self.spread("delay", (size,), axes=False)
        steps = np.rint(delay / dt)
        # To the precision of float32, in which other tools keep times.
        odd = ~np.isclose(delay / dt, steps, rtol=PRECISION, atol=PRECISION) | (steps < 0) | (steps > most)
        if odd.any():
            raise self.error(
                f": {int(odd.sum())} of {size} delays are not integer steps >= 0 of {dt:g}, as "
                f"{float(delay[odd][0]):g}; pass the dt_ms the graph was made with"
            )
        return steps

    def integers(self, key: str, least: int, pair: bool = False) -> tuple[int, ...]:
        """A field of integers from ``least`` on: one, or with ``pair`` two, of which one may stand for both."""
        values = self.numbers(key).reshape(-1)
        lengths = (1, 2) if pair else (1,)
        if len(values) not in lengths or (values != np.rint(values)).any() or not least <= values.min() <= 2**31:
            raise self.error(f" ({self.kind}) has {key} {values[:4].tolist()}, expected integers")
        return tuple(int(n) for n in (np.repeat(values, 2) if pair and len(values) == 1 else values))

    def shape(self) -> Shape | None:
        """The shape that an Input or Output declares, or None."""
        for types in (getattr(self.raw, "input_type", None), getattr(self.raw, "output_type", None)):
            for value in mapping(types).values():
                if value is None:
                    continue
                sizes = np.asarray(value)
                if sizes.ndim > 1 or not sizes.size or sizes.dtype.kind not in "iu" or (sizes < 1).any():
                    raise self.error(" has a shape that is not of integers from 1 on")
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
        metadata = {**self.metadata, **node.metadata}
        if (operation := metadata.get("threshold_op", "gt")) not in ("gt", "ge"):
            raise node.error(f" has threshold_op {operation!r}, expected 'gt' or 'ge'")
        named = metadata.get("reset", reset or "hard")
        if named not in RESETS:
            raise node.error(f" asks for a {named!r} reset, known are {', '.join(RESETS)}")
        if reset not in (None, named):
            raise node.error(f" says that its reset is {named!r}, and reset={reset!r} was passed")
        return operation == "gt", str(named)

    def number(self, key: str) -> float | None:
        """A number in the metadata, or None. Raises DataError for what is none."""
        if (value := self.metadata.get(key)) is None:
            return None
        try:
            return float(value)
        except (TypeError, ValueError):
            raise DataError(f"the graph's metadata have {key} {value!r}, expected a number") from None


def mapping(value: Any) -> Mapping[str, Any]:
    """A mapping, or an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def long_axes(shape: Shape) -> list[int]:
    """The axes of a shape that are not of length 1."""
    return [n for n in shape if n != 1]


def flat(graph: Any, reset: str | None) -> Graph:
    """A graph with those nested in it flattened.

    Edges that close a loop through one population's synapses without a Delay take a step, as every tool that writes
    such graphs has it: what a neuron puts out comes back no earlier.

    A graph without Input gets one before the node that nothing leads to.

    Raises DataError for nodes of kinds that no interpreter here has, edges that are none or lead nowhere, nodes that
    nothing leads to, not exactly one Input; ConfigError for a ``reset`` that is not known.
    """
    if reset not in (None, *RESETS):
        raise ConfigError(f"reset must be one of {', '.join(RESETS)} or None, got {reset!r}")
    nodes: dict[str, Node] = {}
    edges: list[tuple[str, str]] = []
    entry, _ = _collect(graph, "", nodes, edges)
    sources: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        if source in sources[target]:
            raise DataError(f"the edge from {source!r} to {target!r} is there twice")
        sources[target].append(source)
    if nodes[entry].kind != "Input":
        entry, first = free_name("input", nodes), entry
        nodes[entry] = Node(entry, "Input", None)
        sources = {entry: [], **sources}
        sources[first] = [entry, *sources[first]]
    alone = [name for name, inputs in sources.items() if not inputs and name != entry]
    if alone:
        raise DataError(f"no edge leads to node {alone[0]!r}")
    for node in nodes.values():
        if node.kind not in KNOWN and node.kind != THROUGH:
            raise node.error(f" is a {node.kind}; known are {', '.join(KNOWN)} and nested graphs")
    return Graph(nodes, sources, entry, mapping(getattr(graph, "metadata", None)), frozenset(_lagging(nodes, edges)))


def _collect(graph: Any, prefix: str, nodes: dict[str, Node], edges: list[tuple[str, str]]) -> tuple[str, str]:
    """Add a graph's nodes and edges; returns the nodes that its input enters and its output leaves."""
    where = f"the graph {prefix[:-1]!r}" if prefix else "the graph"
    if prefix.count(".") > _DEEPEST:
        raise DataError(f"{where[:60]} is nested more than {_DEEPEST} deep")
    inner = getattr(graph, "nodes", None)
    if not isinstance(inner, Mapping) or not inner or not all(isinstance(name, str) for name in inner):
        raise DataError(f"{where} has no nodes by name")
    kinds: dict[str, str] = {}
    ends: dict[str, tuple[str, str]] = {}
    for name, raw in inner.items():
        full, kind = prefix + name, type(raw).__name__
        if kind == "NIRGraph":
            ends[name] = _collect(raw, f"{full}.", nodes, edges)
        elif full in nodes:
            raise DataError(f"two nodes would be called {full!r}; rename one")
        else:
            kinds[name], ends[name] = kind, (full, full)
            nodes[full] = Node(full, THROUGH if prefix and kind in ("Input", "Output") else kind, raw)
    pairs = getattr(graph, "edges", None)
    if not isinstance(pairs, list | tuple | set):
        raise DataError(f"{where} has no list of edges")
    for edge in pairs:
        if not isinstance(edge, list | tuple) or len(edge) != 2 or not all(isinstance(end, str) for end in edge):
            raise DataError(f"{where} has an edge {edge!r}, expected the names of two nodes")
        source, target = edge
        if source not in ends or target not in ends:
            raise DataError(f"the edge from {source!r} to {target!r} leads from or to no node of {where}")
        if kinds.get(source) == "Output" or kinds.get(target) == "Input":
            raise DataError(f"the edge from {source!r} to {target!r} leaves an Output or enters an Input")
        edges.append((ends[source][1], ends[target][0]))
    starts, targets = {source for source, _ in pairs}, {target for _, target in pairs}
    first = _end(where, "Input", kinds, [name for name in ends if name not in targets])
    if not prefix:
        return ends[first][0], ""
    last = _end(where, "Output", kinds, [name for name in ends if name not in starts])
    return ends[first][0], ends[last][1]


def _end(where: str, kind: str, kinds: dict[str, str], loose: list[str]) -> str:
    """The one Input or Output of a graph; where it has none, the one node without edges on that side."""
    names = [name for name, its in kinds.items() if its == kind] or loose
    if len(names) != 1:
        raise DataError(f"{where} has {len(names)} {kind} nodes, expected one")
    return names[0]


def _lagging(nodes: dict[str, Node], edges: list[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """In each loop of one population without a Delay, the first edge after which all leads back to it."""
    targets: dict[str, list[str]] = {name: [] for name in nodes}
    for source, target in edges:
        targets[source].append(target)

    def ends(name: str) -> set[str]:
        """Where a node leads, through nodes without state."""
        last, seen, ahead = set(), {name}, [name]
        while ahead:
            here = ahead.pop()
            if nodes[here].kind in FIELDS or nodes[here].kind == "Delay" or not targets[here]:
                last.add(here)
                continue
            ahead += [target for target in targets[here] if target not in seen]
            seen.update(targets[here])
        return last

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


def ordered(sources: Mapping[str, Iterable[str]], cycle: str) -> list[str]:
    """Nodes so that each comes after its sources. Raises DataError with the nodes of a cycle in the text ``cycle``."""
    try:
        return list(TopologicalSorter(sources).static_order())
    except CycleError as error:
        raise DataError(cycle.format(", ".join(error.args[1][:-1]))) from None


def free_name(name: str, taken: Container[str]) -> str:
    """A name for a node that no other has."""
    return name if name not in taken else free_name(f"{name}_", taken)
