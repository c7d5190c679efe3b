"""Limits of chips: for each a network that keeps it and one that breaks it, cores and bits counted by hand."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from snn_delays.chips.fit import fit, violations
from snn_delays.chips.footprint import cores, fitting_bits, footprint, synapse_bits
from snn_delays.chips.profiles import Profile, profile
from snn_delays.chips.violations import FIELDS
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses
from tests.support.canonical_networks import random_network

GENEROUS = profile("generic8")


def chip(base: Profile = GENEROUS, **changes: Any) -> Profile:
    return base.model_copy(update=changes)


def dense(
    sources: int, targets: int, delay: Any = 1, weight: Any = 3.0, *, numbers: Any = None, **options: Any
) -> Population:
    """Every source to every target; delays and weights broadcast to ``[target, source]``."""
    target, source = np.indices((targets, sources)).reshape(2, -1)
    delays = np.broadcast_to(delay, (targets, sources)).reshape(-1)
    weights = np.broadcast_to(weight, (targets, sources)).reshape(-1)
    synapses = Synapses.sorted(sources, targets, source, target, delays, weights, "synapse")
    numbers = numbers or FixedPoint(decay_code=2048, threshold=640, scale=1.0)
    return Population("hidden1", synapses, np.zeros(targets), numbers, **options)


def alone(population: Population) -> CanonicalNetwork:
    return CanonicalNetwork(population.synapses.sources, (population,), 1.0)


def kinds(population: Population, target: Profile) -> list[str]:
    found = violations(alone(population), target)
    assert all(violation.kind in FIELDS for violation in found)
    return [violation.kind for violation in found]


def recurrent(delay: int) -> Synapses:
    return Synapses.sorted(2, 2, [0, 1], [1, 0], [delay, delay], [1.0, 1.0], "synapse")


REAL = Membrane(3.0, threshold=1.5)
# kind, a population within the limit, one beyond it, the chip
CASES = [
    ("delay", dense(2, 2, 7), dense(2, 2, [[7, 8], [0, 1]]), chip(max_delay_steps=7)),
    ("delay", dense(2, 2, 2), dense(2, 2, 1), chip(min_delay_steps=2)),
    ("delay", dense(2, 2, 0), dense(2, 2, 1), chip(delay_kind="none", max_delay_steps=0)),
    ("delay", dense(2, 2, 0), dense(2, 2, 1), chip(delay_kind="analog", max_delay_steps=None)),
    ("delay", dense(2, 2, 0, recurrent=recurrent(1)), dense(2, 2, 0, recurrent=recurrent(2)),
     chip(delay_kind="none", max_delay_steps=0)),
    ("sharing", dense(2, 2, [[3, 5], [3, 5]]), dense(2, 2, [[3, 3], [5, 5]]), chip(delay_kind="axonal")),
    ("reset", dense(2, 2), dense(2, 2, numbers=replace(dense(1, 1).arithmetic, reset="soft")), chip(resets=("hard",))),
    ("weight", dense(2, 2, weight=127), dense(2, 2, weight=[[129, 1], [1, 1]]), chip(weight_bits=(8, 4))),
    ("weight", dense(2, 2, weight=[[3, 3], [0, 5]]), dense(2, 2, weight=[[3, 5], [7, 7]]), chip(distinct_weights=1)),
    ("weight", dense(2, 2, weight=[[0.1, 0.2], [0.3, 0.1]], numbers=REAL),
     dense(2, 2, weight=[[0.1, 0.2], [0.3, 0.4]], numbers=REAL), chip(profile("spinnaker2"), weight_bits=(3,))),
    ("arithmetic", dense(2, 2, numbers=REAL), dense(2, 2), profile("nest")),
    ("threshold", dense(2, 2), dense(2, 2, numbers=FixedPoint(2048, 641, 1.0)), chip(threshold_shift=6)),
    ("threshold", dense(2, 2), dense(2, 2, numbers=FixedPoint(2048, 1024, 1.0)), chip(threshold_bits=10)),
    ("threshold", dense(2, 2), dense(2, 2, numbers=FixedPoint(2048, 640, 1.0, strict=False)),
     chip(strict_threshold=True)),
    ("decay", dense(2, 2), dense(2, 2, numbers=FixedPoint(2731, 640, 1.0)), chip(decay_rule="shift")),
    ("decay", dense(2, 2), dense(2, 2, numbers=FixedPoint(2731, 640, 1.0)), chip(decay_bits=8)),
    ("decay", dense(2, 2, numbers=FixedPoint(4096, 640, 1.0)), dense(2, 2), chip(decay_rule="none")),
    ("state", dense(2, 2), dense(2, 2, numbers=FixedPoint(2048, 640, 1.0, state_bits=32)), GENEROUS),
    ("bias", replace(dense(2, 2), bias=np.array([7.0 * 4, -4])), replace(dense(2, 2), bias=np.array([7.0 * 4, 1])),
     chip(bias_bits=4, bias_exponent_max=2)),
    ("bias", dense(2, 2), replace(dense(2, 2), bias=np.array([0.0, 1])), chip(bias_bits=0)),
    ("recurrence", dense(2, 2), dense(2, 2, recurrent=recurrent(1)), chip(recurrent=False)),
    ("readout", dense(2, 2), dense(2, 2, fires=False), chip(integrator_readout=False)),
    ("fan_in", dense(3, 2), dense(4, 2), chip(max_fan_in=3)),
    ("fan_in", dense(3, 2), dense(3, 2, recurrent=recurrent(1)), chip(max_fan_in=3)),
    ("fan_in", dense(3, 2), dense(4, 2), chip(fan_in_axons=3)),
    ("fan_out", dense(2, 3), dense(2, 4), chip(max_fan_out=3)),
    ("size", dense(3, 2), dense(4, 2), chip(max_inputs=3)),
    ("size", dense(2, 3), dense(2, 4), chip(max_outputs=3)),
    ("memory", dense(4, 2, weight=127), dense(5, 2, weight=127), chip(synapse_bits_per_core=4 * (8 + 1 + 1))),
    ("memory", dense(2, 2, 3), dense(2, 2, 4), chip(accumulator_entries_per_core=4)),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "within", "beyond", "target"), CASES)
def test_each_limit_is_kept_or_broken(kind: str, within: Population, beyond: Population, target: Profile) -> None:
    assert kinds(within, target) == []
    assert kinds(beyond, target) == [kind]


def test_every_kind_of_limit_has_a_case() -> None:
    assert {case[0] for case in CASES} == set(FIELDS)


def test_the_sentence_counts_and_names_the_longest() -> None:
    found = violations(alone(dense(2, 2, [[7, 8], [9, 1]])), chip(profile("spinnaker2")))[0]
    assert str(found).startswith(
        "hidden1: 2 of 4 synapses have delays above 7 (longest 9: synapse 0 -> 1); retrain with max_delay_steps=7, or "
        "clamp them with --clamp"
    )
    assert (found.count, found.total, found.where) == (2, 4, "hidden1")


def test_hidden_neurons_of_all_populations_count_together() -> None:
    network = random_network()  # 24 + 16 hidden
    assert [v.kind for v in violations(network, chip(max_hidden=40), numbers=False)] == []
    (found,) = violations(network, chip(max_hidden=39), numbers=False)
    assert "40 hidden neurons" in str(found)


def test_a_neuron_has_one_axon_for_the_next_population_and_its_own() -> None:
    first = dense(2, 2, 1, recurrent=recurrent(4))
    second = replace(dense(2, 2, 4), name="readout")
    same = CanonicalNetwork(2, (first, second), 1.0)
    assert violations(same, chip(delay_kind="axonal")) == []
    other = CanonicalNetwork(2, (first, replace(dense(2, 2, 5), name="readout")), 1.0)
    (found,) = violations(other, chip(delay_kind="axonal"))
    assert (found.kind, found.where, found.count) == ("sharing", "hidden1", 2)


def test_a_limit_from_memory_is_said_to_be_so() -> None:
    unverified = profile("speck")
    assert "recurrent" in unverified.unverified
    found = {v.kind: str(v) for v in violations(alone(dense(2, 2, 1, recurrent=recurrent(1))), unverified)}
    assert "NOT verified" in found["recurrence"]
    assert "NOT verified" not in found["delay"]
    page = str(fit(alone(dense(2, 2)), profile("loihi1")))
    assert "accumulator_entries_per_core = 8192 (NOT verified" in page
    assert "NOT verified" not in str(fit(alone(dense(2, 2)), profile("generic8")))


def test_loihi_holds_codes_at_its_own_shift() -> None:
    loihi = profile("loihi2")

    def made(weight: float, shift: int) -> Population:
        return dense(1, 1, weight=weight, numbers=FixedPoint(2048, 640, 1.0, weight_shift=shift))

    assert fitting_bits(made(127, 7), loihi) == 8
    assert fitting_bits(made(254, 6), loihi) == 8  # the same, written as an even number
    assert fitting_bits(made(64, 7), loihi) == 2  # 1 at the shift of 2 bits, 13
    assert fitting_bits(made(128, 7), loihi) is None  # one more than 127, however it is written
    assert fitting_bits(made(129, 7), loihi) is None
    assert fitting_bits(made(7, 11), loihi) == 4
    assert fitting_bits(made(7, 10), loihi) == 5
    assert fitting_bits(made(7, 12), loihi) is None
    assert fitting_bits(made(127, 8), loihi) is None
    assert fitting_bits(made(127, 8), GENEROUS) == 8  # an engine in software shifts by any number


def test_real_weights_on_a_grid_are_recognised() -> None:
    grid = np.arange(1, 8) * 0.1
    spinnaker2 = profile("spinnaker2")  # 2 to 5 bits, real arithmetic
    assert fitting_bits(dense(7, 1, weight=grid, numbers=REAL), spinnaker2) == 4
    assert fitting_bits(dense(7, 2, weight=[grid, -grid], numbers=REAL), spinnaker2) == 4
    assert fitting_bits(dense(8, 1, weight=[*grid, 1.0], numbers=REAL), spinnaker2) == 5
    assert fitting_bits(dense(2, 1, weight=[1.0, 0.37], numbers=REAL), spinnaker2) is None  # few, but on no grid
    assert fitting_bits(dense(2, 1, weight=np.float32([0.1, 1.5]), numbers=REAL), spinnaker2) == 5
    many = dense(16, 1, weight=np.arange(1, 17) * 0.1, numbers=REAL)
    assert fitting_bits(many, spinnaker2) is None
    assert any("on no grid yet" in note for note in fit(alone(many), spinnaker2).notes)
    assert fit(alone(many), spinnaker2).fits  # it is still to be discretized
    assert kinds(many, spinnaker2) == ["weight"]


def test_bits_of_synapses_by_hand() -> None:
    # 3 sources with 5 targets each; 8 bits of weight, 3 of delays up to 7, 3 of 5 targets.
    population = dense(3, 5, 7, weight=127)
    assert synapse_bits(population, GENEROUS) == 15 * (8 + 3 + 3)
    # Two cores of 3 and 2 neurons: 9 synapses on the fuller, with 2 bits of index.
    assert synapse_bits(population, GENEROUS, cores=2) == 9 * (8 + 3 + 2)
    # Loihi: rows of a header of 10 bits, rounded up to 64, indices of at least 6 bits; 5 * 17 + 10 = 95.
    loihi = replace(population, arithmetic=FixedPoint(2048, 640, 1.0, weight_shift=7))
    assert synapse_bits(loihi, profile("loihi1")) == 3 * 128
    # 70 targets: a row of 64 synapses of 18 bits (1162 to 1216), one of 6 (118 to 128).
    wide = replace(dense(2, 70, 7, weight=127), arithmetic=loihi.arithmetic)
    assert synapse_bits(wide, profile("loihi1")) == 2 * (1216 + 128)
    assert synapse_bits(population, profile("spinnaker1")) == 15 * 32


def test_cores_are_the_fewest_that_suffice() -> None:
    assert cores(dense(2, 5), GENEROUS) is None
    assert cores(dense(2, 5), chip(neurons_per_core=2)) == 3
    # Delays to 4 need 8 slots: 16 entries are 2 neurons.
    assert cores(dense(2, 5, 4), chip(accumulator_entries_per_core=16)) == 3
    assert cores(dense(2, 5, 4), chip(accumulator_entries_per_core=16, max_delay_slots=4)) == 2
    memory = synapse_bits(dense(2, 4, weight=127), GENEROUS, cores=2)
    assert cores(dense(2, 4, weight=127), chip(synapse_bits_per_core=memory)) == 2
    assert cores(dense(2, 4, weight=127), chip(synapse_bits_per_core=memory - 1)) == 4
    # 256 x 256 with delays to 60 on Loihi 1: 128 neurons a core by accumulators.
    rng = np.random.default_rng(0)
    large = dense(256, 256, rng.integers(0, 61, (256, 256)), 127, numbers=FixedPoint(2048, 640, 1.0, weight_shift=7))
    assert cores(large, profile("loihi1")) == 2


def test_the_footprint_by_hand() -> None:
    # 6 synapses, 8 bits of weight, 2 of delays up to 3, 1 of 2 targets; membranes of 24 bits.
    bits = footprint(dense(3, 2, 3, weight=127), GENEROUS)
    assert (bits.weights, bits.delays, bits.addresses) == (48, 12, 6)
    assert (bits.ring, bits.history, bits.states) == (2 * 4 * 24, 3 * 4, 48)
    assert bits.total == 48 + 12 + 6 + 192 + 48
    assert bits.delay_share == (12 + 3 * 48) / bits.total
    # Without delays nothing is there because of them.
    assert footprint(dense(3, 2, 0, weight=127), GENEROUS).delay_share == 0
    # A delay for a source is stored once.
    axonal = footprint(dense(3, 2, 3, weight=127), chip(delay_kind="axonal"))
    assert (axonal.delays, axonal.addresses) == (3 * 2, 6)
    # Biases are as many numbers again.
    assert footprint(replace(dense(3, 2), bias=np.ones(2)), GENEROUS).states == 96


def test_a_page_with_delays_against_the_limit() -> None:
    network = random_network(max_delay_steps=30)
    found = fit(network, profile("spinnaker2"))
    assert not found.fits
    assert found.delay_limit == 7
    part = found.populations[0]
    delays = network.populations[0].synapses.delay_steps
    assert part.delay_counts == tuple(np.bincount(delays))
    assert part.beyond == int((delays > 7).sum())
    assert found.cores == 3
    bars = [line for line in found.lines() if "#" in line]
    assert any(line.lstrip().startswith("6..7") for line in bars)  # a bar ends at the limit
    assert sum(line.startswith("  !") for line in bars) == sum(not line.startswith("   ") for line in bars) > 10
    assert json.loads(json.dumps(found.as_json()))["populations"][0]["beyond"] == part.beyond
    assert "does not fit: 3 limits broken" in found.lines()[0]


def test_a_network_in_real_numbers_is_taken_as_it_will_be() -> None:
    found = fit(random_network(min_delay_steps=1), profile("loihi2"))
    assert found.fits, found
    assert any("still in real numbers" in note for note in found.notes)
    assert any("off the grid" in note for note in found.notes)
    assert not any("lag" in note for note in found.notes)
    assert any("lag" in note for note in fit(random_network(), profile("loihi2")).notes)


def test_software_has_no_cores_and_nothing_unchecked() -> None:
    found = fit(random_network(max_delay_steps=40), profile("nir"))
    assert found.fits
    assert found.cores is None
    assert not found.unchecked
    assert "no limit" in str(found)
    assert [v.kind for v in fit(random_network(reset="soft"), profile("nest")).violations] == ["reset", "reset"]
    assert fit(random_network(reset="soft"), profile("brian2")).fits


def test_what_is_not_on_a_card_is_said() -> None:
    page = fit(random_network(max_delay_steps=0), profile("seneca"))
    assert "max_delay_steps" in page.unchecked
    assert "not checked: max_delay_steps" in str(page)


def test_canary_one_delay_too_long_is_noticed() -> None:
    network = random_network(whole=True, max_delay_steps=12)
    first = network.populations[0]
    assert violations(network, chip(max_delay_steps=12)) == []
    delays = first.synapses.delay_steps.copy()
    delays[5] = 13
    longer = replace(first, synapses=replace(first.synapses, delay_steps=delays))
    network = replace(network, populations=(longer, *network.populations[1:]))
    (found,) = violations(network, chip(max_delay_steps=12))
    assert found.count == 1
    assert f"synapse {first.synapses.source[5]} -> {first.synapses.target[5]}" in str(found)
