"""Convolutions and pooling leave as populations and synapses, which other simulators run alike."""

from pathlib import Path

import numpy as np
import pytest
import torch

from snn_delays.discrete.conversion import canonical, network_of
from snn_delays.export.nir.interpret import interpret
from snn_delays.export.nir.write import to_nir
from snn_delays.export.targets import write_export
from snn_delays.ir.canonical import read_network
from snn_delays.ir.trace import first_mismatch, make_trace
from tests.support.streaming_networks import batched, maps, spikes


@pytest.mark.parametrize("kind", ["max", "mean, a delay a pair of maps", "sum, a delay an input map"])
def test_a_nir_graph_of_maps_fires_as_the_layers_do(kind: str, tmp_path: Path) -> None:
    network, x = maps(kind), spikes(60, 144, 0.2)
    form, want = canonical(network, dt_ms=1.0), batched(network, x)
    trace = make_trace(form, x[:, None])
    for population in form.populations:
        layer = population.name if population.name in want else f"{population.name}.neuron"
        if population.fires:
            np.testing.assert_array_equal(trace.outputs[population.name][:, 0], want[layer])
    got = interpret(to_nir(form), trace.counts, keep=[population.name for population in form.populations])
    assert first_mismatch(form, trace, got) is None
    late = interpret(
        to_nir(form), np.roll(trace.counts, 1, 0), keep=[population.name for population in form.populations]
    )
    assert first_mismatch(form, trace, late) is not None
    files = write_export(form, trace, "brian2", tmp_path / "there")
    assert [p.name for p in read_network(files[0]).populations] == [p.name for p in form.populations]


def test_the_network_of_a_canonical_form_of_maps_is_flat() -> None:
    network, x = maps("max"), spikes(60, 144, 0.2)
    flat = network_of(canonical(network, dt_ms=1.0))
    with torch.inference_mode():
        got, _ = flat(torch.from_numpy(x)[:, None])
    np.testing.assert_allclose(got[:, 0], batched(network, x)["readout.integrator"], rtol=1e-9, atol=1e-11)
