"""Brian2 in numpy, by the names that the exported script imports and the schedule that it sets.

Groups update, find spikes, deliver and reset in the slots that their objects name, one after the other; a step is 1.
"""

import sys
import types
from typing import Any

import numpy as np


class Group:
    """Neurons: equations, threshold and reset are texts, evaluated with the namespace's numbers."""

    def __init__(self, size: int, equations: str, namespace: dict[str, Any], name: str, **rules: str) -> None:
        assert equations.count(": 1") == 3
        self.size, self.rules, self.namespace = size, rules, namespace
        self.v, self.x, self.bias = np.zeros((3, size))
        self.fired = np.zeros(size, bool)
        self.thresholder = {"spike": types.SimpleNamespace(when="")}
        self.resetter = {"spike": types.SimpleNamespace(when="")}

    def run_regularly(self, equation: str, dt: int, when: str) -> None:
        self.equation, self.when = equation, when

    def execute(self, text: str, where: Any = slice(None)) -> None:
        names: dict[str, Any] = {"v": self.v[where], "x": self.x[where], "bias": np.broadcast_to(self.bias, self.size)}
        names["bias"] = names["bias"][where]
        functions = {"clip": np.clip, "sign": np.sign, "floor": np.floor, "abs": np.abs}
        exec(text, {**self.namespace, **functions}, names)
        self.v[where], self.x[where] = names["v"], names["x"]

    def begin(self) -> None:
        self.v, self.x = np.array(np.broadcast_to(self.v, self.size), float), np.zeros(self.size)

    def act(self, slot: str, now: int) -> None:
        if slot == self.when:
            self.execute(self.equation)
        elif slot == self.thresholder["spike"].when:
            self.fired = eval(self.rules["threshold"], dict(self.namespace), {"v": self.v})
        elif slot == self.resetter["spike"].when:
            self.execute(self.rules["reset"], self.fired)


class Source:
    """Neurons that fire at the times that are set."""

    def __init__(self, size: int, indices: list[int], times: Any, when: str, name: str) -> None:
        self.size, self.when = size, when

    def set_spikes(self, which: np.ndarray, when: np.ndarray) -> None:
        self.spikes = which, np.rint(when).astype(int)

    def begin(self) -> None:
        self.fired = np.zeros(self.size, bool)

    def act(self, slot: str, now: int) -> None:
        if slot == self.when:
            which, when = self.spikes
            self.fired = np.isin(np.arange(self.size), which[when == now])


class Synapses:
    """Each delivers its weight so many steps after its source fired, in its slot."""

    def __init__(self, source: Any, target: Group, model: str, on_pre: str) -> None:
        assert (model, on_pre) == ("w : 1", "x_post += w")
        self.source, self.target, self.pre = source, target, types.SimpleNamespace(when="")

    def connect(self, i: np.ndarray, j: np.ndarray) -> None:
        self.i, self.j = i, j

    def begin(self) -> None:
        self.delay, self.pending = np.rint(self.delay).astype(int), {}  # type: ignore[has-type]

    def act(self, slot: str, now: int) -> None:
        if slot != self.pre.when:
            return
        for synapse in np.flatnonzero(self.source.fired[self.i]):
            self.pending.setdefault(now + self.delay[synapse], []).append(synapse)
        for synapse in self.pending.pop(now, []):
            self.target.x[self.j[synapse]] += self.w[synapse]  # type: ignore[attr-defined]


class SpikeMonitor:
    def __init__(self, group: Group, name: str) -> None:
        self.group = group

    def begin(self) -> None:
        self.t, self.i = np.zeros(0), np.zeros(0, int)

    def act(self, slot: str, now: int) -> None:
        if slot == self.group.resetter["spike"].when:
            which = np.flatnonzero(self.group.fired)
            self.t, self.i = np.append(self.t, np.full(len(which), now)), np.append(self.i, which)


class StateMonitor:
    def __init__(self, group: Group, variable: str, record: bool, when: str, name: str) -> None:
        assert (variable, record) == ("v", True)
        self.group, self.when = group, when

    def begin(self) -> None:
        self.v = np.zeros((self.group.size, 0))

    def act(self, slot: str, now: int) -> None:
        if slot == self.when:
            self.v = np.column_stack([self.v, self.group.v])


class Network:
    def __init__(self, parts: list[Any]) -> None:
        self.parts, self.schedule = parts, []

    def store(self) -> None:
        self.rest = [np.array(part.v, float) for part in self.parts if isinstance(part, Group)]

    def restore(self) -> None:
        for group, rest in zip([part for part in self.parts if isinstance(part, Group)], self.rest, strict=True):
            group.v = rest

    def run(self, duration: float) -> None:
        for part in self.parts:
            part.begin()
        for now in range(round(duration)):
            for slot in self.schedule:
                for part in self.parts:
                    part.act(slot, now)


def module() -> types.ModuleType:
    """What to put into ``sys.modules`` under ``brian2``."""
    brian2 = types.ModuleType("brian2")
    vars(brian2).update(
        Network=Network, NeuronGroup=Group, SpikeGeneratorGroup=Source, SpikeMonitor=SpikeMonitor,
        StateMonitor=StateMonitor, Synapses=Synapses, ms=1, defaultclock=types.SimpleNamespace(dt=0),
        prefs=types.SimpleNamespace(codegen=types.SimpleNamespace(target="")),
    )  # fmt: skip
    return brian2


def forget() -> None:
    """Take the script's modules out of ``sys.modules``."""
    for name in ("exchange", "run_brian2"):
        sys.modules.pop(name, None)
