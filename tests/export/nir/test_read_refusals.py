"""NIR read: what is no network of this package is refused by the node's name."""

import json
from collections.abc import Callable
from typing import Any

import nir
import numpy as np
import pytest

from snn_delays.errors import ConfigError, DataError
from snn_delays.export.nir.read import from_nir
from snn_delays.export.nir.write import to_nir
from tests.support.nir_networks import canonical_of, planted
from tests.support.nir_nodes import leaky


def broken(change: Callable[[nir.NIRGraph], Any], encoding: str = "gather") -> nir.NIRGraph:
    graph = to_nir(canonical_of(norm=True, recurrent=True), encoding=encoding, time_unit="ms")
    change(graph)
    return graph


def set_(name: str, key: str, place: Any, value: float) -> Callable[[nir.NIRGraph], None]:
    return lambda graph: getattr(graph.nodes[name], key).__setitem__(place, value)


def rewired(*edges: tuple[str, str], without: tuple[tuple[str, str], ...] = ()) -> Callable[[nir.NIRGraph], None]:
    return lambda graph: graph.edges.__setitem__(slice(None), [e for e in graph.edges if e not in without] + [*edges])


def node(name: str, made: nir.NIRNode) -> Callable[[nir.NIRGraph], None]:
    return lambda graph: graph.nodes.__setitem__(name, made)


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (node("hidden1.weight", nir.Conv1d(8, np.ones((1, 1, 3)), 1, 0, 1, 1, np.zeros(1))), r"'hidden1\.weight' is a"),
        (node("hidden2", nir.I(r=np.ones(16))), "'hidden2' is a I, for which .* no layer"),
        (node("more", nir.Input({"input": np.array([14])})), "2 Input nodes, expected one"),
        (node("input", nir.Input({"input": np.array([2, 7])})), r"takes 14 channels, .* 'input', has \[2, 7\]"),
        (node("hidden1.delay", nir.Delay(np.zeros(3))), r"'hidden1\.delay' takes 3 channels, .* has \d+"),
        (node("readout", leaky(6, fires=False)), "'readout' takes 6 channels, .*, 'readout.weight', has 5"),
        (set_("hidden1", "tau", 3, 7.0), r"'hidden1' has 2 values of tau \(5, 7\); the neurons"),
        (set_("hidden2", "v_threshold", 0, 0.5), r"'hidden2' has 2 values of v_threshold \(0\.5, 1\)"),
        (set_("hidden2", "v_reset", ..., 0.5), r"'hidden2' leaks to 0 and is reset to 0\.5"),
        (set_("readout", "v_leak", 1, 0.5), r"'readout' has 2 values of v_leak"),
        (set_("hidden1", "tau", ..., 1.0), r"'hidden1' has tau 1, shorter than a step of 2\.5"),
        (set_("hidden1", "r", 0, np.nan), r"'hidden1': 1 of 20 values of r are not finite"),
        (set_("readout.weight", "weight", (0, 0), np.inf), r"'readout\.weight': 1 of \d+ values of weight are not"),
        (set_("hidden1.weight", "bias", 2, np.nan), r"'hidden1\.weight': 1 of 20 values of bias are not finite"),
        (set_("hidden1.delay", "delay", 0, 3.0), r"'hidden1\.delay': 1 of \d+ delays are not integer .* of 2\.5, as 3"),
        (set_("hidden1.delay", "delay", 0, -2.5), r"'hidden1\.delay': 1 of \d+ delays are not integer steps >= 0"),
        (set_("hidden1.delay", "delay", 0, 1e15), r"'hidden1\.delay': 1 of \d+ delays are not integer"),
        (set_("hidden1.delay", "delay", 0, np.nan), r"'hidden1\.delay': 1 of \d+ values of delay are not finite"),
        (set_("hidden2.recurrent.delay", "delay", 0, 0.0), r"'hidden2' receives from itself without a delay"),
        (rewired(("hidden2.weight", "more"), ("more", "hidden2.weight")), "leads from or to no node of the graph"),
        (rewired(("hidden1.weight", "hidden1.recurrent.copy")), r"'hidden1.recurrent.delay' delays a bias"),
        (rewired(("hidden2", "hidden1.recurrent.copy")), "takes 20 channels, a node before it, 'hidden2', has 16"),
        (rewired(("hidden1", "nowhere")), "'hidden1' to 'nowhere' leads from or to no node"),
        (rewired(("hidden1", "input")), "leaves an Output or enters an Input"),
        (rewired(without=(("hidden2.weight", "hidden2"), ("hidden2", "hidden2.recurrent.copy"))), "no edge leads to"),
        (rewired(("hidden1.weight", "output"), without=(("readout", "output"),)), "'output' receives from hidden1"),
        (rewired(without=(("readout", "output"),)), "no edge leads to node 'output'"),
        (lambda graph: graph.nodes["hidden1"].metadata.update(reset="Soft"), "'hidden1' asks for a 'Soft' reset"),
        (lambda graph: graph.nodes["hidden1"].metadata.update(threshold_op="="), "'hidden1' has threshold_op '='"),
        (lambda graph: graph.metadata.pop("dt"), "pass dt_ms="),
        (lambda graph: graph.metadata.update(snn_delays="{"), "'snn_delays' are damaged .* delete them"),
        (lambda graph: graph.metadata.update(snn_delays='{"populations": [{"name": "a"}]}'), "are damaged"),
    ],
)  # fmt: skip
def test_what_is_no_chain_of_our_neurons_is_refused_by_name(change: Callable[[nir.NIRGraph], Any], match: str) -> None:
    with pytest.raises(DataError, match=match):
        from_nir(broken(change))


def test_a_skip_and_a_fork_are_refused() -> None:
    def lif(name: str) -> tuple[str, nir.NIRNode]:
        return name, leaky(3)

    ends = {"in": nir.Input({"input": np.array([3])}), "out": nir.Output({"output": np.array([3])})}
    nodes = {**ends, **dict([lif("a"), lif("b"), lif("c")])}
    chain = [("in", "a"), ("a", "b"), ("b", "c"), ("c", "out")]
    assert len(from_nir(nir.NIRGraph(dict(nodes), chain), dt_ms=1.0, time_unit="ms").populations) == 3
    for edges, match in [
        ([*chain, ("a", "c")], "'c' receives from a, b; known are chains"),
        ([*chain, ("in", "c")], "'c' receives from b, in; known are chains"),
        ([("in", "a"), ("a", "b"), ("a", "c"), ("c", "out")], "'b' and 'c' both receive from 'a'"),
        ([("in", "a"), ("a", "out"), ("a", "b"), ("b", "c")], "'out' receives from a; expected the last population, c"),
        ([("in", "a"), ("b", "c"), ("c", "b"), ("a", "out")], "no chain leads from 'in' to b, c"),
        ([("in", "out")], "no edge leads to node 'a'"),
    ]:
        graph = nir.NIRGraph(dict(nodes), edges, type_check=False)
        with pytest.raises(DataError, match=match):
            from_nir(graph, dt_ms=1.0, time_unit="ms")
    with pytest.raises(DataError, match="to any neurons"):
        from_nir(nir.NIRGraph(ends, [("in", "out")]), dt_ms=1.0, time_unit="ms")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"dt_ms": 0.0}, "positive"),
        ({"dt_ms": float("nan")}, "positive"),
        ({"time_unit": "min"}, "s, ms, us"),
        ({"reset": "Soft"}, "hard, soft, soft_late"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(ConfigError, match=match):
        from_nir(to_nir(planted(), time_unit="ms"), **arguments)


def test_what_metadata_claim_must_be_possible() -> None:
    graph = to_nir(planted(), time_unit="ms")
    ours = json.loads(graph.metadata["snn_delays"])
    for changed in (
        {"sharing": "root"},
        {"recurrent": "root"},
        {"numbers": {"tau": 1}},
        {"numbers": {"tau_steps": "x"}},
    ):
        entries = [{**ours["populations"][0], **changed}]
        graph.metadata["snn_delays"] = json.dumps({"populations": entries, "notes": {}})
        with pytest.raises(DataError, match="are damaged"):
            from_nir(graph)
    # A population unknown to the metadata is read from the nodes.
    graph.metadata["snn_delays"] = json.dumps({"populations": [], "notes": {}})
    assert [p.name for p in from_nir(graph).populations] == ["a", "output"]
