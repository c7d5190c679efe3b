"""NIR: what cannot be written or read is one clear error and leaves no file."""

import os
import resource
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from snn_delays.errors import ConfigError, DataError, ExportError, ShapeError
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.read import from_nir
from snn_delays.export.nir.write import ENCODINGS, read_nir, refuses, to_nir, write, write_nir
from snn_delays.ir.canonical import CanonicalNetwork
from tests.support.canonical_networks import random_network, random_trace
from tests.support.nir_networks import canonical_of, network_of, planted


def altered(which: int = 0, **changes: Any) -> CanonicalNetwork:
    """A network with a population changed, its arithmetic where the change has such a name."""
    network = planted()
    population = network.populations[which]
    for key, value in changes.items():
        if key in ("tau_steps", "decay_input", "threshold", "v_reset", "reset"):
            key, value = "arithmetic", replace(population.arithmetic, **{key: value})
        elif key in ("weight", "delay_steps"):
            value = np.full_like(getattr(population.synapses, key), value)
            key, value = "synapses", replace(population.synapses, **{key: value})
        population = replace(population, **{key: value})
    populations = list(network.populations)
    populations[which] = population
    return replace(network, populations=tuple(populations))


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    ("make", "match"),
    [
        (network_of, r"canonical form, got a Sequential; pass canonical\("),
        (lambda: random_network(whole=True), r"hidden1 computes in integers.* weights on a grid"),
        (lambda: canonical_of(reset="soft"), r"hidden1 has a soft reset.*train with reset='hard'"),
        (lambda: altered(1, tau_steps=float("inf"), decay_input=True), r"output\.tau_steps is inf"),
        (lambda: altered(name="a/b"), r"population 'a/b': a name has letters"),
        (lambda: altered(name="output"), r"population 'output': a name .* belongs to one population"),
        (lambda: altered(fires=False), "a: leaky integrators"),
        (lambda: CanonicalNetwork(3, (), 1.0), "no populations"),
        (lambda: altered(weight=float("nan")), r"a: 3 of 3 weights are not finite"),
        (lambda: altered(bias=np.full(3, np.inf)), r"a\.bias must be 3 finite"),
        (lambda: altered(delay_steps=-1), r"a: 3 of 3 delays are below 0"),
        (lambda: replace(planted(), dt_ms=0.0), r"dt_ms must be a positive"),
        (lambda: replace(planted(), dt_ms=float("nan")), r"dt_ms must be a positive"),
    ],
)  # fmt: skip
def test_what_nir_cannot_hold_is_refused_by_name(
    make: Callable[[], Any], match: str, encoding: str, tmp_path: Path
) -> None:
    with pytest.raises(ExportError, match=match):
        write_nir(make(), tmp_path / "n.nir", encoding=encoding)
    assert not os.listdir(tmp_path)


def test_nodes_with_one_name_are_refused() -> None:
    with pytest.raises(ExportError, match=r"two nodes would be called 'output\.delay'"):
        to_nir(altered(name="output.delay"))


def test_refuses_is_the_sentence_of_the_error() -> None:
    assert refuses(planted()) is None
    network = canonical_of(reset="soft")
    with pytest.raises(ExportError) as error:
        to_nir(network)
    assert refuses(network) == str(error.value)


def test_an_encoding_that_does_not_exist_is_refused(tmp_path: Path) -> None:
    network = random_network()
    with pytest.raises(ConfigError, match="gather, branch, got 'matrix'"):
        write(network, random_trace(network), tmp_path, encoding="matrix")
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("metadata", [{"dt": 1}, {"a/b": 1}, {"": 1}, {"a": None}, {"a": [1]}, {"a": np.array("x")}])
def test_metadata_nir_cannot_hold_are_refused(metadata: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="metadata"):
        write_nir(planted(), tmp_path / "n.nir", metadata=metadata)
    assert not os.listdir(tmp_path)


def test_a_folder_that_takes_no_files_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ExportError, match=r"cannot be written to .*n\.nir"):
        write_nir(planted(), tmp_path / "file" / "n.nir")
    (tmp_path / "locked").mkdir(mode=0o500)
    if os.geteuid():  # root may write anywhere
        with pytest.raises(ExportError, match="Permission denied"):
            write_nir(planted(), tmp_path / "locked" / "n.nir")


def test_a_full_disk_leaves_the_previous_file_and_nothing_else(tmp_path: Path) -> None:
    path = write_nir(planted(), tmp_path / "n.nir")
    before = path.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        with pytest.raises(ExportError, match="cannot be written"):
            write_nir(canonical_of(), path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert os.listdir(tmp_path) == ["n.nir"]
    assert path.read_bytes() == before


def test_files_that_are_no_graph_are_one_clear_error(tmp_path: Path) -> None:
    path = tmp_path / "n.nir"
    with pytest.raises(DataError, match="no file"):
        read_nir(path)
    content = write_nir(planted(), tmp_path / "whole.nir").read_bytes()
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
    graph = to_nir(planted(), time_unit="ms")
    for bad, match in [(x[:, :2], r"\(4, 2\).*\[time, 3\]"), (x[0], r"\(3,\)"), (x[None, None], r"\(1, 1, 4, 3\)")]:
        with pytest.raises(ShapeError, match=match):
            interpret(graph, bad)
    with pytest.raises(DataError, match="not finite"):
        interpret(graph, x + np.nan)
    with pytest.raises(DataError, match=r"a\.delay.*not integer steps"):
        interpret(graph, x, dt=7.0)
    for wrong in (-10.0, np.nan, np.inf):
        graph.nodes["a.delay"].delay[1], kept = wrong, graph.nodes["a.delay"].delay[1]
        with pytest.raises(DataError, match=r"a\.delay.*not (integer steps|finite)"):
            interpret(graph, x)
        graph.nodes["a.delay"].delay[1] = kept
    graph.nodes["a.delay"].delay[1] = 1e15  # never arrives, and needs no memory
    assert not interpret(graph, x + 1)["a"][:, 1].any()
    metadata = graph.metadata
    graph.metadata = {}
    with pytest.raises(DataError, match="pass dt="):
        interpret(graph, x)
    graph.metadata = {**metadata}
    graph.nodes["a"].metadata["reset"] = "Soft"
    with pytest.raises(DataError, match="'a' asks for a 'Soft' reset, known are hard, soft, soft_late"):
        interpret(graph, x)
    with pytest.raises(ConfigError, match="reset must be one of hard, soft, soft_late or None, got 'Hard'"):
        interpret(graph, x, reset="Hard")
    lif = graph.nodes["a"]
    lif.metadata["reset"] = "hard"
    with pytest.raises(DataError, match="'a' says that its reset is 'hard', and reset='soft' was passed"):
        interpret(graph, x, reset="soft")
    graph.nodes["a"] = type("Sigma", (nir.LIF,), {})(lif.tau, lif.r, lif.v_leak, lif.v_threshold)
    with pytest.raises(DataError, match="'a' is a Sigma; known are Input"):
        interpret(graph, x)
    graph.nodes["a"] = lif
    graph.nodes["back"] = nir.Linear(np.ones((3, 1)))
    graph.edges += [("output", "back"), ("back", "a.weight")]
    with pytest.raises(DataError, match=r"cycle through .*a.* without a Delay of at least one step"):
        interpret(graph, x)
    graph.nodes.pop("back")
    graph.edges[:] = [edge for edge in graph.edges if "back" not in edge]
    graph.edges[:] = [edge for edge in graph.edges if edge[1] != "a.weight"]
    with pytest.raises(DataError, match=r"no edge leads to node 'a\.weight'"):
        interpret(graph, x)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_a_loop_runs_only_through_a_delay_of_a_step(encoding: str) -> None:
    network = random_network(recurrent=True)
    graph = to_nir(network, encoding=encoding)
    x = np.ones((4, network.inputs))
    interpret(graph, x)
    name = "hidden2.recurrent.delay" + ("" if encoding == "gather" else "1")
    graph.nodes[name].delay[0] = 0
    with pytest.raises(DataError, match=r"cycle through .*hidden2\.recurrent"):
        interpret(graph, x)


def test_a_population_that_no_network_of_ours_has_is_refused() -> None:
    graph = to_nir(planted())
    graph.nodes["file"] = graph.nodes.pop("a")
    graph.edges = [tuple("file" if end == "a" else end for end in edge) for edge in graph.edges]
    with pytest.raises(DataError, match="no network of this package: population 'file': a name has letters"):
        from_nir(graph)
    graph = to_nir(planted())
    graph.nodes["a"] = nir.LI(tau=np.full(3, 10.0), r=np.ones(3), v_leak=np.zeros(3))
    with pytest.raises(DataError, match="no network of this package: a: leaky integrators"):
        from_nir(graph)
