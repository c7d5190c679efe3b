"""NIR read: our graphs come back equal in every parameter, other tools' as what they compute."""

import tempfile
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from snn_delays.discrete.conversion import canonical, network_of
from snn_delays.errors import DataError, ExportError
from snn_delays.export.nir import write as our_nir
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.read import from_nir
from snn_delays.export.nir.write import ENCODINGS, UNIT_MS, read_nir, write_nir
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses, read_network, to_bytes
from snn_delays.ir.simulator import simulate
from tests.support.canonical_networks import random_network
from tests.support.nir_networks import (
    DT_MS,
    EXPORT_CASES,
    INPUTS,
    assert_same,
    canonical_of,
    case_of,
    counts,
    merged_network,
    planted,
)
from tests.support.nir_nodes import leaky


def to_nir(network: CanonicalNetwork, **options: Any) -> nir.NIRGraph:
    """In milliseconds, as the numbers of these tests are."""
    return our_nir.to_nir(network, **{"time_unit": "ms", **options})


@pytest.mark.parametrize(("encoding", "weight_bits"), [("gather", None), ("branch", None), ("branch", 8)])
@pytest.mark.parametrize("case", EXPORT_CASES)
def test_what_was_written_comes_back_equal_in_every_parameter(
    case: str, encoding: str, weight_bits: int | None, tmp_path: Path
) -> None:
    network = merged_network(case_of(case, weight_bits))
    graph = read_nir(write_nir(network, tmp_path / "n.nir", encoding=encoding))
    again = from_nir(graph)
    assert to_bytes(again) == to_bytes(network)
    if not case.startswith("two delays"):  # of a shared delay, torch has one
        assert to_bytes(canonical(network_of(again), dt_ms=DT_MS, notes=network.notes)) == to_bytes(network)
    # The nodes alone say nearly as much.
    graph.metadata = {}
    bare = from_nir(graph, dt_ms=DT_MS, time_unit="s")
    for ours, theirs in zip(network.populations, bare.populations, strict=True):
        assert theirs.name == ours.name
        assert theirs.bias.tobytes() == ours.bias.tobytes()
        for which in ("synapses", "recurrent"):
            one, other = getattr(ours, which), getattr(theirs, which)
            assert (one is None) == (other is None)
            for what in ("source", "target", "delay_steps", "weight") if one is not None else ():
                assert np.array_equal(getattr(one, what), getattr(other, what))
        assert isinstance(ours.arithmetic, Membrane)
        assert isinstance(theirs.arithmetic, Membrane)
        assert theirs.arithmetic.tau_steps == pytest.approx(ours.arithmetic.tau_steps, rel=1e-15)
        assert theirs.arithmetic.gain == pytest.approx(ours.arithmetic.gain, rel=1e-15)
        assert theirs.arithmetic.v_reset == ours.arithmetic.v_reset
        if ours.fires:
            assert theirs.arithmetic.strict == ours.arithmetic.strict


@st.composite
def networks(draw: st.DrawFn, plain: bool = True) -> CanonicalNetwork:
    """Any small chain: empty synapses, several of one pair, loops, an integrator at the end or none.

    ``plain``: of numbers that NIR holds.
    """
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    weights = st.sampled_from([-1.5, -0.1, 0.25, 1.0, 3e-7])

    def synapses(sources: int, targets: int, least: int) -> Synapses:
        one = st.tuples(st.integers(0, sources - 1), st.integers(0, targets - 1), st.integers(least, 4))
        keys = draw(st.lists(one, max_size=8, unique=True))
        columns = np.array(keys, int).reshape(-1, 3).T
        weight = [draw(weights) for _ in keys]
        return Synapses.sorted(
            sources, targets, *columns, weight, draw(st.sampled_from(["synapse", "axon", "dendrite"]))
        )

    populations = []
    tau = st.floats(1, 50) if plain else st.floats(1)
    resets = st.just("hard") if plain else st.sampled_from(["hard", "soft"])
    for i, (sources, targets) in enumerate(pairwise(widths)):
        numbers = Membrane(
            draw(tau), draw(st.booleans()), draw(st.floats(0.1, 3)), draw(st.sampled_from([0.0, -0.3])), draw(resets),
            strict=draw(st.booleans()),
        )  # fmt: skip
        bias = np.array([draw(st.sampled_from([0.0, 0.5, -0.1])) for _ in range(targets)])
        fires = i < len(widths) - 2 or draw(st.booleans())
        loop = synapses(targets, targets, 1) if fires and draw(st.booleans()) else None
        populations.append(Population(f"p{i}", synapses(sources, targets, 0), bias, numbers, fires, loop))
    return CanonicalNetwork(widths[0], tuple(populations), draw(st.sampled_from([1.0, 0.1, 2.7])), {"a": "b"})


@settings(max_examples=60, deadline=None)
@given(networks(), st.sampled_from(ENCODINGS), st.sampled_from(list(UNIT_MS)))
def test_law_to_nir_and_back_is_the_same_network(network: CanonicalNetwork, encoding: str, time_unit: str) -> None:
    assert to_bytes(from_nir(to_nir(network, encoding=encoding, time_unit=time_unit))) == to_bytes(network)


@settings(max_examples=40, deadline=None)
@given(networks(plain=False), st.sampled_from(list(UNIT_MS)), st.floats(1e-9, 1e9))
def test_law_every_number_survives_or_is_refused(network: CanonicalNetwork, time_unit: str, dt_ms: float) -> None:
    network = replace(network, dt_ms=dt_ms)
    content = to_bytes(network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "network.npz")
        path.write_bytes(content)
        assert to_bytes(read_network(path)) == content
        try:
            write_nir(network, path, time_unit=time_unit)
        except ExportError:
            numbers = [(p.arithmetic, p.fires) for p in network.populations]
            assert any(n.tau_steps * dt_ms > 1e304 or (fires and n.reset == "soft") for n, fires in numbers)
        else:
            assert to_bytes(from_nir(read_nir(path))) == content


@pytest.mark.parametrize("whole", [False, True])
def test_networks_in_integer_arithmetic_survive_too(whole: bool, tmp_path: Path) -> None:
    content = to_bytes(random_network(whole=whole, recurrent=True, reset="soft"))
    (tmp_path / "n.npz").write_bytes(content)
    assert to_bytes(read_network(tmp_path / "n.npz")) == content


def test_synapses_that_add_up_come_back_as_one() -> None:
    network = planted()
    twice = Synapses.sorted(3, 3, [0, 0, 1], [2, 2, 1], [4, 4, 0], [0.5, 0.25, 1.0], "synapse")
    network = replace(network, populations=(replace(network.populations[0], synapses=twice), network.populations[1]))
    for encoding in ENCODINGS:
        again = from_nir(to_nir(network, encoding=encoding))
        assert again.populations[0].synapses.weight.tolist() == [0.75, 1.0]
        assert to_bytes(again) == to_bytes(merged_network(network)) != to_bytes(network)


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("prefix", ["hidden1", "hidden2.recurrent", "readout"])
@pytest.mark.parametrize("what", ["delay", "weight"])
def test_canary_a_graph_that_was_changed_is_another_network(what: str, prefix: str, encoding: str) -> None:
    network = case_of("recurrent")
    graph = to_nir(network, encoding=encoding)
    name = f"{prefix}.{what}" + ("" if encoding == "gather" else "3")
    values = getattr(graph.nodes[name], what)
    values += DT_MS if what == "delay" else -0.01
    again = from_nir(graph)
    assert to_bytes(again) != to_bytes(network)
    with pytest.raises(AssertionError, match="differ"):
        assert_same(network, graph, counts())
    assert_same(again, graph, counts())


def test_a_copy_swapped_is_another_network() -> None:
    graph = to_nir(case_of("recurrent"))
    copies = graph.nodes["hidden2.copy"].weight
    copies[[0, -1]] = copies[[-1, 0]]
    again = from_nir(graph)
    assert to_bytes(again) != to_bytes(case_of("recurrent"))
    assert_same(again, graph, counts())


@pytest.mark.parametrize(
    ("key", "field", "value"),
    [("tau", "tau_steps", 4.0), ("v_threshold", "threshold", 0.75), ("strict", "strict", True)],
)
def test_metadata_of_an_older_graph_give_way_to_the_nodes(key: str, field: str, value: Any) -> None:
    network = canonical_of()
    graph = to_nir(network)
    node = graph.nodes["hidden1"]
    if key == "strict":
        node.metadata["threshold_op"] = "gt"
    else:
        getattr(node, key)[:] = value * (DT_MS if key == "tau" else 1)
    again = from_nir(graph)
    assert getattr(again.populations[0].arithmetic, field) == value
    assert again.populations[1].arithmetic == network.populations[1].arithmetic
    # r = tau_old / dt is neither 1 nor tau / dt now, and went into the weights.
    factor = 0.5 if key == "tau" else 1.0
    assert np.array_equal(again.populations[0].synapses.weight, network.populations[0].synapses.weight * factor)
    read_and_compared(graph, DT_MS)


def test_another_step_is_another_network_unless_delays_do_not_fit() -> None:
    graph = to_nir(planted())
    slower = from_nir(graph, dt_ms=5.0)
    assert (slower.dt_ms, slower.populations[0].arithmetic.tau_steps) == (5.0, 2.0)
    assert list(slower.populations[0].synapses.delay_steps) == [0, 6, 10]
    with pytest.raises(DataError, match=r"'a\.delay': 2 of 3 delays are not integer steps >= 0 of 7, as 30"):
        from_nir(graph, dt_ms=7.0)


def weights(targets: int, sources: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.15, 0.4, (targets, sources))


def delays(n: int, seed: int = 0) -> nir.Delay:
    return nir.Delay(np.random.default_rng(seed).integers(0, 6, n).astype(float))


def read_and_compared(graph: nir.NIRGraph, dt: float = 1.0, **arguments: Any) -> CanonicalNetwork:
    """Another tool's graph read: its spikes are the interpreter's, and there are spikes."""
    unit = {} if "time_unit" in graph.metadata else {"time_unit": "ms"}
    network = from_nir(graph, **{"dt_ms": dt, **unit, **arguments})
    expected, got = interpret(graph, counts(), dt=dt), simulate(network, counts())
    assert got.margin > 1e-9
    for population in network.populations:
        values = got.outputs[population.name]
        if population.fires:
            assert 0.02 < values.mean() < 0.6
        assert np.abs(values - expected[population.name]).max() < 1e-12
    return network


def test_delays_before_and_after_weights_and_matrices_in_a_row() -> None:
    first = nir.NIRGraph.from_list(
        delays(INPUTS, 1), nir.Linear(weights(9, INPUTS)), delays(9, 2), delays(9, 3), nir.Linear(weights(12, 9, 1)),
        nir.Affine(np.eye(12)[::-1] * 0.5, np.full(12, 0.05)), leaky(12), nir.Linear(weights(4, 12, 2)), delays(4, 4),
        leaky(4, fires=False),
    )  # fmt: skip
    network = read_and_compared(first)
    assert [p.name for p in network.populations] == ["lif", "li"]
    assert [p.synapses.sharing for p in network.populations] == ["synapse", "dendrite"]
    assert network.populations[0].synapses.max_delay_steps > 8
    assert (network.populations[0].bias == 0.05).all()
    assert (network.dt_ms, network.notes) == (1.0, {})
    assert network.populations[0].arithmetic == Membrane(2.0, False, 0.43, 0.0, strict=True)


def test_neurons_that_receive_from_each_other_and_themselves_without_matrices() -> None:
    nodes = {
        "in": nir.Input({"input": np.array([INPUTS])}), "one": leaky(INPUTS), "back": nir.Delay(np.full(INPUTS, 3.0)),
        "not": nir.Linear(-np.eye(INPUTS)), "two": leaky(INPUTS), "out": nir.Output({"output": np.array([INPUTS])}),
    }  # fmt: skip
    edges = [("in", "one"), ("one", "back"), ("back", "not"), ("not", "one"), ("one", "two"), ("two", "out")]
    network = read_and_compared(nir.NIRGraph(nodes, edges))
    one, two = network.populations
    assert one.recurrent is not None
    assert set(one.recurrent.weight) == {-1.0}
    assert set(one.recurrent.delay_steps) == {3}
    assert np.array_equal(two.synapses.source, two.synapses.target)


@pytest.mark.parametrize(("r", "decay_input"), [(2.0, False), (1.0, True), (3.0, False), (None, False)])
def test_resistance_is_gain_or_goes_into_the_weights(r: float | None, decay_input: bool) -> None:
    each = np.linspace(1, 4, 12) if r is None else np.full(12, r)
    matrix = weights(12, INPUTS) * 2
    graph = nir.NIRGraph.from_list(nir.Affine(matrix, np.full(12, 0.04)), leaky(12, r=each))
    population = read_and_compared(graph).populations[0]
    assert isinstance(population.arithmetic, Membrane)
    assert population.arithmetic.decay_input == decay_input
    factor = np.ones(12) if r in (1.0, 2.0) else each / 2
    assert np.allclose(population.bias, 0.04 * factor, rtol=1e-15)
    assert np.allclose(population.synapses.weight, (matrix * factor[:, None]).T.ravel(), rtol=1e-15)


def test_seconds_in_float32() -> None:
    # The largest delay in float32 seconds is off by more than 1e-6 of a step.
    first = nir.Delay((np.arange(INPUTS) * 1e-4 + 0.006).astype(np.float32))
    lif = leaky(12)
    lif.tau = np.full(12, 3e-4, np.float32)
    lif.r = np.full(12, 3, np.float32)
    graph = nir.NIRGraph.from_list(first, nir.Linear(weights(12, INPUTS).astype(np.float32)), lif)
    network = read_and_compared(graph, 1e-4, dt_ms=0.1, time_unit="s")
    assert list(np.unique(network.populations[0].synapses.delay_steps)) == list(range(60, 60 + INPUTS))
    assert network.populations[0].synapses.sharing == "axon"
    numbers = network.populations[0].arithmetic
    assert isinstance(numbers, Membrane)
    assert (numbers.tau_steps, numbers.decay_input) == (pytest.approx(3, rel=1e-6), False)
    graph.metadata = {"dt": 1e-4, "time_unit": "s"}
    assert from_nir(graph).dt_ms == pytest.approx(0.1)


@pytest.mark.parametrize("decay_input", [True, False])
def test_a_network_of_spikingjelly_comes_in_and_ours_goes_there(decay_input: bool) -> None:
    neuron = pytest.importorskip("spikingjelly.activation_based.neuron", reason="spikingjelly is not installed")
    exchange = pytest.importorskip("spikingjelly.activation_based.nir_exchange", reason="nirtorch is not installed")
    torch.manual_seed(0)
    scale = 1.5 if decay_input else 0.5
    theirs = torch.nn.Sequential(
        torch.nn.Linear(INPUTS, 20), neuron.LIFNode(tau=2.7, decay_input=decay_input, v_threshold=0.5001),
        torch.nn.Linear(20, 5, bias=False), neuron.LIFNode(tau=2.0, decay_input=decay_input, v_threshold=0.3003),
    ).double()  # fmt: skip
    with torch.no_grad():
        theirs[0].weight.mul_(2 * scale).add_(0.1 * scale)
        theirs[2].weight.mul_(2 * scale).add_(0.1 * scale)
    x = torch.from_numpy(counts())
    network = from_nir(exchange.export_to_nir(theirs, x[:1], dt=1e-3), dt_ms=1.0, time_unit="s")
    for module in theirs:
        if hasattr(module, "reset"):
            module.reset()  # the export ran it
    expected = torch.cat([theirs(now[None]) for now in x]).detach().numpy()
    response = simulate(network, counts())
    assert response.margin > 1e-9
    assert all(0.02 < spikes.mean() < 0.6 for spikes in response.outputs.values())
    assert np.array_equal(list(response.outputs.values())[-1], expected)
    # And back: the graph we write of it runs there.
    read = exchange.import_from_nir(to_nir(network), dt=1.0, dtype=torch.float64)
    state, back = None, []
    for now in x:
        spikes, state = read(now[None], state)
        back.append(spikes[0].detach().numpy())
    assert np.array_equal(back, expected)
