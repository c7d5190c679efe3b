"""How long a step takes: the engine beside the layers in torch, one step at a time, in one process."""

import copy
import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray

from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.discrete.streaming.engine import StreamingEngine
from snn_delays.errors import ConfigError
from snn_delays.nn import LIF, DelayedLayer, Recurrent, layers_of, record
from snn_delays.ops.backends import use_backend

Array = NDArray[Any]
ONE_STEP_BACKENDS = ("gather", "dense")  # of the delay layer; a spectrum of one step is wasted work
SPIKING = (LIF, Recurrent)
PATIENCE_US = 10e6  # for the layers in torch, which may be a thousand times as slow


@dataclass(frozen=True)
class StepTimes:
    """Microseconds that each step took on one side, and how that side was set up."""

    side: str
    configuration: str
    step_us: NDArray[np.float64]

    @property
    def median_us(self) -> float:
        """Half of the steps took no longer."""
        return float(np.median(self.step_us))

    @property
    def p99_us(self) -> float:
        """99 of 100 steps took no longer."""
        return float(np.percentile(self.step_us, 99))

    @property
    def max_us(self) -> float:
        """The longest step; on a machine that does other things too, mostly a pause of its own."""
        return float(self.step_us.max())

    def real_time_factor(self, dt_ms: float) -> float:
        """How often the median step fits into ``dt_ms``; above 1 the network keeps up."""
        return dt_ms * 1e3 / self.median_us


@dataclass(frozen=True)
class StreamReport:
    """What :func:`stream_report` found. ``active`` counts, for every step, inputs and neurons that are not silent."""

    dt_ms: float
    recordings: int
    firing_rates: dict[str, float]
    active: NDArray[np.int64]
    spikes: int
    differing_float64: int
    differing: int
    sides: tuple[StepTimes, StepTimes]

    def lines(self) -> list[str]:
        """The report in words."""
        engine, network = self.sides
        rates = ", ".join(f"{name} {rate:.1%}" for name, rate in self.firing_rates.items())
        return [
            *(f"{side.side}: {side.configuration}" for side in self.sides),
            f"{len(engine.step_us)} steps of {self.recordings} recordings; firing: {rates or 'no neuron fires'}",
            f"of {self.spikes} spikes {self.differing_float64} differ between the engine in float64 and the network "
            f"at once in float64, {self.differing} between the engine as timed and that",
            f"real-time factor for a step of {self.dt_ms:g} ms: {engine.real_time_factor(self.dt_ms):.1f} (engine), "
            f"{network.real_time_factor(self.dt_ms):.2g} (layers in torch)",
        ]

    def as_json(self) -> dict[str, Any]:
        """The numbers, for a file."""
        return {
            "dt_ms": self.dt_ms,
            "recordings": self.recordings,
            "steps": len(self.active),
            "firing_rates": self.firing_rates,
            "spikes": self.spikes,
            "spikes_differing_float64": self.differing_float64,
            "spikes_differing": self.differing,
            "sides": [
                {
                    "side": side.side, "configuration": side.configuration, "median_us": side.median_us,
                    "p99_us": side.p99_us, "max_us": side.max_us,
                    "real_time_factor": side.real_time_factor(self.dt_ms),
                }
                for side in self.sides
            ],
        }  # fmt: skip


def stream_report(
    network: DiscreteNetwork, recordings: Sequence[ArrayLike], *, dt_ms: float = 1.0, dtype: DTypeLike = np.float32
) -> StreamReport:
    """Check the engine against the network, then time both step by step, recording by recording in turn.

    The other side is the same network, layer by layer in torch, with a chunk of one step and its state passed on, by
    the faster of the delay layer's backends that suit it. Both run on one thread, so that torch's pool
    and Numba's do not spin in each other's way. The layers are given up on after some seconds, between recordings.

    Args:
        network: what :func:`snn_delays.discrete.discretize` returned.
        recordings: inputs ``[time, in_features]``, or in maps ``[time, channel, y, x]``, each from rest.
        dt_ms: the time that a step has.
        dtype: what both sides compute in.

    Raises:
        ConfigError: no recordings with steps, or ``dt_ms`` not positive. Others as :class:`StreamingEngine`.
    """
    if not (math.isfinite(dt_ms) and dt_ms > 0):
        raise ConfigError(f"dt_ms must be a positive number of milliseconds, got {dt_ms}")
    engine = StreamingEngine(network, dtype)
    inputs = [np.array(x, engine.dtype) for x in recordings]
    inputs = [x.reshape(len(x), -1) if x.ndim == 4 else x for x in inputs]
    if not inputs or not all(x.size for x in inputs):
        raise ConfigError("there is nothing to stream: give at least one recording, each of at least one step")
    for x in inputs:
        engine.run(x)  # refuses what does not fit
    fires = [name for name, layer in layers_of(network) if isinstance(layer, SPIKING)]
    exact, cpu = StreamingEngine(network, np.float64), copy.deepcopy(network).cpu()
    want = _at_once(cpu.double(), inputs, fires)
    got64, got = (np.concatenate([_step_by_step(e, x, fires) for x in inputs]) for e in (exact, engine))
    cpu = cpu.to(torch.float64 if engine.dtype == np.float64 else torch.float32)
    time_engine, time_network = _time_engine(engine), _time_network(cpu)
    with torch.inference_mode(), _one_thread():
        backend = _fastest_delay_backend(cpu, inputs[0])
        with use_backend(delayed_linear=backend):
            time_engine(inputs[0])  # both warm up
            time_network(inputs[0][:5])
            engine_us: list[Array] = []
            network_us: list[Array] = []
            for x in inputs:
                engine_us.append(time_engine(x))
                if sum(us.sum() for us in network_us) < PATIENCE_US:
                    network_us.append(time_network(x))
    shape = _described(network, engine)
    return StreamReport(
        dt_ms=dt_ms,
        recordings=len(inputs),
        firing_rates=_rates(network, want, engine),
        active=np.concatenate([np.count_nonzero(x, 1) for x in inputs]) + got.sum(1),
        spikes=int(want.sum()),
        differing_float64=int((got64 != want).sum()),
        differing=int((got != want).sum()),
        sides=(
            StepTimes("engine", f"{shape}, one call a step, one thread", np.concatenate(engine_us)),
            StepTimes(
                "layers in torch",
                f"{shape}, chunks of one step, one thread, delay backend {backend}",
                np.concatenate(network_us),
            ),
        ),
    )


def time_steps(step: Callable[[Any], object], inputs: Iterable[Any]) -> NDArray[np.float64]:
    """Microseconds that ``step`` takes with each of the inputs."""
    took = []
    for x in inputs:
        began = time.perf_counter_ns()
        step(x)
        took.append(time.perf_counter_ns() - began)
    return np.array(took, np.float64) / 1e3


def _time_engine(engine: StreamingEngine) -> Callable[[Array], NDArray[np.float64]]:
    def timed(x: Array) -> NDArray[np.float64]:
        engine.reset()
        return time_steps(engine.step, list(x))

    return timed


def _time_network(network: DiscreteNetwork) -> Callable[[Array], NDArray[np.float64]]:
    def timed(x: Array) -> NDArray[np.float64]:
        state = None

        def step(x_t: torch.Tensor) -> None:
            nonlocal state
            _, state = network(x_t, state)

        return time_steps(step, _shaped(network, torch.from_numpy(x)).split(1))

    return timed


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _fastest_delay_backend(network: DiscreteNetwork, x: Array) -> str:
    times: dict[str, float] = {}
    for backend in ONE_STEP_BACKENDS:
        with use_backend(delayed_linear=backend):
            times[backend] = float(_time_network(network)(np.repeat(x[:1], 3, 0)).min())
    return min(times, key=lambda name: times[name])


def _at_once(network: DiscreteNetwork, inputs: Sequence[Array], fires: Sequence[str]) -> Array:
    """Spikes of all neurons, ``[time, neuron]`` bool, of whole recordings one after the other."""
    found = []
    with torch.inference_mode(), use_backend(delayed_linear="gather"):
        for x in inputs:
            outputs = record(network, _shaped(network, torch.from_numpy(x).double()))
            found.append(_side_by_side([outputs[name][:, 0].flatten(1).numpy() for name in fires], len(x)))
    return np.concatenate(found)


def _step_by_step(engine: StreamingEngine, x: Array, fires: Sequence[str]) -> Array:
    engine.reset()
    steps: list[list[Array]] = []
    for x_t in x:
        engine.step(x_t)
        steps.append([engine.outputs[name].copy() for name in fires])
    return _side_by_side([np.array(layer) for layer in zip(*steps)], len(x))


def _side_by_side(layers: Sequence[Array], steps: int) -> Array:
    return np.concatenate([np.zeros((steps, 0)), *layers], 1).astype(bool)


def _rates(network: DiscreteNetwork, spikes: Array, engine: StreamingEngine) -> dict[str, float]:
    rates, start = {}, 0
    for name, layer in layers_of(network):
        if isinstance(layer, SPIKING):
            end = start + engine.outputs[name].size
            rates[name], start = float(spikes[:, start:end].mean()), end
    return rates


def _shaped(network: DiscreteNetwork, x: torch.Tensor) -> torch.Tensor:
    """A recording ``[time, input]`` as a batch of one, in maps where the network takes them."""
    return x[:, None] if network.sensor is None else x.unflatten(1, network.sensor)[:, None]


def _described(network: DiscreteNetwork, engine: StreamingEngine) -> str:
    layers = {name: layer for name, layer in layers_of(network) if isinstance(layer, DelayedLayer)}
    sizes = "-".join(map(str, [engine.in_features, *(engine.outputs[name].size for name in layers)]))
    longest = max(layer.max_delay_steps for layer in layers.values())
    return f"{sizes}, delays to {longest} steps, batch 1, {engine.dtype}"
