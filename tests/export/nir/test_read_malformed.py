"""Graphs with fields dropped, mangled or of another type: a clear error or a result, never a raw Python error."""

import copy
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from snn_delays.errors import SnnDelaysError
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.read import from_nir
from snn_delays.export.nir.write import read_nir, to_nir
from tests.support.nir_networks import canonical_of

ABSENT = object()
WRONG: tuple[Any, ...] = (
    ABSENT, None, "x", b"same", 3, -1.0, 10**400, [], {}, ["a", "b"], [[1], [2, 3]], np.array("x"), np.zeros(0),
    np.zeros(3), np.full(2, np.nan), np.ones((2, 2, 2)), np.array([None]), np.array(1j), object(), {"input": None},
    {"input": "x"}, {"output": [0]}, np.array([-1]), np.array([2**62]),
)  # fmt: skip


def graphs() -> dict[str, tuple[nir.NIRGraph, tuple[int, ...]]]:
    one = np.ones(4)
    cuba = nir.CubaLIF(tau_mem=one * 3, tau_syn=one * 2, r=one, v_leak=one * 0, v_threshold=one)
    pairs, none = [np.array([2, 2])] * 2, np.array([0, 0])
    maps = nir.NIRGraph.from_list(
        nir.Conv2d((6, 6), np.ones((2, 1, 3, 3)), 1, 0, 1, 1, np.zeros(2)), nir.SumPool2d(*pairs, none),
        nir.Flatten({"input": np.array([2, 2, 2])}, 0, -1), nir.Affine(np.ones((4, 8)), one), nir.Scale(one),
        nir.Threshold(one), cuba, nir.Linear(np.eye(4)), nir.IF(one, one), nir.I(one),
        nir.CubaLI(one * 3, one * 2, one, one * 0),
    )  # fmt: skip
    sub = nir.NIRGraph.from_list(nir.Delay(one), nir.Linear(np.eye(4)), nir.LIF(one * 3, one * 3, one * 0, one))
    nodes = {"input": nir.Input(np.array([4])), "sub": sub}
    nodes |= {"rec": nir.Linear(np.eye(4)), "li": nir.LI(one * 3, one, one * 0), "output": nir.Output(np.array([4]))}
    edges = [("input", "sub"), ("sub", "rec"), ("rec", "sub"), ("sub", "li"), ("li", "output")]
    line = np.ones((2, 1, 3))
    conv1d = nir.NIRGraph.from_list(nir.Conv1d(8, line, 1, 0, 1, 1, np.zeros(2)))
    pool = nir.AvgPool2d(*pairs, none)
    ends = {"input": nir.Input(np.array([1, 4, 4])), "pool": pool, "output": nir.Output(np.array([1, 2, 2]))}
    return {
        "ours": (to_nir(canonical_of(max_delay_steps=2, norm=True, recurrent=True)), (14,)),
        "maps": (maps, (1, 6, 6)),
        "nested": (nir.NIRGraph(nodes, edges), (4,)),
        "conv1d": (conv1d, (1, 8)),
        "pool": (nir.NIRGraph(ends, [("input", "pool"), ("pool", "output")], type_check=False), (1, 4, 4)),
    }


def message_of(call: Callable[[], Any]) -> str | None:
    """What an error that the package means says; no other may come."""
    try:
        call()
    except SnnDelaysError as error:
        return str(error)
    return None


def run(graph: Any, shape: tuple[int, ...]) -> None:
    """Only errors that the package means may come."""
    calls = (
        lambda: interpret(graph, np.ones((3, *shape)), dt=0.5),
        lambda: interpret(graph, np.ones((3, *shape))),
        lambda: from_nir(graph, dt_ms=0.5, time_unit="ms"),
        lambda: from_nir(graph, reset="soft_late"),
    )
    for call in calls:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            message = message_of(call)
        assert message is None or (message and "\n" not in message), message


def places(graph: nir.NIRGraph, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Every field of every node, and of the graph itself."""
    for key in ("nodes", "edges", "metadata"):
        yield path, key
    for name, node in graph.nodes.items():
        if isinstance(node, nir.NIRGraph):
            yield from places(node, (*path, name))
        else:
            for key in vars(node):
                yield (*path, name), key


@pytest.mark.parametrize("name", list(graphs()))
def test_fields_that_are_missing_or_something_else(name: str) -> None:
    graph, shape = graphs()[name]
    interpret(graph, np.ones((3, *shape)), dt=2.5e-3 if name == "ours" else 0.5)
    everything = list(places(graph))
    if name == "ours":  # many nodes of a kind
        everything = [place for i, place in enumerate(everything) if i % 6 == 0 or not place[0]]
    for path, key in everything:
        for wrong in WRONG:
            changed = copy.deepcopy(graph)
            node = changed
            for step in path:
                node = node.nodes[step]
            if wrong is ABSENT:
                delattr(node, key)
            else:
                setattr(node, key, wrong)
            run(changed, shape)


@pytest.mark.parametrize("name", list(graphs()))
def test_nodes_and_edges_that_are_missing_doubled_or_something_else(name: str) -> None:
    graph, shape = graphs()[name]
    names = list(graph.nodes)
    for i, one in enumerate(names[:12]):
        changed = copy.deepcopy(graph)
        del changed.nodes[one]
        run(changed, shape)
        changed.edges = [edge for edge in changed.edges if one not in edge]
        run(changed, shape)
        for other in (None, 3, "x", nir.Linear, graph.nodes[names[i - 1]], graph.nodes[names[i - 2]], object()):
            changed = copy.deepcopy(graph)
            changed.nodes[one] = other
            run(changed, shape)
        for edge in ((one, names[i - 1]), (names[i - 1], one), (one, one), (one,), (one, 3), "ab", None, ("", one)):
            changed = copy.deepcopy(graph)
            changed.edges = [*changed.edges, edge]
            run(changed, shape)
    for keep in range(min(len(graph.edges), 12)):
        changed = copy.deepcopy(graph)
        del changed.edges[keep]
        run(changed, shape)
        changed.edges = changed.edges[:keep]
        run(changed, shape)
    changed = copy.deepcopy(graph)
    changed.nodes["me"] = changed  # a graph that holds itself
    changed.edges = [*changed.edges, (names[0], "me")]
    run(changed, shape)
    for wrong in (None, 3, "graph", [], nir.Linear(np.eye(2)), {}):
        run(wrong, shape)


def test_files_with_fields_that_are_missing_or_something_else(tmp_path: Path) -> None:
    path = tmp_path / "n.nir"
    for name in ("maps", "nested"):
        graph, shape = graphs()[name]
        nir.write(path, graph)
        found: list[str] = []
        with h5py.File(path) as file:
            file.visit(found.append)
        whole = path.read_bytes()
        for place in found[:: 2 if name == "maps" else 1]:
            for wrong in (ABSENT, "x", np.zeros(0), b"\xff"):
                path.write_bytes(whole)
                with h5py.File(path, "r+") as file:
                    del file[place]
                    if wrong is not ABSENT:
                        file[place] = wrong
                for type_check in (True, False):
                    read: list[nir.NIRGraph] = []
                    message = message_of(lambda: read.append(read_nir(path, type_check=type_check)))  # noqa: B023
                    assert message is None or str(path) in message
                    for one in read:
                        run(one, shape)
        path.write_bytes(whole)
        with h5py.File(path, "r+") as file:  # a group within itself
            file["node/nodes/input/again"] = file["node"]
        with pytest.raises(SnnDelaysError):
            read_nir(path, type_check=False)
