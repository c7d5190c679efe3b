"""The engine, step by step, is the network at once; and the comparison sees every way to get it wrong."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.discrete.streaming import StreamingEngine, kernels
from snn_delays.nn import LIF, DelayedLinear, LeakyIntegrator, Sequential, record
from tests.support.nir_networks import INPUTS
from tests.support.streaming_networks import (
    CHAINS,
    OPTIONS,
    as_tensor,
    assert_same,
    batched,
    chain,
    options_network,
    spikes,
    stepped,
    trained_like,
)


@pytest.mark.parametrize("weight_bits", [8, None])
@pytest.mark.parametrize("case", OPTIONS)
def test_steps_are_the_network_at_once(case: str, weight_bits: int | None) -> None:
    network, x = options_network(case, weight_bits), spikes(150, INPUTS, 0.2)
    # On the grid sums do not depend on their order: equal to the last bit, ties with the threshold included.
    exact = weight_bits is not None and "norm" not in case
    assert_same(network, stepped(StreamingEngine(network, np.float64), x), batched(network, x), exact)


@pytest.mark.parametrize("kind", CHAINS)
def test_any_chain_of_layers_streams(kind: str) -> None:
    network, x = chain(kind), spikes(150, INPUTS, 0.2) * 1.25
    assert_same(network, stepped(StreamingEngine(network, np.float64), x), batched(network, x))


@pytest.mark.parametrize("seed", range(4))
def test_networks_like_trained_ones(seed: int) -> None:
    network, x = trained_like(seed), spikes(400, 40, seed=seed)
    engine = StreamingEngine(network, np.float64)
    want = batched(network, x)
    assert_same(network, stepped(engine, x), want)
    usual = {name: out[:, 0].numpy() for name, out in record(network, as_tensor(x)).items()}
    assert_same(network, usual, want)  # also with the backends that the network chooses
    np.testing.assert_array_equal(run_anew(engine, x), stepped_anew(engine, x))


def run_anew(engine: StreamingEngine, x: np.ndarray) -> np.ndarray:
    engine.reset()
    return engine.run(x)


def stepped_anew(engine: StreamingEngine, x: np.ndarray) -> np.ndarray:
    engine.reset()
    return np.array([engine.step(x_t).copy() for x_t in x])


def test_real_and_negative_inputs_scale() -> None:
    network = options_network("synapse")
    random = np.random.default_rng(2)
    x = random.normal(0.2, 1.0, (120, INPUTS)) * (random.random((120, INPUTS)) < 0.3)
    assert_same(network, stepped(StreamingEngine(network, np.float64), x), batched(network, x))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_on_a_grid_float32_is_exact_too(dtype: type) -> None:
    network = discretize(options_network("synapse"), weight_bits=6)
    network = with_tau_two(network).to(torch.float32 if dtype is np.float32 else torch.float64)
    x = spikes(150, INPUTS, 0.2)
    assert_same(network, stepped(StreamingEngine(network, dtype), x), batched(network, x), exact=True)


def with_tau_two(network: DiscreteNetwork) -> DiscreteNetwork:
    for layer in network.modules():
        if isinstance(layer, LIF | LeakyIntegrator):
            layer.tau_steps = 2.0
    return network


def test_in_float32_spikes_differ_only_on_the_threshold() -> None:
    # Weights in tenths, no memory: the current is often 1 but for rounding, and float32 rounds otherwise.
    first = DelayedLinear(30, 80, max_delay_steps=5, taps="linear").double()
    with torch.no_grad():
        first.weight.copy_((first.weight * 12).round() / 10)
    network = discretize(Sequential(first, LIF(1.0)).double())
    x = spikes(300, 30)
    want = batched(network, x)
    off = np.abs(want["0"] - 1.0)
    single = stepped(StreamingEngine(network, np.float32), x)["1"] != want["1"]
    assert 0 < single.mean() < 0.05
    assert off[single].max() < 1e-6  # the margin: currents of a few units, rounded to 24 bits
    engine = StreamingEngine(network, np.float32)
    shift(engine, "0", 7)
    late = stepped(engine, x)["1"] != want["1"]
    assert off[late].max() > 0.05  # a wrong delay changes spikes that are far from it


@pytest.mark.parametrize("dtype", [np.uint8, bool, np.float32, np.int64])
def test_inputs_of_any_kind_give_the_same(dtype: type) -> None:
    network, x = options_network("synapse"), (spikes(60, INPUTS, 0.3) > 0).astype(dtype)
    engine = StreamingEngine(network, np.float64)
    want = engine.run(x)
    assert np.abs(want).max() > 0.1
    wide = np.zeros((60, 2 * INPUTS), dtype)
    wide[:, ::2] = x
    wide.flags.writeable = False
    engine.reset()
    steps = [engine.step(x_t).copy() for x_t in wide[:, ::2]]
    np.testing.assert_array_equal(steps, want)
    engine.reset()
    np.testing.assert_array_equal([engine.step(list(x_t)).copy() for x_t in x], want)


def test_events_are_counts() -> None:
    network, x = options_network("synapse"), spikes(80, INPUTS, 0.8)
    assert x.max() > 2
    engine = StreamingEngine(network, np.float64)
    want = engine.run(x)
    random = np.random.default_rng(0)
    for kind in (np.int64, np.int32, np.uint8):
        engine.reset()
        events = [random.permutation(np.repeat(np.arange(INPUTS), x_t.astype(int))).astype(kind) for x_t in x]
        events[3] = events[3][::-1]
        np.testing.assert_array_equal([engine.step_events(e).copy() for e in events], want)
    engine.reset()
    assert max(map(len, events)) < 40
    engine.step_events([0] * 40)  # more events than inputs
    many = engine.outputs["hidden1.synapse"].copy()
    engine.reset()
    engine.step([40.0] + [0.0] * (INPUTS - 1))
    np.testing.assert_array_equal(engine.outputs["hidden1.synapse"], many)
    engine.reset()
    np.testing.assert_array_equal(engine.step_events([]), 0)


def test_a_recording_without_steps() -> None:
    engine = StreamingEngine(options_network("synapse"))
    assert engine.run(np.zeros((0, INPUTS))).shape == (0, engine.out_features)


def test_the_engine_keeps_its_own_parameters() -> None:
    network, x = options_network("synapse"), spikes(50, INPUTS, 0.3)
    engine = StreamingEngine(network, np.float64)
    want = engine.run(x)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    np.testing.assert_array_equal(stepped_anew(engine, x), want)


def test_engines_run_beside_each_other() -> None:
    networks, x = [trained_like(seed) for seed in range(2)], spikes(300, 40)
    engines = [StreamingEngine(network) for network in networks * 2]
    want = [engine.run(x) for engine in engines]
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(stepped_anew, engines, [x] * 4))
    np.testing.assert_array_equal(got, want)
    assert (want[0] != want[1]).any()


# Canaries: ways to be wrong, each put into an engine that was right


def row(engine: StreamingEngine, layer: str) -> np.ndarray:
    place = engine._program.places[layer]
    return engine._program.table[place.ring if place.membrane is None else place.membrane]


def shift(engine: StreamingEngine, layer: str, synapse: int) -> None:
    """Make one synapse a step slower; the slowest wrap round."""
    at = row(engine, layer)
    place = at[kernels.INDEX] + at[kernels.INPUTS] + 1 + synapse
    ring = at[kernels.ROWS] * at[kernels.OUTPUTS]
    engine._program.index[place] = (int(engine._program.index[place]) + at[kernels.OUTPUTS]) % ring


def short_ring(engine: StreamingEngine) -> None:
    row(engine, "hidden2.synapse")[kernels.ROWS] -= 1


def stuck_ring(engine: StreamingEngine) -> None:
    row(engine, "hidden1.synapse")[kernels.ROWS] += 1


def other_threshold_test(engine: StreamingEngine) -> None:
    row(engine, "hidden1.neuron")[kernels.STRICT] ^= 1


def other_reset(engine: StreamingEngine) -> None:
    row(engine, "hidden2.neuron")[kernels.SOFT] ^= 1


def late_layer(engine: StreamingEngine) -> None:
    """The second layer receives what the first one returned a step ago."""
    table = engine._program.table
    table[[0, 1, 2, 3]] = table[[2, 3, 0, 1]]


def weight_off(engine: StreamingEngine) -> None:
    at = row(engine, "readout.synapse")
    engine._program.numbers[at[kernels.NUMBERS] + at[kernels.OUTPUTS] + 3] += 1e-3


def constant_off(number: int) -> Callable[[StreamingEngine], None]:
    def wrong(engine: StreamingEngine) -> None:
        engine._program.numbers[row(engine, "hidden1.neuron")[kernels.NUMBERS] + number] += 0.1

    return wrong


@pytest.mark.parametrize(
    "wrong",
    [short_ring, stuck_ring, other_threshold_test, other_reset, late_layer, weight_off, *map(constant_off, range(4))],
)
def test_canary_a_wrong_engine_is_seen(wrong: Callable[[StreamingEngine], None]) -> None:
    network, x = options_network("v_reset", 4), spikes(150, INPUTS, 0.2)
    engine, want = StreamingEngine(network, np.float64), batched(network, x)
    assert_same(network, stepped(engine, x), want)
    engine.reset()
    wrong(engine)
    with pytest.raises(AssertionError, match="differ"):
        assert_same(network, stepped(engine, x), want)


@pytest.mark.parametrize("layer", ["hidden1.synapse", "hidden2.synapse", "readout.synapse"])
def test_canary_whichever_delay_is_a_step_off_it_is_seen(layer: str) -> None:
    network, x = options_network("synapse"), spikes(150, INPUTS, 0.2)
    engine, want = StreamingEngine(network, np.float64), batched(network, x)
    index = engine._program.index.copy()
    synapses = int((network.get_submodule(layer).weight != 0).sum())
    for synapse in range(0, synapses, 23):
        engine.reset()
        shift(engine, layer, synapse)
        with pytest.raises(AssertionError, match=f"values of {layer}"):
            assert_same(network, stepped(engine, x), want)
        engine._program.index[:] = index


@pytest.mark.parametrize("rest", ["synapse", "neuron"])
def test_canary_a_reset_that_is_forgotten_is_seen(rest: str) -> None:
    network, x = options_network("synapse"), spikes(100, INPUTS, 0.2)
    engine, want = StreamingEngine(network, np.float64), batched(network, x)
    assert_same(network, stepped(engine, x), want)
    with pytest.raises(AssertionError, match="differ"):
        assert_same(network, stepped(engine, x), want)
    before = engine._program.state.copy()
    engine.reset()
    at = row(engine, f"hidden1.{rest}")[kernels.STATE]
    engine._program.state[at : at + 20] = before[at : at + 20]  # in this layer alone
    with pytest.raises(AssertionError, match="differ"):
        assert_same(network, stepped(engine, x), want)
    engine.reset()
    assert_same(network, stepped(engine, x), want)
