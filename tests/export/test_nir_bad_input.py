"""NIR: what cannot be written or read is one clear error and leaves nothing behind."""

import copy
import os
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
from nir_networks import network_of, planted

from snn_delays.errors import ConfigError, DataError, ExportError, ShapeError
from snn_delays.export import DiscreteNetwork, discretize
from snn_delays.export.discretize import DiscretizationReport
from snn_delays.export.nir import read_nir, to_nir, write_nir
from snn_delays.export.nir_interpreter import interpret
from snn_delays.nn import LIF, BatchNorm, DelayedLinear, Sequential


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
