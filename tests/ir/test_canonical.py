"""The canonical form: lossless on the disk, equal to the torch network, and clear about what cannot be."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.discrete.conversion import canonical, network_of
from snn_delays.discrete.network import DiscretizationReport
from snn_delays.errors import DataError, ExportError, ShapeError
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Synapses, check, read_network, to_bytes
from snn_delays.ir.simulator import simulate
from snn_delays.ir.trace import first_mismatch, make_trace, read_trace, trace_bytes
from snn_delays.models import DelayClassifier
from snn_delays.nn import LIF, DelayedConv2d, DelayedLinear, Sequential, record
from tests.support.canonical_networks import random_counts, random_network, random_trace

CASES: dict[str, dict[str, Any]] = {
    "real": {},
    "recurrent": {"recurrent": True},
    "soft": {"reset": "soft", "recurrent": True},
    "decay_input": {"decay_input": True},
    "v_reset, strict": {"v_reset": -0.25, "strict": True},
    "no delays": {"max_delay_steps": 0, "recurrent": True},
    "min delay": {"min_delay_steps": 1},
    "whole": {"whole": True},
    "whole, recurrent, soft": {"whole": True, "recurrent": True, "reset": "soft"},
}


@pytest.mark.parametrize("case", CASES)
def test_written_and_read_it_is_the_same(case: str, tmp_path: Path) -> None:
    network = random_network(**CASES[case])
    (tmp_path / "network.npz").write_bytes(to_bytes(network))
    read = read_network(tmp_path / "network.npz")
    assert to_bytes(read) == to_bytes(network)
    trace = random_trace(network)
    (tmp_path / "golden.npz").write_bytes(trace_bytes(trace))
    again = read_trace(tmp_path / "golden.npz")
    assert again.margin == trace.margin
    assert (
        first_mismatch(
            network, trace, {p.name: make_trace(read, again.counts).outputs[p.name] for p in read.populations}
        )
        is None
    )


@pytest.mark.parametrize("case", CASES)
def test_the_torch_network_and_the_simulator_agree_spike_for_spike(case: str) -> None:
    network = random_network(**CASES[case])
    trace = random_trace(network)
    discrete = network_of(network)
    assert to_bytes(canonical(discrete, dt_ms=network.dt_ms, notes=network.notes)) == to_bytes(network)
    with torch.no_grad():
        outputs = record(discrete, torch.from_numpy(trace.counts).double())
    for population in network.populations:
        got = outputs[f"{population.name}.neuron"].numpy()
        want = trace.outputs[population.name]
        if population.fires:
            assert np.array_equal(got, want)
        else:
            scale = population.arithmetic.scale if population.whole else 1.0
            np.testing.assert_allclose(got, want * scale, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("what", ["delay_steps", "weight", "recurrent"])
def test_one_wrong_synapse_is_found(whole: bool, what: str) -> None:
    network = random_network(whole=whole, recurrent=True)
    trace = random_trace(network)
    first = network.populations[0]
    synapses = first.recurrent if what == "recurrent" else first.synapses
    assert synapses is not None
    field = "delay_steps" if what == "recurrent" else what
    busiest = int(np.argmax(np.abs(synapses.weight)))
    values = getattr(synapses, field).copy()
    values[busiest] += 1 if field == "delay_steps" else np.abs(values).max()
    wrong = dataclasses.replace(synapses, **{field: values})
    changed = dataclasses.replace(first, **{"recurrent" if what == "recurrent" else "synapses": wrong})
    other = dataclasses.replace(network, populations=(changed, *network.populations[1:]))
    mismatch = first_mismatch(network, trace, make_trace(other, trace.counts).outputs)
    assert mismatch is not None
    assert mismatch.layer == "hidden1"
    assert f"layer hidden1, t {mismatch.t}, neuron {mismatch.neuron}" in str(mismatch)


def test_two_synapses_a_pair_and_shared_delays_survive() -> None:
    for options in (
        {"delay_count": 2},
        {"sharing": "axon"},
        {"sharing": "dendrite", "delay_count": 2},
        {"sharing": "axon", "delay_count": 3},
    ):
        torch.manual_seed(3)
        network = DelayClassifier(8, (6,), 3, max_delay_steps=5, **options).eval()
        with torch.no_grad():
            network.get_submodule("hidden1.synapse").weight[1, 2, 0] = 0  # its place stays empty
        form = canonical(discretize(network), dt_ms=1.0)
        assert to_bytes(canonical(network_of(form), dt_ms=1.0)) == to_bytes(form)
        assert form.populations[0].synapses.sharing == options.get("sharing", "synapse")


def test_integer_currents_that_overflow_are_an_error() -> None:
    network = random_network(whole=True)
    counts = random_counts()[:, 0].astype(np.int64)
    counts[5] = 40_000
    with pytest.raises(ExportError, match=r"hidden1: a current of .* overflows 24 bits"):
        simulate(network, counts)


def test_silence_makes_no_trace() -> None:
    network = random_network(bias=False)
    with pytest.raises(ExportError, match="hidden1, hidden2, readout stayed silent on 2 samples"):
        make_trace(network, np.zeros((30, 2, network.inputs)))


@pytest.mark.parametrize(
    "counts",
    [np.full((5, 1, 20), 0.5), np.full((5, 1, 20), -1), np.full((5, 1, 20), np.nan), np.full((5, 1, 20), 1e10)],
)
def test_samples_hold_counts(counts: np.ndarray) -> None:
    with pytest.raises(ExportError, match="integers from 0"):
        make_trace(random_network(), counts)


def test_wrong_shapes() -> None:
    network = random_network()
    with pytest.raises(ShapeError, match=r"takes \[time, 20\]"):
        simulate(network, np.zeros((5, 3)))
    with pytest.raises(ShapeError, match=r"\[time, sample, 20\]"):
        make_trace(network, np.zeros((5, 20)))
    with pytest.raises(ShapeError, match="hidden1: expected outputs of shape"):
        first_mismatch(network, random_trace(network), {})


def test_files_that_are_missing_damaged_or_of_another_kind(tmp_path: Path) -> None:
    for read in (read_network, read_trace):
        with pytest.raises(DataError, match="there is no file"):
            read(tmp_path / "none.npz")
    network = random_network()
    whole = to_bytes(network)
    path = tmp_path / "network.npz"
    for content in (b"", whole[: len(whole) // 2], b"PK" + whole[2:][::-1], trace_bytes(random_trace(network))):
        path.write_bytes(content)
        with pytest.raises(DataError, match="export it anew"):
            read_network(path)
    path.write_bytes(whole)
    with pytest.raises(DataError, match="is not a trace"):
        read_trace(path)


def test_impossible_synapses_are_named() -> None:
    network = random_network(recurrent=True)

    def with_first(**changes: Any) -> CanonicalNetwork:
        first = network.populations[0]
        synapses = dataclasses.replace(first.synapses, **changes)
        return dataclasses.replace(
            network, populations=(dataclasses.replace(first, synapses=synapses), *network.populations[1:])
        )

    synapses = network.populations[0].synapses
    with pytest.raises(ExportError, match=r"hidden1: 1 of .* weights are not finite"):
        check(with_first(weight=np.where(np.arange(len(synapses)) == 3, np.nan, synapses.weight)))
    with pytest.raises(ExportError, match=r"hidden1: .* delays are below 0"):
        check(with_first(delay_steps=synapses.delay_steps - 1))
    with pytest.raises(ExportError, match=r"hidden1.source must lie in 0\.\.19"):
        check(with_first(source=synapses.source + 1))
    first = network.populations[0]
    assert first.recurrent is not None
    loop = dataclasses.replace(first.recurrent, delay_steps=first.recurrent.delay_steps * 0)
    with pytest.raises(ExportError, match=r"hidden1.recurrent: .* delays are below 1; .*min_delay_steps = 1"):
        check(dataclasses.replace(network, populations=(dataclasses.replace(first, recurrent=loop),)))


def test_networks_without_a_canonical_form_are_refused_by_name() -> None:
    report = DiscretizationReport(())
    with pytest.raises(ExportError, match="expected a discrete network, got a Sequential"):
        canonical(Sequential(), dt_ms=1.0)  # type: ignore[arg-type]
    with pytest.raises(ExportError, match="the size of a convolution's input is not part of it"):
        canonical(DiscreteNetwork(report, **{"0": DelayedConv2d(1, 2, 3, max_delay_steps=1)}), dt_ms=1.0)
    alone = DelayedLinear(3, 2, max_delay_steps=1, taps="linear", delay_init="uniform_rounded")
    with pytest.raises(ExportError, match="expected a synapse followed by its neurons"):
        canonical(DiscreteNetwork(report, synapse=alone), dt_ms=1.0)
    with torch.no_grad():
        alone.delay.fill_(0.5)
    with pytest.raises(ExportError, match="6 of 6 delays are not integer steps"):
        canonical(DiscreteNetwork(report, synapse=alone, neuron=LIF(2.0)), dt_ms=1.0)
    with pytest.raises(ExportError, match="dt_ms must be a positive number"):
        canonical(discretize(Sequential(DelayedLinear(3, 2, max_delay_steps=1), LIF(2.0))), dt_ms=0.0)


def test_synapses_are_put_in_order_and_silent_ones_left_out() -> None:
    made = Synapses.sorted(3, 2, [2, 0, 1, 0], [0, 1, 1, 1], [4, 3, 0, 1], [1.0, 2.0, 0.0, 3.0], "synapse")
    assert made.source.tolist() == [0, 0, 2]
    assert made.delay_steps.tolist() == [1, 3, 4]
    assert made.weight.tolist() == [3.0, 2.0, 1.0]
    assert made.row_pointers.tolist() == [0, 2, 2, 3]
    assert (made.min_delay_steps, made.max_delay_steps) == (1, 4)


@pytest.mark.parametrize("name", ["", "a/b", "../a", "input", "hidden1.recurrent", "hidden2", "a b", ".a"])
def test_names_that_files_and_arrays_could_not_bear_are_refused(name: str) -> None:
    network = random_network()
    first = dataclasses.replace(network.populations[0], name=name)
    with pytest.raises(ExportError, match="rename the layer"):
        check(dataclasses.replace(network, populations=(first, *network.populations[1:])))


def test_integrators_stand_at_the_end_alone() -> None:
    network = random_network()
    readout = network.populations[-1]
    with pytest.raises(ExportError, match="at the end alone"):
        check(dataclasses.replace(network, populations=(dataclasses.replace(readout, name="early"), readout)))
    with pytest.raises(ExportError, match="no populations"):
        check(dataclasses.replace(network, populations=()))


def test_neurons_that_cannot_be_are_refused_when_read(tmp_path: Path) -> None:
    for wrong in ({"tau_steps": 0.5}, {"threshold": float("nan")}, {"reset": "Soft"}):
        with pytest.raises(ExportError):
            Membrane(**{"tau_steps": 2.0, **wrong})
    whole = to_bytes(random_network())
    (tmp_path / "network.npz").write_bytes(whole)
    with np.load(tmp_path / "network.npz") as archive:
        arrays = dict(archive)
    arrays["hidden1.delay_steps"] = arrays["hidden1.delay_steps"] + 0.5
    np.savez(tmp_path / "wrong.npz", **arrays)
    with pytest.raises(DataError, match=r"wrong.npz: hidden1.delay_steps must be integers"):
        read_network(tmp_path / "wrong.npz")


def test_a_trace_of_another_network_is_told_apart() -> None:
    network = random_network()
    trace = random_trace(network)
    fewer = dataclasses.replace(network, populations=network.populations[:-1])
    with pytest.raises(ShapeError, match="differ in populations: readout"):
        first_mismatch(fewer, trace, trace.outputs)
    nothing = make_trace(network, np.zeros((5, 0, network.inputs)))
    assert (nothing.samples, nothing.margins) == (0, {})
    with pytest.raises(ExportError, match="the trace has no samples, so there is nothing to compare"):
        first_mismatch(network, nothing, nothing.outputs)
    assert set(trace.margins) == {"hidden1", "hidden2"}
    assert trace.margin == min(trace.margins.values())


def test_networks_say_whether_a_spike_may_act_in_its_own_step() -> None:
    assert random_network().lags
    assert not random_network(min_delay_steps=1).lags
