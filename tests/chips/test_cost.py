"""What inferences cost: counted by hand on a small network, and against a slow count on random ones."""

import json
from dataclasses import replace

import numpy as np
import pytest

from snn_delays.chips.cost import DEFINITIONS, cost_of, energy
from snn_delays.chips.footprint import delay_pairs
from snn_delays.chips.profiles import profile
from snn_delays.errors import ExportError, ShapeError
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses
from snn_delays.ir.trace import Trace
from tests.support.canonical_networks import random_network, random_trace

REAL = Membrane(3.0, threshold=1.5)


def hand_made() -> tuple[CanonicalNetwork, Trace]:
    """Two inputs, three neurons (input 0 reaches all, input 1 one; neuron 0 reaches 1 and 2 of them), one readout."""
    into = Synapses.sorted(2, 3, [0, 0, 0, 1], [0, 1, 2, 2], [0, 1, 2, 3], [1.0, 1, 1, 1], "synapse")
    own = Synapses.sorted(3, 3, [0, 0], [1, 2], [1, 4], [1.0, 1], "synapse")
    out = Synapses.sorted(3, 1, [0, 1], [0, 0], [0, 0], [1.0, 1], "synapse")
    network = CanonicalNetwork(
        2,
        (Population("hidden1", into, np.zeros(3), REAL, True, own),
         Population("readout", out, np.zeros(1), REAL, False)),
        1.0,
    )  # fmt: skip
    counts = np.zeros((5, 2, 2), np.uint8)
    counts[0, 0] = [3, 1]  # sample 0: 3 events of input 0, 1 of input 1
    counts[4, 1] = [2, 0]  # sample 1: 2 events of input 0, in the last step
    spikes = np.zeros((5, 2, 3), np.uint8)
    spikes[1, 0, 0] = spikes[2, 0, 2] = spikes[3, 1, 1] = 1
    return network, Trace(counts, {"hidden1": spikes, "readout": np.zeros((5, 2, 1))}, 0.1)


def test_a_network_counted_by_hand() -> None:
    cost = cost_of(*hand_made())
    hidden, readout = cost.populations
    assert (cost.samples, cost.steps, cost.input_events) == (2, 5, 3.0)
    assert (hidden.neurons, hidden.synapses) == (3, 6)
    # Three spikes in two samples of three neurons and five steps.
    assert (hidden.spikes, hidden.rate) == (1.5, 0.1)
    # Sample 0: 3 * 3 + 1 * 1 from inputs, 2 of neuron 0; sample 1: 2 * 3 from inputs, none of neuron 1's.
    assert hidden.synops == (10 + 2 + 6) / 2
    # Events of a source in a step as one: 3 + 1 + 2, and 3.
    assert hidden.graded_synops == (6 + 3) / 2
    assert (hidden.ann_macs, hidden.neuron_updates) == (30, 15)
    # Neurons 0 and 1 fired, with a synapse onto the readout each; neuron 2 has none.
    assert (readout.spikes, readout.rate, readout.synops) == (0, 0, 1.0)
    assert cost.total("synops") == 10
    assert cost.total("ann_macs") == 40


def test_operations_are_those_of_a_slow_count() -> None:
    network = random_network(recurrent=True)
    trace = random_trace(network)
    cost = cost_of(network, trace)
    arriving = trace.counts
    for population, found in zip(network.populations, cost.populations):
        out = trace.outputs[population.name]
        slow = sum(int(arriving[:, :, source].sum()) for source in population.synapses.source)
        if population.recurrent is not None:
            slow += sum(int(out[:, :, source].sum()) for source in population.recurrent.source)
        assert found.synops * trace.samples == pytest.approx(slow, abs=1e-6)
        assert 0 < found.synops < found.ann_macs
        arriving = out
    assert 0.02 < cost.populations[0].rate < 0.6


def test_canary_a_synapse_less_is_noticed() -> None:
    network, trace = hand_made()
    first = network.populations[0]
    fewer = Synapses.sorted(2, 3, [0, 0, 1], [0, 1, 2], [0, 1, 3], [1.0, 1, 1], "synapse")
    network = replace(network, populations=(replace(first, synapses=fewer), network.populations[1]))
    assert cost_of(network, trace).populations[0].synops == (10 + 2 + 6 - 3 - 2) / 2


def test_counts_do_not_overflow_their_bytes() -> None:
    network, trace = hand_made()
    many = replace(trace, counts=np.full((5, 2, 2), 255, np.uint8))
    assert cost_of(network, many).input_events == 5 * 2 * 255
    assert cost_of(network, many).populations[0].synops == 5 * 255 * 4 + 1


def test_bits_on_a_target_and_the_part_of_delays() -> None:
    network, trace = hand_made()
    cost = cost_of(network, trace, profile("loihi2"))
    hidden, readout = cost.memory
    # 6 synapses: 2 bits of weight (all alike), 3 of delays up to 4, 2 of 3 targets; 3 membranes of 24 bits, 5 slots.
    assert (hidden.weights, hidden.delays, hidden.addresses) == (12, 18, 12)
    assert (hidden.ring, hidden.history, hidden.states) == (3 * 5 * 24, 2 * 4 + 3 * 5, 72)
    assert readout.delays == 0
    assert (hidden.pairs, hidden.entries) == (6, 3 * 5)
    assert cost_of(network, trace, profile("truenorth")).memory[0].entries == 3 + 4 + 5  # of sources 0, 1, and 0 again
    assert cost_of(network, trace, profile("akida")).memory[0].entries == 0
    alike = Synapses.sorted(2, 3, [0, 0, 0, 1], [0, 1, 2, 2], [2, 2, 1, 2], [1.0, 1, 1, 1], "synapse")
    assert delay_pairs(alike) == 3 < len(alike)
    assert cost.memory_bits == hidden.total + readout.total
    assert cost.delay_share == (18 + 4 * 72) / cost.memory_bits
    assert "because of delays" in str(cost)
    assert cost_of(network, trace).memory == ()


def test_the_page_states_its_definitions_and_is_plain_json() -> None:
    cost = cost_of(*hand_made(), profile("generic8"))
    for line in DEFINITIONS:
        assert line in cost.lines()
    found = json.loads(json.dumps(cost.as_json()))
    assert found["total"]["synops"] == 10
    assert found["memory_bits"] == cost.memory_bits
    assert found["definitions"] == list(DEFINITIONS)
    assert "nJ" not in str(cost)


def test_an_energy_is_printed_with_its_assumption() -> None:
    cost = cost_of(*hand_made())
    found = energy(cost, picojoule_per_synop=2.5, assumption="made up for this test")
    assert found.nanojoule == 10 * 2.5 / 1000
    assert "0.025 nJ" in str(found)
    assert "2.5 pJ" in str(found)
    assert "made up for this test" in str(found)
    with pytest.raises(ExportError, match="needs its assumption"):
        energy(cost, picojoule_per_synop=2.5, assumption="  ")
    with pytest.raises(ExportError, match="positive number"):
        energy(cost, picojoule_per_synop=float("nan"), assumption="x")
    with pytest.raises(TypeError):
        energy(cost)  # type: ignore[call-arg]


def test_a_trace_of_another_network_is_refused() -> None:
    network, trace = hand_made()
    with pytest.raises(ShapeError, match="3 input channels, the network 2"):
        cost_of(network, replace(trace, counts=np.zeros((5, 2, 3), np.uint8)))
    with pytest.raises(ShapeError, match="readout: expected outputs"):
        cost_of(network, replace(trace, outputs={"hidden1": trace.outputs["hidden1"]}))
    with pytest.raises(ExportError, match="samples of no steps"):
        cost_of(network, replace(trace, counts=np.zeros((0, 3, 2), np.uint8)))
