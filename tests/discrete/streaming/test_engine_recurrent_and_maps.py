"""Recurrent and convolutional networks, step by step and as a canonical form, are the network at once."""

import pickle
from collections.abc import Callable

import numpy as np
import pytest

from snn_delays.discrete import DiscreteNetwork
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.streaming import StreamingEngine, kernels
from snn_delays.errors import ExportError, ShapeError
from snn_delays.ir.simulator import simulate
from snn_delays.nn import LIF, MaxPool2d, Recurrent, layers_of
from tests.support.nir_networks import INPUTS
from tests.support.streaming_networks import MAPS, RECURRENT, assert_same, batched, maps, recurrent, spikes, stepped

CASES: dict[str, tuple[Callable[[str], DiscreteNetwork], int]] = {
    **dict.fromkeys(RECURRENT, (recurrent, INPUTS)),
    **dict.fromkeys(MAPS, (maps, 144)),
}


def made(case: str) -> tuple[DiscreteNetwork, np.ndarray]:
    build, inputs = CASES[case]
    return build(case), spikes(150, inputs, 0.2)


@pytest.mark.parametrize("case", CASES)
def test_steps_are_the_network_at_once(case: str) -> None:
    network, x = made(case)
    engine, want = StreamingEngine(network, np.float64), batched(network, x)
    assert_same(network, stepped(engine, x), want)
    engine.reset()
    np.testing.assert_allclose(engine.run(x), list(want.values())[-1], rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("case", CASES)
def test_the_canonical_form_is_the_network_too(case: str) -> None:
    network, x = made(case)
    form, want = canonical(network, dt_ms=1.0), batched(network, x)
    got = simulate(form, x).outputs
    firing = {name: layer for name, layer in layers_of(network) if isinstance(layer, LIF | Recurrent | MaxPool2d)}
    of = {name: name if name in got else name.rpartition(".")[0] for name in firing}
    assert set(of.values()) | {"readout"} == set(got)
    for name, population in of.items():
        np.testing.assert_array_equal(got[population], want[name])
    np.testing.assert_allclose(got["readout"], list(want.values())[-1], rtol=1e-10, atol=1e-12)
    engine = StreamingEngine(form, np.float64)
    streamed = stepped(engine, x)
    for name, population in of.items():
        np.testing.assert_array_equal(streamed[f"{population}.neuron"], want[name])
    assert list(engine.outputs) == [f"{p.name}.{part}" for p in form.populations for part in ("synapse", "neuron")]


@pytest.mark.parametrize("case", CASES)
def test_events_and_pickles_serve_them(case: str) -> None:
    network, x = made(case)
    engine = StreamingEngine(network, np.float64)
    want = engine.run(x)
    engine.reset()
    engine.run(x[:70])
    engine = pickle.loads(pickle.dumps(engine))
    rest = [engine.step_events(np.repeat(np.arange(x.shape[1]), x_t.astype(int))).copy() for x_t in x[70:]]
    np.testing.assert_array_equal(rest, want[70:])


@pytest.mark.parametrize("case", ["recurrent", "max"])
def test_canary_a_delay_that_is_a_step_off_is_seen(case: str) -> None:
    network, x = made(case)
    engine, want = StreamingEngine(network, np.float64), batched(network, x)
    place = engine._program.places["hidden1.neuron" if case == "recurrent" else "conv2.synapse"]
    row = engine._program.table[place.ring]
    assert row[kernels.KIND] == (kernels.SYNAPSE if place.membrane is None else kernels.FEEDBACK)
    ring = row[kernels.ROWS] * row[kernels.OUTPUTS]
    begins = row[kernels.INDEX] + row[kernels.INPUTS] + 1
    index = engine._program.index.copy()
    first = row[kernels.NUMBERS] + (row[kernels.OUTPUTS] if place.membrane is None else 0)
    strong = np.argsort(-np.abs(engine._program.numbers[first : first + 300]))[:6]
    seen = 0
    for synapse in strong:
        engine.reset()
        engine._program.index[begins + synapse] = (int(index[begins + synapse]) + row[kernels.OUTPUTS]) % ring
        try:
            assert_same(network, stepped(engine, x), want)
        except AssertionError as error:
            seen += "differ" in str(error)
        engine._program.index[:] = index
    assert seen >= 4  # of 6: some neurons are nearly silent


def test_maps_need_a_size_and_have_no_state_where_they_pool() -> None:
    network = maps("max")
    engine, state = StreamingEngine(network), StreamingEngine(network).state()
    with pytest.raises(ShapeError, match=r"the state of conv1.pool is a MembraneState of shape .*, expected None"):
        engine.load_state(((*state[0][:2], state[0][1]), *state[1:]))
    assert network.sensor == (2, 9, 8)
    network.sensor = None
    with pytest.raises(ExportError, match=r"pass sensor=\(channels, rows, columns\)"):
        StreamingEngine(network)
    x = spikes(20, 144)
    np.testing.assert_array_equal(StreamingEngine(network, sensor=(2, 9, 8)).run(x), engine.run(x))
    with pytest.raises(ExportError, match=r"conv1.synapse takes 2 maps, .*, the layer before it has 3 x 9 x 8"):
        canonical(network, dt_ms=1.0, sensor=(3, 9, 8))
