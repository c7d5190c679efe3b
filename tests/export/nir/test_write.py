"""NIR: what is written, read back and run by an interpreter of its own spikes as the network does."""

import json
import os
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

from snn_delays.discrete import discretize
from snn_delays.discrete.conversion import canonical
from snn_delays.errors import DataError
from snn_delays.export.nir import write as our_nir
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.write import ENCODINGS, merged, read_nir, write, write_nir
from snn_delays.ir.canonical import CanonicalNetwork, Synapses
from snn_delays.ir.trace import first_mismatch
from tests.support.canonical_networks import random_network, random_trace
from tests.support.nir_networks import (
    DT_MS,
    EXPORT_CASES,
    HIDDEN,
    INPUTS,
    assert_same,
    canonical_of,
    case_of,
    counts,
    network_of,
    planted,
)


def to_nir(network: CanonicalNetwork, **options: Any) -> nir.NIRGraph:
    """In milliseconds, as the numbers of these tests are."""
    return our_nir.to_nir(network, **{"time_unit": "ms", **options})


@pytest.mark.parametrize(("encoding", "weight_bits"), [("gather", 8), ("gather", None), ("branch", 8)])
@pytest.mark.parametrize("case", EXPORT_CASES)
def test_written_read_and_run_it_spikes_as_the_network(
    case: str, encoding: str, weight_bits: int | None, tmp_path: Path
) -> None:
    network = case_of(case, weight_bits)
    path = write_nir(network, tmp_path / "new" / "network.nir", encoding=encoding)
    assert_same(network, read_nir(path), counts())
    assert nir.read(path).check_types()
    assert os.listdir(path.parent) == ["network.nir"]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("case", ["norm", "recurrent", "no memory"])
def test_it_spikes_as_the_network_in_torch(case: str, encoding: str) -> None:
    network = discretize(network_of(**EXPORT_CASES[case]))
    x = counts()
    got = interpret(to_nir(canonical(network, dt_ms=DT_MS), encoding=encoding), x)
    membranes, _ = network(torch.from_numpy(x)[:, None])
    assert 0.02 < got["hidden2"].mean() < 0.6
    assert np.abs(membranes[:, 0].numpy() - got["readout"]).max() < 1e-12


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_many_samples_at_once_are_what_each_is_alone(encoding: str, tmp_path: Path) -> None:
    network = random_network(recurrent=True)
    trace = random_trace(network)
    write(network, trace, tmp_path, encoding=encoding)
    assert sorted(os.listdir(tmp_path)) == ["README.txt", "network.nir"]
    text = (tmp_path / "README.txt").read_text()
    assert f"({encoding} encoding)" in text
    assert "3 samples" in text
    assert "Times (tau, delay) are in s, a step is 0.01 s;" in text
    assert "snnTorch (a step of 1e-4) expect seconds" in text
    assert f"closest of golden.npz is {trace.margin:.1e} from it" in text
    graph = read_nir(tmp_path / "network.nir")
    outputs = interpret(graph, trace.counts, keep=list(trace.outputs))
    assert set(outputs) == set(trace.outputs)
    assert first_mismatch(network, trace, outputs) is None
    alone = interpret(graph, trace.counts[:, 1])
    assert all(np.array_equal(outputs[name][:, 1], alone[name]) for name in outputs)
    for node in graph.nodes.values():
        if isinstance(node, nir.Delay):
            node.delay += 10.0
    assert first_mismatch(network, trace, interpret(graph, trace.counts)) is not None


def test_the_readme_says_how_to_check_and_that_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from snn_delays.ir.canonical import to_bytes
    from snn_delays.ir.trace import trace_bytes

    network = random_network()
    trace = random_trace(network)
    write(network, trace, tmp_path)
    (tmp_path / "network.npz").write_bytes(to_bytes(network))
    (tmp_path / "golden.npz").write_bytes(trace_bytes(trace))
    lines = [line[4:] for line in (tmp_path / "README.txt").read_text().splitlines() if line.startswith("    ")]
    monkeypatch.chdir(tmp_path)
    found: list[Any] = []
    exec("\n".join(lines), {"print": found.append})  # the example that users copy
    assert found == [None]


def moved_delay(graph: nir.NIRGraph, prefix: str) -> None:
    name, place = busiest(graph, prefix)
    graph.nodes[name.replace("weight", "delay")].delay[place[1]] += DT_MS


def moved_weight(graph: nir.NIRGraph, prefix: str) -> None:
    name, place = busiest(graph, prefix)
    graph.nodes[name].weight[place] *= -1


def moved_copy(graph: nir.NIRGraph, prefix: str) -> None:
    weight, row = graph.nodes[f"{prefix}.copy"].weight, busiest(graph, prefix)[1][1]
    weight[row] = np.roll(weight[row], 1)


def busiest(graph: nir.NIRGraph, prefix: str) -> tuple[str, tuple[Any, ...]]:
    """The delayed synapse (node, target, source) that matters most: its weight by the activity at its two ends."""
    outputs = interpret(graph, counts())
    found = []
    for name, node in graph.nodes.items():
        delay = name.replace("weight", "delay")
        if name.startswith(f"{prefix}.weight") and delay in graph.nodes:
            behind = next(target for source, target in graph.edges if source == name)
            source, target = np.abs(outputs[delay]).sum(0), np.abs(outputs[behind]).sum(0)
            use = np.abs(node.weight) * source * target[:, None]
            found.append((use.max(), name, np.unravel_index(use.argmax(), use.shape)))
    return max(found)[1:]


PREFIXES = ["hidden1", "hidden2", "hidden1.recurrent", "hidden2.recurrent", "readout"]


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize(
    ("encoding", "wrong"),
    [
        ("gather", moved_delay),
        ("gather", moved_weight),
        ("gather", moved_copy),
        ("branch", moved_delay),
        ("branch", moved_weight),
    ],
)
def test_canary_one_wrong_value_is_seen(encoding: str, wrong: Callable[[nir.NIRGraph, str], None], prefix: str) -> None:
    network = case_of("recurrent")
    graph = to_nir(network, encoding=encoding)
    assert_same(network, graph, counts())
    wrong(graph, prefix)
    with pytest.raises(AssertionError, match="membranes.* differ" if prefix == "readout" else "spikes of .* differ"):
        assert_same(network, graph, counts())


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_canary_whichever_delay_is_wrong_it_is_seen(encoding: str) -> None:
    network = case_of("recurrent")
    graph = to_nir(network, encoding=encoding)
    for prefix in PREFIXES:
        names = [name for name in graph.nodes if name.startswith(f"{prefix}.delay")]
        assert len(names) == 1 if encoding == "gather" else len(names) > 8
        for name in names[::5]:
            delay, weight = graph.nodes[name].delay, graph.nodes[name.replace("delay", "weight")].weight
            for k in np.flatnonzero(weight.any(0))[::40]:
                delay[k] += DT_MS
                with pytest.raises(AssertionError, match=rf"currents of {prefix.split('.')[0]} differ"):
                    assert_same(network, graph, counts())
                delay[k] -= DT_MS
    assert_same(network, graph, counts())


@pytest.mark.parametrize("key", ["tau", "r", "v_leak", "v_reset", "v_threshold"])
def test_canary_a_wrong_neuron_is_seen(key: str) -> None:
    network = canonical_of(v_reset=0.25)
    graph = to_nir(network)
    getattr(graph.nodes["hidden1"], key)[:] *= 1.5
    with pytest.raises(AssertionError, match=r"spikes of hidden1 differ"):
        assert_same(network, graph, counts())


@pytest.mark.parametrize("strict", [False, True])
def test_canary_the_other_threshold_test_is_seen_on_a_grid(strict: bool) -> None:
    network = canonical_of(4, strict=strict)
    graph = to_nir(network)
    assert_same(network, graph, counts())
    for name in ("hidden1", "hidden2"):
        assert graph.nodes[name].metadata["threshold_op"] == ("gt" if strict else "ge")
        graph.nodes[name].metadata["threshold_op"] = "ge" if strict else "gt"
    with pytest.raises(AssertionError, match=r"spikes of hidden1 differ"):
        assert_same(network, graph, counts())


def test_a_tie_follows_the_metadata_and_without_it_nir() -> None:
    one = np.ones(1)
    lif = nir.LIF(tau=2 * one, r=2 * one, v_leak=0 * one, v_threshold=one)
    graph = nir.NIRGraph.from_list(nir.Linear(np.ones((1, 1))), lif)
    graph.metadata["dt"] = 1.0
    for node, whole, fires in [({}, {}, 0), ({}, {"threshold_op": "ge"}, 1), ({"threshold_op": "gt"}, {}, 0)]:
        lif.metadata = node
        graph.metadata = {"dt": 1.0, **whole}
        assert interpret(graph, [[1.0]])["lif"] == fires
    lif.metadata = {"threshold_op": ">="}
    with pytest.raises(DataError, match="'>='"):
        interpret(graph, [[1.0]])


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_planted_delays_arrive_when_they_must(encoding: str) -> None:
    graph = to_nir(planted(), encoding=encoding)
    x = np.zeros((12, 3))
    x[2] = 1
    got = interpret(graph, x)
    assert [list(np.flatnonzero(column)) for column in got["a"].T] == [[2], [5], [7]]
    assert list(np.flatnonzero(got["output"])) == [7]
    # The last population took the name of NIR's output, which steps aside.
    assert isinstance(graph.nodes["output"], nir.LIF)
    assert isinstance(graph.nodes["output_"], nir.Output)


def test_a_spike_comes_back_when_it_must() -> None:
    """One spike, once round a loop of three steps again and again."""
    loop = Synapses.sorted(3, 3, [0], [0], [3], [1.0], "synapse")
    network = planted()
    first = replace(network.populations[0], recurrent=loop)
    network = replace(network, populations=(first, *network.populations[1:]))
    x = np.zeros((12, 3))
    x[2, 0] = 1
    for encoding in ENCODINGS:
        assert list(np.flatnonzero(interpret(to_nir(network, encoding=encoding), x)["a"][:, 0])) == [2, 5, 8, 11]


def shape_of(network: CanonicalNetwork, encoding: str = "gather") -> dict[str, str]:
    """The nodes between input and first neurons, and what they are."""
    graph = to_nir(network, encoding=encoding)
    return {name[8:]: type(node).__name__ for name, node in graph.nodes.items() if name.startswith("hidden1.")}


def test_the_graphs_are_those_that_are_documented() -> None:
    full = {"copy": "Linear", "delay": "Delay", "weight": "Linear"}
    assert shape_of(canonical_of()) == full
    assert shape_of(canonical_of(norm=True)) == {**full, "weight": "Affine"}
    assert shape_of(canonical_of(max_delay_steps=0)) == {"weight": "Linear"}
    assert shape_of(canonical_of(sharing="axon")) == {"delay": "Delay", "weight": "Linear"}
    assert shape_of(canonical_of(sharing="axon", delay_count=2)) == full
    assert list(shape_of(canonical_of(sharing="dendrite"))) == ["weight", "delay"]
    assert list(shape_of(canonical_of(sharing="dendrite", norm=True)).items()) == [
        ("weight", "Linear"), ("delay", "Delay"), ("bias", "Affine"),
    ]  # fmt: skip
    assert shape_of(canonical_of(sharing="dendrite", delay_count=2)) == full
    recurrent = {f"recurrent.{name}": kind for name, kind in full.items()}
    assert shape_of(canonical_of(recurrent=True)) == {**full, **recurrent}
    branches = shape_of(canonical_of(norm=True, max_delay_steps=2), "branch")
    assert branches == {
        "weight0": "Affine", "delay1": "Delay", "weight1": "Linear", "delay2": "Delay", "weight2": "Linear",
    }  # fmt: skip


def test_a_chain_of_the_documented_nodes_and_metadata(tmp_path: Path) -> None:
    network = canonical_of(norm=True)
    graph = read_nir(write_nir(network, tmp_path / "n.nir", metadata={"run": "a", "k": np.arange(3)}))
    chain = ["input"]
    for population in network.populations:
        name, synapses = population.name, population.synapses
        chain += [f"{name}.copy", f"{name}.delay", f"{name}.weight", name]
        pairs = set(zip(synapses.source, synapses.delay_steps))
        assert len(graph.nodes[f"{name}.delay"].delay) == len(pairs)
        assert (graph.nodes[f"{name}.copy"].weight.sum(1) == 1).all()
    assert sorted(graph.edges) == sorted(pairwise([*chain, "output"]))
    lif, integrator = graph.nodes["hidden1"], graph.nodes["readout"]
    assert (lif.tau == 2 * (DT_MS / 1000)).all()
    assert (lif.r == 2).all()
    assert (integrator.r == 2).all()
    assert lif.metadata == {"threshold_op": "ge", "reset": "hard"}
    ours = json.loads(graph.metadata.pop("snn_delays"))
    assert [entry["name"] for entry in ours["populations"]] == ["hidden1", "hidden2", "readout"]
    assert ours["notes"] == {"case": "made up"}
    assert list(graph.metadata.pop("k")) == [0, 1, 2]
    assert graph.metadata == {
        "dt": DT_MS / 1000, "time_unit": "s", "encoding": "gather", "scheme": "forward_euler", "run": "a",
    }  # fmt: skip
    assert (to_nir(canonical_of(decay_input=True)).nodes["hidden1"].r == 1).all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_synapses_of_one_pair_and_one_delay_add_up(encoding: str) -> None:
    network = planted()
    twice = Synapses.sorted(3, 3, [0, 0, 0, 1], [2, 2, 2, 0], [4, 4, 1, 2], [0.5, 0.25, 1.0, 2.0], "synapse")
    first = replace(network.populations[0], synapses=twice)
    graph = to_nir(replace(network, populations=(first, *network.populations[1:])), encoding=encoding)
    if encoding == "gather":
        assert (graph.nodes["a.delay"].delay / 10).tolist() == [1, 4, 2]
        assert graph.nodes["a.weight"].weight.tolist() == [[0, 0, 2], [0, 0, 0], [1, 0.75, 0]]
    else:
        assert graph.nodes["a.weight4"].weight.tolist() == [[0, 0, 0], [0, 0, 0], [0.75, 0, 0]]
    cancelled = merged(Synapses.sorted(3, 3, [0, 0], [1, 1], [2, 2], [0.5, -0.5], "axon"))
    assert (len(cancelled), cancelled.sharing) == (0, "axon")


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_population_whose_weights_are_all_zero_stays_one(encoding: str) -> None:
    network = canonical_of(recurrent=True)
    none = Synapses.sorted(HIDDEN[0], HIDDEN[0], [], [], [], [], "synapse")
    silent = Synapses.sorted(INPUTS, HIDDEN[0], [], [], [], [], "synapse")
    first = replace(network.populations[0], synapses=silent, recurrent=none)
    graph = to_nir(replace(network, populations=(first, *network.populations[1:])), encoding=encoding)
    assert not interpret(graph, counts())["hidden1"].any()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_weights_are_float32_unless_that_would_change_them(encoding: str) -> None:
    born32 = canonical(discretize(network_of(norm=True).float()), dt_ms=DT_MS)
    for network, dtype in [(born32, np.float32), (canonical_of(norm=True), np.float64)]:
        nodes = to_nir(network, encoding=encoding).nodes.values()
        assert {node.weight.dtype for node in nodes if hasattr(node, "weight")} == {np.dtype(dtype)}
        assert {node.bias.dtype for node in nodes if hasattr(node, "bias")} == {np.dtype(dtype)}
        assert_same(network, to_nir(network, encoding=encoding), counts())
