"""NIR: what is written, read back and run by an interpreter of its own spikes as the network does."""

import json
import os
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from nir_networks import CASES, DT_MS, HIDDEN, INPUTS, assert_same, counts, network_of, planted

from snn_delays.errors import DataError, ExportError, ShapeError
from snn_delays.export import discretize
from snn_delays.export.nir import read_nir, to_nir, write_nir, write_trace
from snn_delays.export.nir_interpreter import interpret
from snn_delays.nn import DelayedLinear, Sequential, layers_of


@pytest.mark.parametrize("weight_bits", [8, None])
@pytest.mark.parametrize("case", CASES)
def test_written_read_and_run_it_spikes_as_the_network(case: str, weight_bits: int | None, tmp_path: Path) -> None:
    # Off the grid the time constant may be any; on it, halving keeps every sum exact and ties with the threshold real.
    arguments = CASES[case] if weight_bits else {"tau_steps": 2.7, **CASES[case]}
    network = discretize(network_of(**arguments), weight_bits=weight_bits)
    path = write_nir(network, tmp_path / "new" / "network.nir", dt_ms=DT_MS)
    assert_same(network, read_nir(path), counts())
    assert nir.read(path).check_types()
    assert os.listdir(path.parent) == ["network.nir"]


def moved_delay(graph: nir.NIRGraph, layer: str) -> None:
    graph.nodes[f"{layer}.delay"].delay[busiest(graph, layer)[1]] += DT_MS


def moved_weight(graph: nir.NIRGraph, layer: str) -> None:
    graph.nodes[layer].weight[busiest(graph, layer)] *= -1


def moved_copy(graph: nir.NIRGraph, layer: str) -> None:
    row = busiest(graph, layer)[1]
    graph.nodes[f"{layer}.copy"].weight[row] = np.roll(graph.nodes[f"{layer}.copy"].weight[row], 1)


def busiest(graph: nir.NIRGraph, layer: str) -> tuple[Any, ...]:
    """The synapse (target, copy) that matters most: its weight by the activity at its two ends."""
    outputs = interpret(graph, counts().numpy())
    behind = next(target for source, target in graph.edges if source == layer)
    source, target = np.abs(outputs[f"{layer}.delay"]).sum(0), np.abs(outputs[behind]).sum(0)
    use = np.abs(graph.nodes[layer].weight) * source * target[:, None]
    return np.unravel_index(use.argmax(), use.shape)


@pytest.mark.parametrize("layer", ["hidden1.synapse", "hidden2.synapse", "readout.synapse"])
@pytest.mark.parametrize("wrong", [moved_delay, moved_weight, moved_copy])
def test_canary_one_wrong_value_is_seen(wrong: Callable[[nir.NIRGraph, str], None], layer: str) -> None:
    network = discretize(network_of())
    graph = to_nir(network, dt_ms=DT_MS)
    assert_same(network, graph, counts())
    wrong(graph, layer)
    with pytest.raises(
        AssertionError, match="readout.* differ" if layer == "readout.synapse" else "spikes of .* differ"
    ):
        assert_same(network, graph, counts())


def test_canary_whichever_delay_is_wrong_it_is_seen() -> None:
    network = discretize(network_of())
    graph = to_nir(network, dt_ms=DT_MS)
    for name in ("hidden1.synapse", "hidden2.synapse"):
        delay = graph.nodes[f"{name}.delay"].delay
        for k in range(0, len(delay), 20):
            delay[k] += DT_MS
            with pytest.raises(AssertionError, match=f"values of {name} differ"):
                assert_same(network, graph, counts())
            delay[k] -= DT_MS


@pytest.mark.parametrize("key", ["tau", "r", "v_leak", "v_reset", "v_threshold"])
def test_canary_a_wrong_neuron_is_seen(key: str) -> None:
    network = discretize(network_of(v_reset=0.25))
    graph = to_nir(network, dt_ms=DT_MS)
    getattr(graph.nodes["hidden1.neuron"], key)[:] *= 1.5
    with pytest.raises(AssertionError, match=r"spikes of hidden1\.neuron differ"):
        assert_same(network, graph, counts())


@pytest.mark.parametrize("strict", [False, True])
def test_canary_the_other_threshold_test_is_seen_on_a_grid(strict: bool) -> None:
    network = discretize(network_of(strict=strict), weight_bits=4)
    graph = to_nir(network, dt_ms=DT_MS)
    assert_same(network, graph, counts())
    for name in ("hidden1.neuron", "hidden2.neuron"):
        assert graph.nodes[name].metadata["threshold_op"] == ("gt" if strict else "ge")
        graph.nodes[name].metadata["threshold_op"] = "ge" if strict else "gt"
    with pytest.raises(AssertionError, match=r"spikes of hidden1\.neuron differ"):
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


def test_planted_delays_arrive_when_they_must() -> None:
    graph = to_nir(planted(), dt_ms=10.0)
    x = np.zeros((12, 3))
    x[2] = 1
    got = interpret(graph, x)
    assert [list(np.flatnonzero(column)) for column in got["a"].T] == [[2], [5], [7]]
    assert list(np.flatnonzero(got["output"])) == [7]
    assert list(graph.nodes["one.delay"].delay) == [0, 30, 50]
    assert "one.copy" not in graph.nodes
    # The last layer took the name of NIR's output, which steps aside.
    assert isinstance(graph.nodes["output"], nir.LIF)
    assert isinstance(graph.nodes["output_"], nir.Output)


def test_the_graph_is_the_chain_that_is_documented(tmp_path: Path) -> None:
    network = discretize(network_of(norm=True))
    graph = read_nir(write_nir(network, tmp_path / "n.nir", dt_ms=DT_MS, metadata={"run": "a", "k": np.arange(3)}))
    chain = ["input"]
    for name, layer in layers_of(network):
        chain += [f"{name}.copy", f"{name}.delay", name] if isinstance(layer, DelayedLinear) else [name]
    chain.append("output")
    assert graph.edges == list(pairwise(chain))
    assert type(graph.nodes["hidden1.synapse"]) is nir.Affine
    assert type(graph.nodes["readout.synapse"]) is nir.Linear
    for name, layer in layers_of(network):
        if isinstance(layer, DelayedLinear):
            _, source, synapse = layer.weight.numpy().nonzero()
            target = layer.weight.numpy().nonzero()[0]
            steps = layer.delay.numpy()[target, source, synapse]
            assert len(graph.nodes[f"{name}.delay"].delay) == len(set(zip(source, steps)))
            assert (graph.nodes[f"{name}.copy"].weight.sum(1) == 1).all()
    lif, integrator = graph.nodes["hidden1.neuron"], graph.nodes["readout.integrator"]
    assert (lif.tau == 2 * DT_MS).all()
    assert (lif.r == 2).all()
    assert (integrator.r == 2).all()
    assert lif.metadata == {"threshold_op": "ge", "reset": "hard"}
    assert json.loads(graph.metadata.pop("layers")) == [name for name, _ in layers_of(network)]
    assert list(graph.metadata.pop("k")) == [0, 1, 2]
    assert graph.metadata == {
        "dt": DT_MS, "time_unit": "ms", "encoding": "gather", "scheme": "forward_euler", "run": "a",
    }  # fmt: skip
    scaled = to_nir(discretize(network_of(decay_input=True)), dt_ms=DT_MS)
    assert (scaled.nodes["hidden1.neuron"].r == 1).all()


def test_synapses_of_one_pair_and_one_delay_add_up() -> None:
    synapse = DelayedLinear(2, 1, max_delay_steps=4, delay_count=2, taps="linear").double()
    with torch.no_grad():
        synapse.weight.copy_(torch.tensor([[[0.5, 0.25], [1.0, 0.0]]]))
        synapse.delay.copy_(torch.tensor([[[3.0, 3.0], [1.0, 4.0]]]))
    graph = to_nir(discretize(Sequential(synapse)), dt_ms=1.0)
    assert graph.nodes["0"].weight.tolist() == [[0.75, 1.0]]
    assert graph.nodes["0.delay"].delay.tolist() == [3, 1]
    with torch.no_grad():
        synapse.delay[0, 0, 1] = 2
    graph = to_nir(discretize(Sequential(synapse)), dt_ms=1.0)
    assert graph.nodes["0.delay"].delay.tolist() == [2, 3, 1]
    assert graph.nodes["0.copy"].weight.tolist() == [[1, 0], [1, 0], [0, 1]]
    assert graph.nodes["0"].weight.tolist() == [[0.25, 0.5, 1.0]]


def test_a_layer_whose_weights_are_all_zero_stays_a_layer() -> None:
    network = discretize(network_of(norm=True))
    network.hidden1.synapse.weight.zero_()
    node = to_nir(network, dt_ms=1.0).nodes["hidden1.synapse"]
    assert node.weight.shape == (HIDDEN[0], INPUTS)
    assert not node.weight.any()


def test_weights_are_float32_unless_that_would_change_them() -> None:
    born32 = network_of(norm=True).float()
    for network, dtype in [(born32, np.float32), (network_of(norm=True), np.float64)]:
        node = to_nir(discretize(network), dt_ms=1.0).nodes["hidden1.synapse"]
        assert (node.weight.dtype, node.bias.dtype) == (dtype, dtype)
    network = discretize(born32)
    graph = to_nir(network, dt_ms=1.0)
    assert_same(network.double(), graph, counts())


def test_the_trace_is_what_the_interpreter_finds(tmp_path: Path) -> None:
    network = discretize(network_of(norm=True), weight_bits=8)
    x = torch.stack([counts(), counts().flip(0)], dim=1).byte()
    path = write_trace(network, x, tmp_path / "trace.npz")
    graph = to_nir(network, dt_ms=1.0)
    with np.load(path) as trace:
        assert sorted(trace) == ["hidden1.neuron", "hidden2.neuron", "input", "readout.integrator"]
        for sample in range(2):
            got = interpret(graph, trace["input"][:, sample])
            for name in trace:
                assert np.abs(trace[name][:, sample] - got[name]).max() < 1e-9
        assert trace["hidden1.neuron"].dtype == np.uint8
        assert trace["hidden1.neuron"].any(axis=(0, 2)).all()
    with pytest.raises(ShapeError, match=r"\[time, sample"):
        write_trace(network, x[:, 0], path)
    with pytest.raises(ExportError, match="trace cannot be written"):
        write_trace(network, x, path / "inside.npz")
