"""Graphs as other tools write them, run by the interpreter: each kind of node against equations written out again."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from snn_delays.discrete.conversion import network_of
from snn_delays.errors import ConfigError, DataError, ShapeError
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.read import from_nir
from snn_delays.export.nir.write import UNIT_MS, read_nir, to_nir, write_nir
from snn_delays.ir.canonical import CanonicalNetwork, Membrane
from snn_delays.ir.simulator import simulate
from tests.support.nir_nodes import DT, RNG, STEPS, N, alone, drive, each, neurons


def chain(*nodes: nir.NIRNode) -> nir.NIRGraph:
    return nir.NIRGraph.from_list(*nodes)


def leaky(n: int = N, **other: Any) -> nir.LIF:
    values = {"tau": 3.0, "r": 2.0, "v_leak": 0.0, "v_threshold": 0.5001, "v_reset": 0.0, **other}
    return nir.LIF(**{key: np.full(n, value) for key, value in values.items()})


def weights(seed: int = 0, targets: int = N, sources: int = N) -> np.ndarray:
    return RNG(seed).normal(0.1, 0.5, (targets, sources))


def test_a_nested_graph_is_what_it_holds() -> None:
    flat = chain(nir.Linear(weights()), leaky(), nir.Linear(weights(1)), leaky())
    want = interpret(flat, drive(), dt=DT)["lif_1"]
    assert 0.02 < want.mean() < 0.6
    inner = chain(nir.Linear(weights()), leaky())
    middle = nir.NIRGraph(
        {"input": nir.Input(np.array([N])), "deep": inner, "output": nir.Output(np.array([N]))},
        [("input", "deep"), ("deep", "output")],
    )
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([N])), "sub": middle, "w": nir.Linear(weights(1)), "last": leaky(),
            "output": nir.Output(np.array([N])),
        },
        [("input", "sub"), ("sub", "w"), ("w", "last"), ("last", "output")],
    )  # fmt: skip
    got = interpret(graph, drive(), dt=DT)
    assert np.array_equal(got["last"], want)
    assert "sub.deep.lif" in got
    network = from_nir(graph, dt_ms=DT, time_unit="ms")
    assert [population.name for population in network.populations] == ["sub.deep.lif", "last"]
    assert np.array_equal(simulate(network, drive()).outputs["last"], want)
    assert np.array_equal(interpret(middle, drive(), dt=DT)["output"], interpret(inner, drive(), dt=DT)["lif"])


def loop(nested: bool) -> nir.NIRGraph:
    """Neurons that receive from themselves through an Affine, as RLeaky of snnTorch is written; and the next layer."""
    ends = {"input": nir.Input(np.array([N])), "output": nir.Output(np.array([N]))}
    parts = {"l": leaky(), "rec": nir.Linear(weights(2) - 0.3)}
    edges = [("input", "l"), ("l", "rec"), ("rec", "l"), ("l", "output")]
    if not nested:
        nodes = {**ends, "w": nir.Linear(weights()), **parts, "next": nir.Linear(weights(3)), "m": leaky()}
        tail = [("l", "next"), ("next", "m"), ("m", "output")]
        return nir.NIRGraph(nodes, [("input", "w"), ("w", "l"), *edges[1:3], *tail])
    sub = nir.NIRGraph({**ends, **parts}, edges)
    nodes = {**ends, "w": nir.Linear(weights()), "sub": sub, "next": nir.Linear(weights(3)), "m": leaky()}
    return nir.NIRGraph(nodes, [("input", "w"), ("w", "sub"), ("sub", "next"), ("next", "m"), ("m", "output")])


@pytest.mark.parametrize("nested", [False, True])
def test_a_population_receives_from_itself_a_step_later(nested: bool) -> None:
    graph, x = loop(nested), drive()
    v, spikes, want = np.zeros(N), np.zeros(N), []
    for now in x:
        v = v + DT / 3 * (2 * (weights() @ now + (weights(2) - 0.3) @ spikes) - v)
        spikes = (v > 0.5001) * 1.0
        v = np.where(spikes, 0, v)
        want.append(spikes)
    name = "sub.l" if nested else "l"
    assert 0.02 < np.mean(want) < 0.6
    assert np.abs(np.array(want) - interpret(graph, x, dt=DT)[name]).max() == 0
    network = from_nir(graph, dt_ms=DT, time_unit="ms")
    assert network.populations[0].recurrent is not None
    assert set(network.populations[0].recurrent.delay_steps) == {1}
    assert np.array_equal(simulate(network, x).outputs[name], want)
    assert np.array_equal(simulate(network, x).outputs["m"], interpret(graph, x, dt=DT)["m"])


def test_a_loop_outside_a_nested_graph_takes_a_step_too() -> None:
    inner = nir.NIRGraph.from_list(leaky())
    nodes = {
        "input": nir.Input(np.array([N])), "sub": inner, "rec": nir.Linear(weights(2) - 0.3),
        "next": nir.Linear(weights(3)), "m": leaky(), "output": nir.Output(np.array([N])),
    }  # fmt: skip
    edges = [("input", "sub"), ("sub", "rec"), ("rec", "sub"), ("sub", "next"), ("next", "m"), ("m", "output")]
    graph = nir.NIRGraph(nodes, edges, type_check=False)
    plain = nir.NIRGraph({**nodes, "sub": leaky()}, edges)
    for name, other in (("sub.lif", "sub"), ("m", "m")):
        want = interpret(plain, drive(), dt=DT)[other]
        assert 0.02 < want.mean() < 0.6
        assert np.array_equal(interpret(graph, drive(), dt=DT)[name], want)
        network = from_nir(graph, dt_ms=DT, time_unit="ms")
        assert np.array_equal(simulate(network, drive()).outputs[name], want)


def test_a_loop_through_two_populations_has_no_order() -> None:
    nodes = {
        "input": nir.Input(np.array([N])), "a": leaky(), "w": nir.Linear(weights()), "b": leaky(),
        "back": nir.Linear(weights(1)), "output": nir.Output(np.array([N])),
    }  # fmt: skip
    edges = [("input", "a"), ("a", "w"), ("w", "b"), ("b", "back"), ("back", "a"), ("b", "output")]
    graph = nir.NIRGraph(nodes, edges)
    with pytest.raises(DataError, match=r"cycle through .* without a Delay of at least one step"):
        interpret(graph, drive(), dt=DT)
    with pytest.raises(DataError, match="'a' receives from b, input"):
        from_nir(graph, dt_ms=DT, time_unit="ms")


def test_single_numbers_stand_for_all_neurons() -> None:
    one = np.array(1.0)
    neuron = nir.LIF(tau=one * 3, r=one * 2, v_leak=one * 0, v_threshold=one * 0.5001, v_reset=one * 0)
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([N])), "late": nir.Delay(np.array(1.5)), "w": nir.Linear(weights()),
            "lif": neuron, "output": nir.Output(np.array([N])),
        },
        [("input", "late"), ("late", "w"), ("w", "lif"), ("lif", "output")], type_check=False,
    )  # fmt: skip
    want = interpret(chain(nir.Delay(np.full(N, 1.5)), nir.Linear(weights()), leaky()), drive(), dt=DT)["lif"]
    assert 0.02 < want.mean() < 0.6
    assert np.array_equal(interpret(graph, drive(), dt=DT)["lif"], want)
    assert np.array_equal(simulate(from_nir(graph, dt_ms=DT, time_unit="ms"), drive()).outputs["lif"], want)


def test_shapes_that_are_missing_or_have_axes_of_one_are_found() -> None:
    want = interpret(chain(nir.Linear(weights()), leaky()), drive(), dt=DT)["lif"]
    nodes = {"w": nir.Linear(weights()), "lif": leaky()}
    bare = nir.NIRGraph(dict(nodes), [("w", "lif")], type_check=False)
    assert np.array_equal(interpret(bare, drive(), dt=DT)["lif"], want)
    unsaid = nir.Input(np.array([N]))
    unsaid.input_type, unsaid.output_type = {"input": None}, {}
    odd = nir.NIRGraph(
        {"input": unsaid, **nodes, "output": nir.Output(np.array([1, 1, N]))},
        [("input", "w"), ("w", "lif"), ("lif", "output")], type_check=False,
    )  # fmt: skip
    assert np.array_equal(interpret(odd, drive(), dt=DT)["output"], want)
    for graph in (bare, odd):
        network = from_nir(graph, dt_ms=DT, time_unit="ms")
        assert np.array_equal(simulate(network, drive()).outputs["lif"], want)
    with pytest.raises(ShapeError, match="must be numbers"):
        interpret(bare, np.array([["a"]]), dt=DT)


def test_maps_are_flattened_row_by_row() -> None:
    weight = weights(0, 5, 24)
    shaped = nir.LIF(*(np.full((2, 3, 4), v) for v in (3.0, 2.0, 0.0, 0.2501, 0.0)))
    graph = chain(shaped, nir.Flatten({"input": np.array([2, 3, 4])}, 0, -1), nir.Linear(weight), leaky(5))
    x = drive(6, 2, 3, 4)
    want = interpret(graph, x, dt=DT)
    network = from_nir(graph, dt_ms=DT, time_unit="ms")
    got = simulate(network, x.reshape(STEPS, 24)).outputs
    assert 0.02 < got["lif_1"].mean() < 0.6
    assert np.array_equal(got["lif_1"], want["lif_1"])
    assert np.array_equal(got["lif"], want["lif"].reshape(STEPS, 24))
    # Others count the axis of samples, too; a matrix after it leaves one reading.
    counted = chain(shaped, nir.Flatten({"input": np.array([2, 3, 4])}, 0, -1), nir.Linear(weight), leaky(5))
    counted.nodes["flatten"].start_dim = 1
    assert np.array_equal(interpret(counted, x, dt=DT)["lif_1"], want["lif_1"])


def test_scale_acts_before_and_after_weights() -> None:
    graph = chain(nir.Scale(each(0.5, 2)), nir.Affine(weights(), each(0, 0.1)), nir.Scale(each(0.5, 2, 1)), leaky())
    want = interpret(graph, drive(), dt=DT)["lif"]
    assert 0.02 < want.mean() < 0.6
    assert np.array_equal(simulate(from_nir(graph, dt_ms=DT, time_unit="ms"), drive()).outputs["lif"], want)


@pytest.mark.parametrize("kind", ["CubaLI", "I"])
def test_neurons_that_no_layer_has_are_refused_by_name_where_layers_are_made(kind: str) -> None:
    with pytest.raises(DataError, match=rf"is a {kind}, for which networks here have no layer.*interpret runs it"):
        from_nir(alone(neurons(kind)), dt_ms=DT, time_unit="ms")


@pytest.mark.parametrize("wrong", [0.0, -1.0, 0.3, np.nan, np.inf])
@pytest.mark.parametrize(
    ("kind", "key"), [("LIF", "tau"), ("LI", "tau"), ("CubaLIF", "tau_syn"), ("CubaLI", "tau_mem")]
)
def test_time_constants_below_a_step_are_refused(kind: str, key: str, wrong: float) -> None:
    node = neurons(kind)
    getattr(node, key)[2] = wrong
    match = rf"'node' has {key} .* shorter than a step of 0\.5" if np.isfinite(wrong) else "1 of 6 values of .* finite"
    with pytest.raises(DataError, match=match):
        interpret(alone(node), drive(), dt=DT)


@pytest.mark.parametrize("key", ["weight", "bias"])
def test_weights_that_are_not_finite_are_refused(key: str) -> None:
    node = nir.Affine(weights(), np.zeros(N))
    getattr(node, key).flat[3] = np.nan
    with pytest.raises(DataError, match=f"'node': 1 of .* values of {key} are not finite"):
        interpret(alone(node), drive(), dt=DT)


@pytest.mark.parametrize("time_unit", UNIT_MS)
def test_a_unit_is_written_read_and_kept(time_unit: str, tmp_path: Path) -> None:
    network = from_nir(chain(nir.Delay(np.full(N, 2.5)), nir.Linear(weights()), leaky()), dt_ms=DT, time_unit="ms")
    graph = read_nir(write_nir(network, tmp_path / "n.nir", time_unit=time_unit))
    assert graph.metadata["time_unit"] == time_unit
    assert graph.nodes["lif"].tau[0] == pytest.approx(3.0 / UNIT_MS[time_unit])
    again = from_nir(graph)
    assert again.dt_ms == DT
    assert again.populations[0].arithmetic == network.populations[0].arithmetic
    assert np.array_equal(interpret(graph, drive())["lif"], simulate(network, drive()).outputs["lif"])


def test_files_of_earlier_versions_are_read_in_milliseconds() -> None:
    network = from_nir(chain(nir.Delay(np.full(N, 2.5)), nir.Linear(weights()), leaky()), dt_ms=DT, time_unit="ms")
    graph = to_nir(network, time_unit="ms")
    ours = graph.metadata["snn_delays"]
    graph.metadata["snn_delays"] = ours.replace('"dt_ms": 0.5, ', "")
    assert graph.metadata["snn_delays"] != ours
    again = from_nir(graph)
    assert (again.dt_ms, again.populations[0].arithmetic) == (DT, network.populations[0].arithmetic)


def test_a_unit_is_never_guessed() -> None:
    graph = chain(nir.Linear(weights()), leaky())
    with pytest.raises(DataError, match="do not say the unit of tau and delay; pass time_unit='s'"):
        from_nir(graph, dt_ms=DT)
    graph.metadata = {"time_unit": "s"}
    with pytest.raises(DataError, match="time_unit 's', and 'ms' was passed"):
        from_nir(graph, dt_ms=DT, time_unit="ms")
    graph.metadata = {"time_unit": "minutes"}
    with pytest.raises(DataError, match="time_unit 'minutes', known are s, ms, us"):
        from_nir(graph, dt_ms=DT)
    with pytest.raises(ConfigError, match="time_unit must be one of s, ms, us"):
        to_nir(CanonicalNetwork(1, (), 1.0), time_unit="h")


def test_the_rest_of_an_integrator_survives_or_is_refused() -> None:
    readout = nir.LI(tau=np.full(N, 3.0), r=np.full(N, 6.0), v_leak=np.full(N, 0.3))
    graph = chain(nir.Linear(weights()), leaky(), nir.Linear(weights(1)), readout)
    network = from_nir(graph, dt_ms=DT, time_unit="ms")
    assert network.populations[-1].arithmetic == Membrane(6.0, v_reset=0.3)
    np.testing.assert_allclose(
        simulate(network, drive()).outputs["li"], interpret(graph, drive(), dt=DT)["li"], atol=1e-12
    )
    assert (to_nir(network).nodes["li"].v_leak == 0.3).all()
    with pytest.raises(Exception, match=r"li are integrators that rest at 0\.3, LeakyIntegrator rests at 0"):
        network_of(network)


def write_with(path: Path, graph: nir.NIRGraph, change: Callable[[h5py.Group], None]) -> Path:
    nir.write(path, graph)
    with h5py.File(path, "r+") as file:
        change(file["node"])
    return path


def test_declared_shapes_that_do_not_fit_are_an_error_and_need_not_be_checked(tmp_path: Path) -> None:
    graph = chain(nir.Linear(weights()), leaky())
    graph.nodes["output"] = nir.Output(np.array([1, 1, N]))
    inner = nir.NIRGraph(
        {"input": nir.Input(np.array([N])), "sub": graph, "output": nir.Output(np.array([N]))},
        [("input", "sub"), ("sub", "output")], type_check=False,
    )  # fmt: skip
    for one in (graph, inner):
        nir.write(tmp_path / "n.nir", one)
        with pytest.raises(DataError, match=r"do not fit \(.*lif.*output.*\); type_check=False reads it as it is"):
            read_nir(tmp_path / "n.nir")
        read = read_nir(tmp_path / "n.nir", type_check=False)
        assert np.array_equal(interpret(read, drive(), dt=DT)["output"], interpret(one, drive(), dt=DT)["output"])


def test_a_file_that_declares_more_than_it_holds_is_not_allocated(tmp_path: Path) -> None:
    def enormous(node: h5py.Group) -> None:
        del node["nodes/linear/weight"]
        node["nodes/linear"].create_dataset("weight", (10**6, 10**6), float, chunks=(1000, 1000))

    path = write_with(tmp_path / "n.nir", chain(nir.Linear(weights()), leaky()), enormous)
    with pytest.raises(DataError, match=r"nodes/linear/weight declares \(1000000, 1000000\), .* of which 0 are stored"):
        read_nir(path)


def test_matrices_that_copy_spikes_pack_well_and_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snn_delays.reading.LEAST_ROOM", 0)
    copies = np.repeat(np.eye(1000, dtype=np.float32), 4, 0)
    nir.write(tmp_path / "n.nir", chain(nir.Linear(copies)))
    assert (tmp_path / "n.nir").stat().st_size * 100 < copies.nbytes
    assert np.array_equal(read_nir(tmp_path / "n.nir").nodes["linear"].weight, copies)
