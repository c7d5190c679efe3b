"""The engine's state is the network's: saved, restored, passed from the one to the other."""

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.discrete import DiscreteNetwork
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.errors import DataError, ShapeError
from snn_delays.nn import DelayLineState, MembraneState
from snn_delays.ops.backends import use_backend
from tests.support.nir_networks import INPUTS
from tests.support.streaming_networks import (
    CHAINS,
    MAPS,
    RECURRENT,
    as_tensor,
    assert_same,
    batched,
    chain,
    maps,
    options_network,
    recurrent,
    spikes,
    stepped,
)

CASES = {
    **{case: options_network(case) for case in ("synapse", "norm, axon, decay_input", "two delays a dendrite")},
    **{kind: chain(kind) for kind in CHAINS},
    **{kind: recurrent(kind) for kind in RECURRENT},
    **{kind: maps(kind) for kind in MAPS},
}
X = spikes(90, INPUTS, 0.2)
XS = {kind: spikes(90, 144, 0.25) if kind in MAPS else X for kind in CASES}


def flat(state: Any) -> list[torch.Tensor]:
    if state is None:
        return []
    return [state] if isinstance(state, torch.Tensor) else [tensor for part in state for tensor in flat(part)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_restored_anywhere_it_goes_on_to_the_bit(case: str, dtype: type) -> None:
    network, x = CASES[case], XS[case]
    batched(network, x)  # active
    engine, other = StreamingEngine(network, dtype), StreamingEngine(network, dtype)
    whole = engine.run(x)

    @given(st.integers(0, len(x)))
    def anywhere(cut: int) -> None:
        engine.reset()
        first = engine.run(x[:cut])
        state = engine.state()
        engine.run(x[::-1])  # what is saved is a copy
        other.run(x[::-1])  # and what was there before is gone
        other.load_state(state)
        np.testing.assert_array_equal(np.concatenate([first, other.run(x[cut:])]), whole)

    anywhere()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("cut", [1, 4, 37])
def test_the_network_goes_on_where_the_engine_is_and_back(case: str, cut: int) -> None:
    network, engine, x = CASES[case], StreamingEngine(CASES[case], np.float64), XS[case]
    want = batched(network, x)
    got = stepped(engine, x[:cut])
    with torch.no_grad(), use_backend("reference"):
        _, state = network(as_tensor(x[:cut], network))
        assert [tensor.shape for tensor in flat(engine.state())] == [tensor.shape for tensor in flat(state)]
        for ours, theirs in zip(flat(engine.state()), flat(state)):
            torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
        y, _ = network(as_tensor(x[cut:], network), engine.state())
    last = list(want)[-1]
    np.testing.assert_allclose(y[:, 0], want[last][cut:], rtol=1e-10, atol=1e-12)
    engine.run(x[::-1])
    engine.load_state(state)
    rest = stepped(engine, x[cut:])
    assert_same(network, {name: np.concatenate([got[name], rest[name]]) for name in got}, want)


def test_canary_a_state_that_lost_something_is_seen() -> None:
    network = CASES["synapse"]
    engine, want = StreamingEngine(network, np.float64), batched(network, X)
    got = stepped(engine, X[:40])
    (synapse, neuron), *others = engine.state()
    lossy = [
        ((DelayLineState(synapse.history * 0), neuron), *others),
        ((DelayLineState(synapse.history.roll(1, 0)), neuron), *others),
        ((synapse, MembraneState(neuron.v * 0)), *others),
        ((synapse, None), *others),
        (None, *others),
        None,
    ]
    for state in lossy:
        engine.load_state(state)
        rest = stepped(engine, X[40:])
        with pytest.raises(AssertionError, match="differ"):
            assert_same(network, {name: np.concatenate([got[name], rest[name]]) for name in got}, want)


def test_nothing_is_the_resting_state() -> None:
    engine = StreamingEngine(options_network("v_reset"), np.float64)
    want = engine.run(X)
    for nothing in (None, (None, None, None), ((None, None), None, (None, None))):
        engine.load_state(nothing)
        np.testing.assert_array_equal(engine.run(X), want)


def with_part(state: Any, part: Any) -> tuple:
    (_, neuron), *others = state
    return ((part, neuron), *others)


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (lambda s: s[:2], ShapeError, "a tuple of 2 parts, expected a tuple with a part for each of 3 layers"),
        (lambda s: list(s), ShapeError, "a list, expected a tuple"),
        (lambda s: with_part(s, s[0][1]), ShapeError, r"hidden1.synapse is a MembraneState of shape \(1, 20\)"),
        (lambda s: with_part(s, 3), ShapeError, "is a int, expected a DelayLineState"),
        (
            lambda s: with_part(s, DelayLineState(torch.zeros(12, 2, INPUTS))),
            ShapeError,
            r"of shape \(12, 2, 14\), expected a DelayLineState of shape \(12, 1, 14\) \(batch 1\)",
        ),
        (
            lambda s: with_part(s, DelayLineState(torch.full((12, 1, INPUTS), torch.nan))),
            DataError,
            "hidden1.synapse: 168 of 168 values are not finite",
        ),
    ],
)
def test_a_state_that_does_not_fit_is_refused_and_nothing_changes(spoil: Any, error: type, message: str) -> None:
    network: DiscreteNetwork = CASES["synapse"]
    engine = StreamingEngine(network, np.float64)
    whole = engine.run(X)
    engine.reset()
    engine.run(X[:30])
    with pytest.raises(error, match=message):
        engine.load_state(spoil(engine.state()))
    np.testing.assert_array_equal(engine.run(X[30:]), whole[30:])


COPIES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda held: pickle.loads(pickle.dumps(held)),
}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("case", CASES)
def test_a_copied_engine_goes_on_by_itself(case: str, how: str) -> None:
    engine, x = StreamingEngine(CASES[case], np.float64), XS[case]
    engine.run(x[:40])
    last = engine.step(x[40]).copy()
    other = COPIES[how](engine)
    assert {name: y.tolist() for name, y in other.outputs.items()} == {
        name: y.tolist() for name, y in engine.outputs.items()
    }
    assert other.outputs[list(other.outputs)[-1]].tolist() == last.tolist()
    ahead = other.run(x[41:])
    assert ahead.any()
    assert engine.outputs[list(engine.outputs)[-1]].tolist() == last.tolist(), "the engine moved with its copy"
    np.testing.assert_array_equal(engine.run(x[41:]), ahead)
    other.reset()
    engine.reset()
    np.testing.assert_array_equal(list(stepped(other, x).values())[-1], engine.run(x))
    with pytest.raises(ValueError, match="read-only"):
        other.step(x[0])[0] = 1


@pytest.mark.parametrize("case", CASES)
def test_a_discrete_network_can_be_copied_and_pickled(case: str) -> None:
    network, x = CASES[case], XS[case]
    for how in ("deepcopy", "pickle"):
        other = COPIES[how](network)
        assert isinstance(other, DiscreteNetwork)
        assert other.report == network.report
        for got, want in zip(batched(other, x).values(), batched(network, x).values(), strict=True):
            np.testing.assert_array_equal(got, want)


def test_another_process_goes_on_where_this_one_is(tmp_path: Path) -> None:
    """As a worker that was started by spawn receives what it is given."""
    engine = StreamingEngine(CASES["ends in spikes"], np.float64)
    engine.run(X[:40])
    (tmp_path / "held").write_bytes(pickle.dumps((engine, CASES["ends in spikes"], engine.state(), X)))
    script = """if True:
        import pickle, sys
        from pathlib import Path
        engine, network, state, x = pickle.loads((Path(sys.argv[1]) / "held").read_bytes())
        import torch
        y, _ = network(torch.from_numpy(x[40:]).double().unsqueeze(1), state)
        (Path(sys.argv[1]) / "made").write_bytes(pickle.dumps((engine.run(x[40:]), y[:, 0].numpy())))
    """
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=True, timeout=900)
    want = engine.run(X[40:])
    assert want.any()
    for got in pickle.loads((tmp_path / "made").read_bytes()):
        np.testing.assert_array_equal(got, want)
