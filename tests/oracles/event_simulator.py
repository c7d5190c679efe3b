"""An event-driven simulator of discrete delay networks, sharing no method with the package.

Nothing here walks over time steps or multiplies matrices. A spike is put into an agenda once for every synapse after
it, under the step at which it arrives. A neuron is touched only when something arrives or when it was foreseen to
fire: between two touches its membrane is carried on in closed form, with ``decay ** n`` and the geometric series of
its constant current, and if that current alone will bring it to the threshold the step at which it does is solved for
and put into the agenda as a visit. numpy float64 throughout.
"""

import heapq
import math
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np


@dataclass
class Population:
    """Neurons and the synapses into them: ``weight``, whole ``delay`` ``[out, in, count]``, ``bias`` ``[out]``.

    ``threshold=inf`` makes leaky integrators.
    """

    weight: np.ndarray
    delay: np.ndarray
    bias: np.ndarray
    decay: float
    threshold: float = math.inf
    v_reset: float = 0.0
    soft_reset: bool = False

    def __post_init__(self) -> None:
        assert (self.delay == np.round(self.delay)).all(), "delays must be whole"
        self.delay = np.broadcast_to(self.delay, self.weight.shape).astype(int)


@dataclass
class Recording:
    """What a run leaves: spikes ``(step, neuron)`` by population, membranes of the last, distances to thresholds."""

    spikes: list[set[tuple[int, int]]]
    readout: np.ndarray
    margins: list[dict[tuple[int, int], float]] = field(default_factory=list)
    events: int = 0


class _Neuron:
    """One membrane, known at ``last``; between events it follows ``limit + (v - limit) decay^n``."""

    def __init__(self, population: Population, index: int) -> None:
        p = self.p = population
        self.bias = float(p.bias[index])
        self.v, self.last = p.v_reset, -1
        self.limit = p.v_reset + self.bias / (1 - p.decay)

    def after(self, steps: int) -> float:
        """Membrane ``steps`` after the last event if nothing arrives."""
        return self.limit + (self.v - self.limit) * self.p.decay**steps

    def next_crossing(self) -> int | None:
        """First step at which the constant current alone makes it fire, or None."""
        if self.after(1) >= self.p.threshold:  # also after a soft reset that left it above
            return self.last + 1
        gap, start = self.limit - self.p.threshold, self.limit - self.v
        if math.isinf(self.p.threshold) or gap <= 0 or self.p.decay == 0:
            return None
        # (v - limit) decay^n >= threshold - limit. The logarithm can be off by one at a tie; start early and look.
        n = max(1, math.ceil(math.log(gap / start) / math.log(self.p.decay)) - 1)
        while self.after(n) < self.p.threshold:
            n += 1
        return self.last + n

    def receive(self, step: int, current: float) -> tuple[bool, float]:
        """Take what arrives at ``step``; returns whether it fires and how far it was from its threshold."""
        h = self.after(step - self.last) + current
        fires = h >= self.p.threshold
        self.v = (h - self.p.threshold if self.p.soft_reset else self.p.v_reset) if fires else h
        self.last = step
        return fires, abs(h - self.p.threshold)


def simulate(populations: list[Population], counts: np.ndarray) -> Recording:
    """Run one sample, ``counts`` ``[time, channel]``, from rest."""
    steps = len(counts)
    neurons = [[_Neuron(p, i) for i in range(len(p.bias))] for p in populations]
    arriving: dict[tuple[int, int, int], float] = defaultdict(float)
    agenda: list[tuple[int, int, int]] = []  # (step, population, neuron): upstream before downstream within a step
    recording = Recording([set() for _ in populations], np.zeros((steps, len(populations[-1].bias))))
    recording.margins = [{} for _ in populations]
    touched: list[list[tuple[int, float]]] = [[(-1, n.v)] for n in neurons[-1]]

    def send(step: int, layer: int, source: int, strength: float) -> None:
        p = populations[layer]
        for target in range(p.weight.shape[0]):
            for c in range(p.weight.shape[2]):
                key = (step + int(p.delay[target, source, c]), layer, target)
                if key[0] < steps:
                    if key not in arriving:
                        heapq.heappush(agenda, key)
                    arriving[key] += strength * float(p.weight[target, source, c])

    def foresee(layer: int, index: int) -> None:
        step = neurons[layer][index].next_crossing()
        if step is not None and step < steps:
            heapq.heappush(agenda, (step, layer, index))

    for step, channel in np.argwhere(counts):
        send(int(step), 0, int(channel), float(counts[step, channel]))
    for layer, population in enumerate(populations):
        for index in range(len(population.bias)):
            foresee(layer, index)

    done: tuple[int, int, int] | None = None
    while agenda:
        key = heapq.heappop(agenda)
        if key == done:  # an arrival and a foreseen crossing at the same step are one visit
            continue
        done = key
        step, layer, index = key
        neuron = neurons[layer][index]
        if key not in arriving and neuron.next_crossing() != step:
            continue  # foreseen, but something arrived since and changed it
        fires, margin = neuron.receive(step, arriving.pop(key, 0.0))
        recording.events += 1
        recording.margins[layer][step, index] = margin
        if fires:
            recording.spikes[layer].add((step, index))
            if layer + 1 < len(populations):
                send(step, layer + 1, index, 1.0)
        if layer == len(populations) - 1:
            touched[index].append((step, neuron.v))
        foresee(layer, index)

    for index, (neuron, history) in enumerate(zip(neurons[-1], touched)):
        for (start, v), (end, _) in zip(history, [*history[1:], (steps, 0.0)]):
            neuron.v, neuron.last = v, start
            for step in range(max(start, 0), end):
                recording.readout[step, index] = neuron.after(step - start)
    return recording
