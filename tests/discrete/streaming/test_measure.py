"""Step times: taken around each step, of sides that were checked, and reported as they are."""

import json
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from snn_delays.discrete import discretize
from snn_delays.discrete.streaming import StreamingEngine, kernels, measure
from snn_delays.discrete.streaming.measure import StepTimes, stream_report, time_steps
from snn_delays.errors import ConfigError, DataError, ExportError, ShapeError
from snn_delays.nn import DelayedLinear, LeakyIntegrator, Sequential
from tests.support.nir_networks import INPUTS
from tests.support.streaming_networks import SENSOR, batched, maps, options_network, recurrent, spikes, trained_like


def test_each_step_is_timed_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 5_000
    seen: list[int] = []

    def step(microseconds: int) -> None:
        nonlocal now
        seen.append(microseconds)
        now += 1_000 * microseconds

    def inputs() -> Iterator[int]:
        nonlocal now
        for microseconds in (3, 20_000, 0):
            now += 7_000_000  # what making the input takes is none of the step's
            yield microseconds

    monkeypatch.setattr(measure, "time", SimpleNamespace(perf_counter_ns=lambda: now))
    np.testing.assert_array_equal(time_steps(step, inputs()), [3.0, 20_000.0, 0.0])
    assert seen == [3, 20_000, 0]


def test_quantiles_and_the_real_time_factor() -> None:
    times = StepTimes("a", "b", np.array([2.0, 4.0, 4.0, 10.0]))
    assert (times.median_us, times.max_us) == (4.0, 10.0)
    assert 4.0 < times.p99_us <= 10.0
    assert times.real_time_factor(1.0) == 250.0
    assert times.real_time_factor(0.002) == 0.5


@pytest.fixture(scope="module")
def recordings() -> list[np.ndarray]:
    return [spikes(steps, 40, 0.25, seed=steps) for steps in (80, 110)]


def test_a_report_checks_and_times_both_sides(recordings: list[np.ndarray]) -> None:
    network = trained_like(0)
    want = [batched(network, x) for x in recordings]
    report = stream_report(network, recordings, dt_ms=2.0)
    engine, layers = report.sides
    assert engine.step_us.shape == layers.step_us.shape == (190,)
    assert 0 < engine.median_us <= engine.p99_us <= engine.max_us
    assert 0 < layers.median_us <= layers.p99_us <= layers.max_us
    assert report.differing_float64 == 0
    assert report.spikes == sum(int(w[name].sum()) for w in want for name in report.firing_rates)
    for name, rate in report.firing_rates.items():
        assert rate == pytest.approx(np.concatenate([w[name] for w in want]).mean())
    assert report.differing < report.spikes / 100
    fired = sum(want[0][name].sum(1) for name in report.firing_rates)
    np.testing.assert_array_equal(report.active[:80], np.count_nonzero(recordings[0], 1) + fired)
    text = "\n".join(report.lines())
    assert "engine: 40-64-48-5, delays to 24 steps, batch 1, float32, one call a step" in text
    assert any(f"one thread, delay backend {name}" in text for name in ("gather", "dense"))
    assert "190 steps of 2 recordings; firing: hidden0.neuron" in text
    assert f"of {report.spikes} spikes 0 differ" in text
    assert f"step of 2 ms: {2000 / engine.median_us:.1f} (engine)" in text
    found = json.loads(json.dumps(report.as_json()))
    assert found["sides"][0]["real_time_factor"] == pytest.approx(2000 / engine.median_us)
    assert found["steps"] == 190


def test_canary_a_wrong_engine_is_counted(recordings: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    class WrongBias(StreamingEngine):
        def reset(self) -> None:
            super().reset()
            self._program.numbers[self._program.table[0, kernels.NUMBERS]] = 0.9

    monkeypatch.setattr(measure, "StreamingEngine", WrongBias)
    report = stream_report(trained_like(0), recordings)
    assert report.differing_float64 > 100
    assert report.differing > 100


def test_a_network_that_never_fires_is_timed_too() -> None:
    synapse = DelayedLinear(3, 2, max_delay_steps=4, taps="linear", bias=True)
    report = stream_report(discretize(Sequential(synapse, LeakyIntegrator(2.0))), [np.ones((20, 3))], dtype=np.float64)
    assert (report.spikes, report.differing, report.firing_rates) == (0, 0, {})
    assert "no neuron fires" in "\n".join(report.lines())


def test_slow_layers_are_given_up_on_and_threads_come_back(
    recordings: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, all_threads: None
) -> None:
    monkeypatch.setattr(measure, "PATIENCE_US", 1.0)
    threads = torch.get_num_threads()
    engine, layers = stream_report(trained_like(1), recordings).sides
    assert (len(engine.step_us), len(layers.step_us)) == (190, 80)
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"recordings": []}, ConfigError, "nothing to stream"),
        ({"recordings": [np.zeros((0, INPUTS))]}, ConfigError, "nothing to stream"),
        ({"recordings": [np.zeros((4, 3))]}, ShapeError, r"a recording must have shape \(time, 14\), got \(4, 3\)"),
        ({"recordings": [np.full((4, INPUTS), np.nan)]}, DataError, "input 0 of step 0 is nan"),
        ({"dt_ms": 0.0}, ConfigError, "dt_ms must be a positive number of milliseconds, got 0.0"),
        ({"dt_ms": float("nan")}, ConfigError, "got nan"),
        ({"network": Sequential()}, ExportError, "expected a discrete network"),
    ],
)
def test_what_cannot_be_measured(arguments: dict, error: type, message: str) -> None:
    call = {"network": options_network("synapse"), "recordings": [np.ones((3, INPUTS))], **arguments}
    with pytest.raises(error, match=message):
        stream_report(**call)


@pytest.mark.parametrize("kind", ["recurrent", "max"])
def test_recurrent_networks_and_maps_are_reported_on(kind: str) -> None:
    network = recurrent(kind) if kind == "recurrent" else maps(kind)
    x = spikes(40, INPUTS if kind == "recurrent" else 144, 0.25)
    report = stream_report(network, [x if kind == "recurrent" else x.reshape(-1, *SENSOR)])
    assert report.spikes > 100
    assert report.differing_float64 == 0
    assert len(report.firing_rates) == (2 if kind == "recurrent" else 3)
