"""NIR: what is written, read back and run by an interpreter of its own spikes as the network does."""

import copy
import json
import os
import resource
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch
from torch import Tensor

from snn_delays.errors import ConfigError, DataError, ExportError, ShapeError
from snn_delays.export import DiscreteNetwork, discretize
from snn_delays.export.discretize import DiscretizationReport
from snn_delays.export.nir import read_nir, to_nir, write_nir, write_trace
from snn_delays.export.nir_interpreter import interpret
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, LeakyIntegrator, Sequential, layers_of, record

INPUTS, HIDDEN, CLASSES, STEPS, DT_MS = 14, (20, 16), 5, 150, 2.5

CASES: dict[str, dict[str, Any]] = {
    "synapse": {},
    "axon": {"sharing": "axon"},
    "dendrite": {"sharing": "dendrite"},
    "two synapses a pair": {"delay_count": 2, "max_delay_steps": 3},
    "two delays an axon": {"sharing": "axon", "delay_count": 2},
    "no delays": {"max_delay_steps": 0},
    "decay_input": {"decay_input": True},
    "decay_input, v_reset": {"decay_input": True, "v_reset": -0.25},
    "v_reset": {"v_reset": 0.25},
    "strict": {"strict": True},
    "norm": {"norm": True},
    "norm, dendrite": {"norm": True, "sharing": "dendrite"},
    "norm, axon, decay_input": {"norm": True, "sharing": "axon", "decay_input": True},
    "no memory": {"tau_steps": 1.0},
}


def network_of(
    *, max_delay_steps: int = 12, norm: bool = False, tau_steps: float = 2.0, sharing: str = "synapse",
    delay_count: int = 1, decay_input: bool = False, **neuron: Any,
) -> Sequential:  # fmt: skip
    """Two hidden layers and a readout, with delays between steps, in float64."""
    generator = torch.Generator().manual_seed(7)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    def synapse(inputs: int, outputs: int, scale: float) -> DelayedLinear:
        made = DelayedLinear(
            inputs, outputs, max_delay_steps=max_delay_steps, sharing=sharing, delay_count=delay_count, taps="linear"
        )
        with torch.no_grad():
            made.weight.copy_((0.25 + normal(*made.weight.shape)) * scale / (inputs * delay_count) ** 0.5)
            made.weight[normal(*made.weight.shape) > 1] = 0
            made.delay.copy_(torch.rand(made.delay.shape, generator=generator) * max_delay_steps)
        return made

    def batch_norm(features: int) -> BatchNorm:
        made = BatchNorm(features)
        with torch.no_grad():
            made.gamma.copy_(1 + 0.2 * normal(features))
            made.beta.copy_(0.1 * normal(features))
            made.running_mean.copy_(0.2 * normal(features))
            made.running_var.copy_(1 + 0.2 * normal(features).abs())
        return made

    widths, layers = (INPUTS, *HIDDEN), {}
    scale = 1.6 * (tau_steps if decay_input else 1)
    for i, (inputs, outputs) in enumerate(pairwise(widths), 1):
        parts: dict[str, Any] = {"synapse": synapse(inputs, outputs, scale)}
        if norm:
            parts["norm"] = batch_norm(outputs)
        parts["neuron"] = LIF(tau_steps, decay_input=decay_input, **neuron)
        layers[f"hidden{i}"] = Sequential(**parts)
    layers["readout"] = Sequential(
        synapse=synapse(widths[-1], CLASSES, 1.0), integrator=LeakyIntegrator(tau_steps, decay_input=decay_input)
    )
    return Sequential(**layers).double().eval()


def counts() -> Tensor:
    """Input counts ``[time, channel]``, a few above one."""
    return torch.poisson(torch.full((STEPS, INPUTS), 0.2), generator=torch.Generator().manual_seed(3)).double()


def assert_same(network: DiscreteNetwork, graph: nir.NIRGraph, x: Tensor) -> None:
    """Spikes equal one by one, readout membranes (and all currents) to 1e-9, and every layer active."""
    expected, got = record(network, x[:, None]), interpret(graph, x.numpy())
    wrong = []
    for name, layer in layers_of(network):
        want = expected[name][:, 0].numpy()
        if isinstance(layer, LIF):
            assert 0.02 < want.mean() < 0.6, f"{name} fires at {want.mean():.3f}: nothing is compared"
            wrong += [f"{(want != got[name]).sum()} spikes of {name} differ"] * (not np.array_equal(want, got[name]))
        else:
            assert np.abs(want).max() > 0.1
            wrong += [f"values of {name} differ"] * (not np.abs(want - got[name]).max() < 1e-9)
    assert np.array_equal(got["output"], got[name])
    assert not wrong, ", ".join(wrong)


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


def planted() -> DiscreteNetwork:
    """Three inputs delayed by 0, 3, 5 steps, then by 5, 2, 0: a common spike arrives as three, then as one."""
    first = DelayedLinear(3, 3, max_delay_steps=6, taps="linear")
    second = DelayedLinear(3, 1, max_delay_steps=6, taps="linear")
    with torch.no_grad():
        first.weight.copy_(torch.eye(3)[..., None])
        first.delay.copy_(torch.tensor([0.0, 3.0, 5.0]).expand(3, 3)[..., None])
        second.weight.fill_(0.4)
        second.delay.copy_(torch.tensor([5.0, 2.0, 0.0]).view(1, 3, 1))
    return discretize(Sequential(one=first, a=LIF(1.0), two=second, output=LIF(1.0)).double())


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


def built(**layers: Any) -> DiscreteNetwork:
    return DiscreteNetwork(DiscretizationReport(()), **layers)


def altered(change: Callable[[DiscreteNetwork], Any]) -> DiscreteNetwork:
    network = copy.deepcopy(discretize(network_of(norm=True)))
    change(network)
    return network


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (network_of, r"Sequential; pass discretize"),
        (lambda: discretize(network_of(reset="soft")), r"hidden1\.neuron has a soft reset"),
        (lambda: altered(lambda n: n.hidden2.synapse.weight[0, 0].fill_(float("nan"))), r"hidden2\.synapse\.weight: 1"),
        (lambda: altered(lambda n: n.hidden2.synapse.bias[:3].fill_(float("inf"))), r"hidden2\.synapse\.bias: 3 of 16"),
        (lambda: altered(lambda n: n.hidden1.synapse.delay[0, 1].fill_(1.5)), r"hidden1\.synapse\.delay: 1 .*0\.\.12"),
        (lambda: altered(lambda n: n.hidden1.synapse.delay[0, 1].fill_(13)), r"hidden1\.synapse\.delay: 1 .*0\.\.12"),
        (lambda: altered(lambda n: n.hidden1.synapse.delay[0, 1].fill_(-1)), r"hidden1\.synapse\.delay: 1 .*0\.\.12"),
        (lambda: altered(lambda n: setattr(n.readout.integrator, "tau_steps", float("inf"))), r"integrator\.tau_steps"),
        (lambda: altered(lambda n: setattr(n.hidden1.neuron, "threshold", float("inf"))), r"neuron\.threshold is inf"),
        (lambda: discretize(Sequential(**{"a/b": DelayedLinear(2, 1, max_delay_steps=1)})), "a/b"),
        (lambda: discretize(Sequential(LIF(2.0))), "no synapse"),
        (lambda: built(a=DelayedLinear(2, 3, max_delay_steps=1, delay_init="uniform_rounded")), "gaussian taps"),
        (lambda: built(a=DelayedLinear(2, 3, max_delay_steps=0, taps="linear"), b=BatchNorm(3)), "'b' .BatchNorm"),
        (lambda: discretize(Sequential(*(DelayedLinear(2, 3, max_delay_steps=0) for _ in "ab"))), "1 takes 2 .* 3 "),
    ],
)  # fmt: skip
def test_what_nir_cannot_hold_is_refused_by_name(make: Callable[[], Any], match: str) -> None:
    with pytest.raises(ExportError, match=match):
        to_nir(make(), dt_ms=1.0)


@pytest.mark.parametrize("dt_ms", [0, -1.0, float("nan"), float("inf")])
def test_a_step_has_a_length(dt_ms: float) -> None:
    with pytest.raises(ConfigError, match="dt_ms must be a positive"):
        to_nir(planted(), dt_ms=dt_ms)


@pytest.mark.parametrize("metadata", [{"dt": 1}, {"a/b": 1}, {"": 1}, {"a": None}, {"a": [1]}, {"a": np.array("x")}])
def test_metadata_nir_cannot_hold_are_refused(metadata: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="metadata"):
        write_nir(planted(), tmp_path / "n.nir", dt_ms=1.0, metadata=metadata)
    assert not os.listdir(tmp_path)


def test_a_folder_that_takes_no_files_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"cannot be written to .*n\.nir"):
        write_nir(planted(), tmp_path / "file" / "n.nir", dt_ms=1.0)
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.geteuid():  # root may write anywhere
        with pytest.raises(ExportError, match="Permission denied"):
            write_nir(planted(), tmp_path / "locked" / "n.nir", dt_ms=1.0)


def test_a_full_disk_leaves_the_previous_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_nir(planted(), tmp_path / "n.nir", dt_ms=1.0)
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ExportError, match="cannot be written"):
            write_nir(discretize(network_of()), path, dt_ms=1.0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["n.nir"]
    assert path.read_bytes() == before


def test_files_that_are_no_graph_are_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "n.nir"
    with pytest.raises(DataError, match="no file"):
        read_nir(path)
    content = write_nir(planted(), tmp_path / "whole.nir", dt_ms=1.0).read_bytes()
    for length in (0, 7, 100, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="damaged"):
            read_nir(path)
    with h5py.File(path, "w") as file:
        file["spikes"] = 1
    with pytest.raises(DataError, match="without a NIR graph"):
        read_nir(path)
    nir.write(path, nir.Linear(np.ones((2, 2))))
    with pytest.raises(DataError, match="NIR"):
        read_nir(path)


def test_the_interpreter_refuses_what_it_does_not_know() -> None:
    x = np.zeros((4, 3))
    graph = to_nir(planted(), dt_ms=10.0)
    for bad, match in [(x[:, :2], r"\(4, 2\).*\[time, 3\]"), (x[0], r"\(3,\)")]:
        with pytest.raises(ShapeError, match=match):
            interpret(graph, bad)
    with pytest.raises(DataError, match="not finite"):
        interpret(graph, x + np.nan)
    with pytest.raises(DataError, match=r"one\.delay.*not whole steps"):
        interpret(graph, x, dt=7.0)
    metadata = graph.metadata
    graph.metadata = {}
    with pytest.raises(DataError, match="pass dt="):
        interpret(graph, x)
    graph.metadata = {**metadata}
    graph.nodes["a"].metadata["reset"] = "soft"
    with pytest.raises(DataError, match="'a' asks for a 'soft' reset"):
        interpret(graph, x)
    graph.nodes["a"] = nir.IF(r=np.ones(3), v_threshold=np.ones(3))
    with pytest.raises(DataError, match="'a' is a IF"):
        interpret(graph, x)
    graph.edges.append(("a", "one"))
    with pytest.raises(DataError, match=r"cycle through .*a"):
        interpret(graph, x)
