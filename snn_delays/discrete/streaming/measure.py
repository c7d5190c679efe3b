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
    """What :func:`stream_report` measured. ``active`` counts, per step, inputs and neurons that are not silent."""

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
                {name: getattr(side, name) for name in ("side", "configuration", "median_us", "p99_us", "max_us")}
                | {"real_time_factor": side.real_time_factor(self.dt_ms)}
                for side in self.sides
            ],
        }


def stream_report(
    network: DiscreteNetwork, recordings: Sequence[ArrayLike], *, dt_ms: float = 1.0, dtype: DTypeLike = np.float32
) -> StreamReport:
    """Check the engine against the network, then time both step by step, recording by recording in turn.

    The other side is the same network, layer by layer in torch, with a chunk of one step and its state passed on, by
    the faster of the delay layer's backends that suit it. Both run on one thread, so that torch's pool
    and Numba's do not spin in each other's way. The layers are no longer timed after some seconds, between recordings.

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
    fires = {name: engine.outputs[name].size for name, layer in layers_of(network) if isinstance(layer, SPIKING)}
    cpu = copy.deepcopy(network).cpu()
    want = _at_once(cpu.double(), inputs, fires)
    got64, got = (_step_by_step(e, inputs, fires) for e in (StreamingEngine(network, np.float64), engine))
    cpu = cpu.to(torch.float64 if engine.dtype == np.float64 else torch.float32)
    with torch.inference_mode(), _one_thread():
        backend = min(ONE_STEP_BACKENDS, key=lambda name: _time_network(cpu, inputs[0][:1].repeat(3, 0), name).min())
        _time_engine(engine, inputs[0])  # both warm up
        _time_network(cpu, inputs[0][:5], backend)
        engine_us: list[Array] = []
        network_us: list[Array] = []
        for x in inputs:
            engine_us.append(_time_engine(engine, x))
            if sum(us.sum() for us in network_us) < PATIENCE_US:
                network_us.append(_time_network(cpu, x, backend))
    layers = {name: layer for name, layer in layers_of(network) if isinstance(layer, DelayedLayer)}
    sizes = "-".join(map(str, [engine.in_features, *(engine.outputs[name].size for name in layers)]))
    longest = max(layer.max_delay_steps for layer in layers.values())
    shape = f"{sizes}, delays to {longest} steps, batch 1, {engine.dtype}"
    layerwise = f"{shape}, chunks of one step, one thread, delay backend {backend}"
    spikes = np.split(want, np.cumsum(list(fires.values())), axis=1)
    return StreamReport(
        dt_ms=dt_ms,
        recordings=len(inputs),
        firing_rates={name: float(part.mean()) for name, part in zip(fires, spikes)},
        active=np.concatenate([np.count_nonzero(x, 1) for x in inputs]) + got.sum(1),
        spikes=int(want.sum()),
        differing_float64=int((got64 != want).sum()),
        differing=int((got != want).sum()),
        sides=(
            StepTimes("engine", f"{shape}, one call a step, one thread", np.concatenate(engine_us)),
            StepTimes("layers in torch", layerwise, np.concatenate(network_us)),
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


def _time_engine(engine: StreamingEngine, x: Array) -> NDArray[np.float64]:
    engine.reset()
    return time_steps(engine.step, list(x))


def _time_network(network: DiscreteNetwork, x: Array, backend: str) -> NDArray[np.float64]:
    state = None

    def step(x_t: torch.Tensor) -> None:
        nonlocal state
        _, state = network(x_t, state)

    with use_backend(delayed_linear=backend):
        return time_steps(step, _shaped(network, x).split(1))


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _at_once(network: DiscreteNetwork, inputs: Sequence[Array], fires: Iterable[str]) -> Array:
    """Spikes of all neurons, ``[time, neuron]`` bool, of whole recordings one after the other."""
    spikes = []
    with torch.inference_mode(), use_backend(delayed_linear="gather"):
        for x in inputs:
            outputs = record(network, _shaped(network, x).double())
            spikes.append(np.hstack([np.zeros((len(x), 0)), *(outputs[name][:, 0].flatten(1) for name in fires)]))
    return np.concatenate(spikes).astype(bool)


def _step_by_step(engine: StreamingEngine, inputs: Sequence[Array], fires: Iterable[str]) -> Array:
    spikes = []
    for x in inputs:
        engine.reset()
        for x_t in x:
            engine.step(x_t)
            spikes.append(np.hstack([np.zeros(0), *(engine.outputs[name] for name in fires)]))
    return np.array(spikes).astype(bool)


def _shaped(network: DiscreteNetwork, recording: Array) -> torch.Tensor:
    """A recording ``[time, input]`` as a batch of one, in maps where the network takes them."""
    x = torch.from_numpy(recording)
    return x[:, None] if network.sensor is None else x.unflatten(1, network.sensor)[:, None]
