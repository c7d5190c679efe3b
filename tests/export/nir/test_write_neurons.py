"""Current-based and integrate-and-fire neurons as NIR's CubaLIF and IF: written, run, read; others refuse them."""

import math
from pathlib import Path
from typing import Any

import nir
import numpy as np
import pytest
import torch

from snn_delays import use_backend
from snn_delays.chips.profiles import profile
from snn_delays.chips.violations import violations
from snn_delays.discrete import discretize
from snn_delays.discrete.conversion import canonical, network_of
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.errors import DataError, ExportError
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.read import from_nir
from snn_delays.export.nir.write import to_nir
from snn_delays.export.targets import FORMATS, write_export
from snn_delays.ir.canonical import CanonicalNetwork, read_network, to_bytes
from snn_delays.ir.simulator import simulate
from snn_delays.ir.trace import make_trace
from snn_delays.nn import LIF, CubaLIF, DelayedLinear, LeakyIntegrator, Recurrent, Sequential

STEPS, N = 60, 9
NEURONS: dict[str, Any] = {
    "cuba": lambda: CubaLIF(4.0, 2.5, threshold=0.9),
    "cuba, scaled": lambda: CubaLIF(4.0, 2.5, decay_input=True, strict=True, threshold=0.15, v_reset=-0.25),
    "cuba, learned": lambda: CubaLIF(3.0, 2.0, learn_tau=True, learn_threshold=True),
    "if": lambda: LIF(math.inf, threshold=1.3),
}


def network(name: str, recurrent: bool = True) -> tuple[Any, CanonicalNetwork, torch.Tensor]:
    torch.manual_seed(0)
    synapse = DelayedLinear(N, N, max_delay_steps=4, min_delay_steps=1)
    layers = Sequential(
        synapse=DelayedLinear(5, N, max_delay_steps=6, bias=True),
        neuron=Recurrent(synapse, NEURONS[name]()) if recurrent else NEURONS[name](),
        out=DelayedLinear(N, 3, max_delay_steps=3), readout=LeakyIntegrator(5.0),
    ).double()  # fmt: skip
    discrete = discretize(layers).double()
    x = (torch.rand(STEPS, 1, 5, dtype=torch.float64) < 0.4).double()
    return discrete, canonical(discrete, dt_ms=1.0), x


@pytest.mark.parametrize("encoding", ["gather", "branch"])
@pytest.mark.parametrize("name", NEURONS)
def test_what_is_evaluated_is_what_is_simulated_written_and_run(name: str, encoding: str) -> None:
    discrete, plain, x = network(name)
    with torch.no_grad(), use_backend(cells="reference"):
        spikes = discrete.neuron(discrete.synapse(x)[0])[0][:, 0].numpy()
        again = network_of(plain)(x)[0]
        membranes = discrete(x)[0]
    assert 0.02 < spikes.mean() < 0.8
    counts = x[:, 0].numpy().astype(int)
    assert np.array_equal(simulate(plain, counts).outputs["synapse"], spikes)
    torch.testing.assert_close(again, membranes, rtol=1e-12, atol=1e-12)
    graph = to_nir(plain, encoding=encoding)
    assert type(graph.nodes["synapse"]) is (nir.IF if name == "if" else nir.CubaLIF)
    ran = interpret(graph, counts)
    assert np.array_equal(ran["synapse"], spikes)
    if name != "if":  # the comparison can fail
        graph.nodes["synapse"].tau_syn *= 1.2
        assert not np.array_equal(interpret(graph, counts)["synapse"], spikes)


@pytest.mark.parametrize("name", NEURONS)
def test_graphs_come_back_with_and_without_our_metadata(name: str) -> None:
    _, plain, x = network(name)
    graph, counts = to_nir(plain), x[:, 0].numpy().astype(int)
    assert from_nir(graph).populations[0].arithmetic == plain.populations[0].arithmetic
    del graph.metadata["snn_delays"]
    back = from_nir(graph)
    assert np.array_equal(simulate(back, counts).outputs["synapse"], simulate(plain, counts).outputs["synapse"])
    numbers, same = back.populations[0].arithmetic, plain.populations[0].arithmetic
    assert numbers.tau_syn_steps == pytest.approx(same.tau_syn_steps)  # type: ignore[union-attr]


def test_a_graph_of_another_tool_has_its_gains_folded_into_its_weights() -> None:
    _, plain, x = network("cuba", recurrent=False)
    graph, counts = to_nir(plain), x[:, 0].numpy().astype(int)
    del graph.metadata["snn_delays"]
    node = graph.nodes["synapse"]
    node.w_in, node.r = node.w_in * 2, node.r / 4
    want = interpret(graph, counts)["synapse"]
    assert 0.01 < want.mean() < 0.8
    assert np.array_equal(simulate(from_nir(graph), counts).outputs["synapse"], want)
    del node.metadata["reset"]
    with pytest.raises(DataError, match="is a CubaLIF, whose reset a step late"):
        from_nir(graph, reset="soft_late")


def test_files_keep_the_filter_and_those_of_other_neurons_say_nothing_of_it(tmp_path: Path) -> None:
    for name, said in (("cuba", True), ("if", False)):
        _, plain, _ = network(name)
        file = tmp_path / f"{name}.npz"
        file.write_bytes(to_bytes(plain))
        assert read_network(file).populations[0].arithmetic == plain.populations[0].arithmetic
        assert ("tau_syn_steps" in str(np.load(file)["network"])) is said


def test_everything_else_refuses_a_filter_by_name(tmp_path: Path) -> None:
    discrete, plain, x = network("cuba")
    trace = make_trace(plain, x.numpy().astype(int))
    for to, form in FORMATS.items():
        if form.filters:
            write_export(plain, trace, to, tmp_path / to)
        elif form.arithmetic != "whole":
            with pytest.raises(
                ExportError, match=rf"{to} cannot hold this network: synapse filters its current \(Cuba"
            ):
                write_export(plain, trace, to, tmp_path / to)
    with pytest.raises(ExportError, match="neuron are CubaLIF neurons, which cannot be streamed"):
        StreamingEngine(discrete)
    with pytest.raises(ExportError, match="leads to CubaLIF neurons, which have no form in integer arithmetic"):
        discretize(Sequential(DelayedLinear(3, 3, max_delay_steps=2), CubaLIF(3.0, 2.0)), target="loihi2")
    assert any("currents are filtered (CubaLIF)" in str(one) for one in violations(plain, profile("spinnaker2")))
    each = discretize(Sequential(DelayedLinear(3, 3, max_delay_steps=2), CubaLIF(3.0, torch.ones(3) * 2)))
    with pytest.raises(ExportError, match="tau_syn_steps is a tensor of 3 numbers"):
        canonical(each, dt_ms=1.0)
    never = Sequential(DelayedLinear(3, 3, max_delay_steps=2), CubaLIF(math.inf, 2.0))
    with pytest.raises(ExportError, match="NIR needs a finite time"):
        to_nir(canonical(discretize(never), dt_ms=1.0))
