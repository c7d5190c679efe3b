"""What the engine refuses, in which words, and that a refusal changes nothing."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numba import njit
from numba.core.runtime import _nrt_python as nrt
from numba.core.runtime.nrt import rtsys

from snn_delays.discrete import DiscreteNetwork, discretize
from snn_delays.discrete.network import DiscretizationReport
from snn_delays.discrete.streaming import StreamingEngine, kernels
from snn_delays.errors import ConfigError, DataError, ExportError, ShapeError
from snn_delays.nn import LIF, DelayedConv2d, DelayedLinear, Dropout, Recurrent, Sequential
from tests.support.nir_networks import INPUTS, network_of
from tests.support.streaming_networks import batched, options_network, spikes

Engine = StreamingEngine


def one(index: int, value: Any, dtype: type = np.float64) -> np.ndarray:
    x = np.zeros(INPUTS, dtype)
    x[index] = value
    return x


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda e: e.step(np.zeros(3)), ShapeError, r"a step must have shape \(14\), got \(3,\)"),
        (lambda e: e.step(np.zeros((1, INPUTS))), ShapeError, r"got \(1, 14\)"),
        (lambda e: e.step(one(4, np.nan)), DataError, "input 4 of the step is nan"),
        (lambda e: e.step(one(13, -np.inf)), DataError, "input 13 of the step is -inf"),
        (lambda e: e.step(np.full(INPUTS, "1")), DataError, "must hold real numbers, got an array of <U1"),
        (lambda e: e.step(one(0, 1j, complex)), DataError, "real numbers, got an array of complex128"),
        (lambda e: e.step(None), DataError, "real numbers, got an array of object"),
        (lambda e: e.run(np.zeros(INPUTS)), ShapeError, r"a recording must have shape \(time, 14\), got \(14,\)"),
        (lambda e: e.run(np.zeros((4, 1, INPUTS))), ShapeError, r"got \(4, 1, 14\)"),
        (lambda e: e.run(np.stack([one(0, 0), one(3, np.nan)])), DataError, "input 3 of step 1 is nan"),
        (lambda e: e.step_events([0, 14]), DataError, r"event 1 of the step is at input 14, inputs are 0\.\.13"),
        (lambda e: e.step_events([-1]), DataError, "event 0 of the step is at input -1"),
        (lambda e: e.step_events(np.array([2**63 + 1], np.uint64)), DataError, "at input 9223372036854775809"),
        (lambda e: e.step_events([0.5]), DataError, "must be integers, got float64"),
        (lambda e: e.step_events([True]), DataError, "must be integers, got bool"),
        (lambda e: e.step_events(3), ShapeError, r"a list of inputs, got shape \(\)"),
    ],
)
def test_a_bad_step_is_refused_and_changes_nothing(act: Callable[[Engine], Any], error: type, message: str) -> None:
    engine, x = StreamingEngine(options_network("synapse"), np.float64), spikes(60, INPUTS, 0.3)
    whole = engine.run(x)
    engine.reset()
    engine.run(x[:30])
    with pytest.raises(error, match=message):
        act(engine)
    np.testing.assert_array_equal(engine.run(x[30:]), whole[30:])


@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")
def test_what_float32_cannot_hold_is_refused() -> None:
    engine = StreamingEngine(options_network("synapse"), np.float32)
    for act in (engine.step, lambda x: engine.run(x[None])):
        with pytest.raises(DataError, match=r"1e\+300, expected a finite number that float32 can hold"):
            act(one(2, 1e300))


def spoilt(change: Callable[[DiscreteNetwork], Any]) -> DiscreteNetwork:
    network = options_network("norm")
    with torch.no_grad():
        change(network)
    return network


def raw(**layers: Any) -> DiscreteNetwork:
    return DiscreteNetwork(DiscretizationReport(()), **layers)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network_of(), r"expected a discrete network, got a Sequential; pass discretize\(network\)"),
        (lambda: raw(neuron=LIF(2.0)), "has no synapse"),
        (lambda: raw(), "has no synapse"),
        (
            lambda: raw(a=DelayedLinear(3, 4, max_delay_steps=0), drop=Dropout(0.1)),
            r"layer 'drop' \(Dropout\) cannot be streamed or exported",
        ),
        (
            lambda: raw(
                a=DelayedLinear(3, 4, max_delay_steps=0),
                b=Recurrent(DelayedLinear(5, 5, max_delay_steps=2, min_delay_steps=1, taps="linear"), LIF(2.0)),
            ),
            "b is a population of 5 neurons, the layer before it has 4 outputs",
        ),
        (
            lambda: raw(
                a=DelayedLinear(3, 4, max_delay_steps=0),
                b=Recurrent(DelayedLinear(4, 4, max_delay_steps=2, min_delay_steps=1), LIF(2.0)),
            ),
            r"b.synapse.delay: \d+ of 16 delays are not integer steps in 1..2",
        ),
        (
            lambda: raw(a=DelayedConv2d(2, 3, 2, max_delay_steps=0)),
            r"the size of a convolution's input is not part of it; pass sensor=\(channels, rows, columns\)",
        ),
        (
            lambda: discretize(Sequential(DelayedLinear(3, 4, max_delay_steps=1), LIF(2.0)), target="loihi2"),
            "1 are neurons in integer arithmetic, which cannot be streamed; they run in chunks",
        ),
        (
            lambda: raw(
                a=DelayedLinear(3, 4, max_delay_steps=0), b=Sequential(c=DelayedLinear(5, 2, max_delay_steps=0))
            ),
            "b.c takes 5 inputs, the layer before it has 4 outputs",
        ),
        (
            lambda: spoilt(lambda n: n.hidden2.synapse.delay[0, 0].add_(0.5)),
            r"hidden2.synapse.delay: 1 of 320 delays are not integer steps in 0\.\.12; pass what discretize",
        ),
        (lambda: spoilt(lambda n: n.hidden1.synapse.delay.add_(13)), "280 of 280 delays are not integer steps"),
        (lambda: spoilt(lambda n: n.hidden1.synapse.delay.sub_(13)), "280 of 280 delays are not integer steps"),
        (lambda: spoilt(lambda n: n.hidden1.synapse.weight[0].fill_(torch.nan)), "weight: 14 of 280 values are not"),
        (lambda: spoilt(lambda n: n.hidden1.synapse.delay[0].fill_(torch.inf)), "delay: 14 of 280 values are not"),
        (lambda: spoilt(lambda n: n.hidden1.synapse.bias.fill_(torch.nan)), "bias: 20 of 20 values are not finite"),
        (
            lambda: spoilt(lambda n: setattr(n.hidden1.synapse, "taps", "gaussian")),
            "hidden1.synapse spreads its delays by gaussian taps",
        ),
    ],
)
def test_networks_that_cannot_be_streamed(make: Callable[[], Any], message: str) -> None:
    with pytest.raises(ExportError, match=message):
        StreamingEngine(make())


@pytest.mark.parametrize("dtype", [np.float16, int, complex])
def test_other_dtypes_are_refused(dtype: Any) -> None:
    with pytest.raises(ConfigError, match="float32 or float64, got dtype"):
        StreamingEngine(options_network("synapse"), dtype)


def test_outputs_cannot_be_written() -> None:
    engine = StreamingEngine(options_network("synapse"))
    for out in (*engine.outputs.values(), engine.step(np.zeros(INPUTS))):
        with pytest.raises(ValueError, match="read-only"):
            out[0] = 1.0
    with pytest.raises(TypeError):
        engine.outputs["hidden1.neuron"] = np.zeros(1)  # type: ignore[index]


# No allocation per step


def test_a_step_allocates_nothing_that_stays_or_grows() -> None:
    network = discretize(network_of())
    engine, x = StreamingEngine(network), spikes(500, INPUTS, 0.3)
    events = [np.flatnonzero(x_t) for x_t in x]
    batched(network, x)  # active

    def peak(work: Callable[[], Any]) -> int:
        work()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        work()
        after = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return after - before

    def all_steps() -> None:
        for x_t in x:
            engine.step(x_t)

    def all_events() -> None:
        for e in events:
            engine.step_events(e)

    # The Python objects of a call: the view of a row, an argument tuple. Not one array of a layer.
    assert peak(all_steps) < 1024
    assert peak(all_events) < 1024
    kept: list[np.ndarray] = []
    assert peak(lambda: kept.extend(engine.step(x_t).copy() for x_t in x)) > 20_000  # it would have been seen


def test_the_kernel_allocates_nothing_a_step() -> None:
    engine = StreamingEngine(discretize(network_of()))

    def allocations(kernel: Callable[..., Any], steps: int) -> int:
        x, y = np.ones((steps, INPUTS), np.float32), np.empty((steps, engine.out_features), np.float32)
        before = rtsys.get_allocation_stats().alloc
        kernel(x, y, *engine._arrays)
        return rtsys.get_allocation_stats().alloc - before

    @njit
    def wasteful(x, y, *arrays):  # type: ignore[no-untyped-def]
        for t in range(x.shape[0]):
            y[t] = np.zeros(y.shape[1])

    nrt.memsys_enable_stats()
    try:
        few, many = (allocations(kernels.run, steps) for steps in (2, 500))
        canary = allocations(wasteful, 500)
    finally:
        nrt.memsys_disable_stats()
    assert 0 < few == many  # what handing the arrays over takes
    assert canary >= 500
