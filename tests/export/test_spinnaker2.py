"""Lists for SpiNNaker 2: simulated in numpy as the chip is described, and the script on a fake py-spinnaker2."""

import importlib
import json
import re
import sys
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from snn_delays.errors import ExportError
from snn_delays.export import spinnaker2
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses, to_bytes
from snn_delays.ir.trace import Trace, first_mismatch, make_trace, trace_bytes
from tests.support.canonical_networks import random_counts, random_network, random_trace


def grid_network(*, bias: bool = True, **options: Any) -> CanonicalNetwork:
    """Random, with weights of 5 bits; thresholds stay off the grid."""
    options = {"max_delay_steps": 7, "min_delay_steps": 1, **options}
    network = random_network(bias=bias, **options)

    def coarse(synapses: Synapses | None, step: float) -> Synapses | None:
        if synapses is None:
            return None
        codes = np.clip(np.round(synapses.weight / step), -15, 15)
        parts = (synapses.source, synapses.target, synapses.delay_steps)
        return Synapses.sorted(synapses.sources, synapses.targets, *parts, codes * step, "synapse")

    populations = []
    for population in network.populations:
        step = 2.0 ** np.ceil(np.log2(np.abs(population.synapses.weight).max() / 15))
        synapses = coarse(population.synapses, step)
        assert synapses is not None
        populations.append(replace(population, synapses=synapses, recurrent=coarse(population.recurrent, step)))
    return replace(network, populations=tuple(populations))


class Chip:
    """The chip as its public examples describe it, in float64: a list's delay and one step more."""

    def __init__(self) -> None:
        self.neurons: dict[str, Any] = {}
        self.inputs: dict[str, dict[int, list[int]]] = {}
        self.lists: list[tuple[str, str, np.ndarray]] = []

    def project(self, pre: str, post: str, connections: list[list[int]]) -> None:
        table = np.array(connections, int).reshape(-1, 4)
        assert (np.abs(table[:, 2]) <= 15).all()
        assert ((table[:, 3] >= 0) & (table[:, 3] <= 7)).all()
        self.lists.append((pre, post, table))

    def run(self, steps: int) -> dict[str, np.ndarray]:
        arriving = {name: np.zeros((steps + 8, entry["size"])) for name, entry in self.neurons.items()}
        v = {name: np.zeros(entry["size"]) for name, entry in self.neurons.items()}
        found: dict[str, np.ndarray] = {}
        for name, entry in self.neurons.items():
            found[name], found[f"{name}.v"] = np.zeros((steps, entry["size"]), int), np.zeros((steps, entry["size"]))
        by_pre = defaultdict(list)
        for pre, post, table in self.lists:
            by_pre[pre].append((post, table))
        for t in range(steps):
            fired = {name: [i for i, times in made.items() if t in times] for name, made in self.inputs.items()}
            for name, entry in self.neurons.items():
                p = entry["params"]
                h = p["alpha_decay"] * v[name] + arriving[name][t] + p["i_offset"]
                spikes = h >= p["threshold"]
                v[name] = np.where(spikes, p["v_reset"], h)
                if p["reset"] == "reset_by_subtraction":
                    v[name] = h - p["threshold"] * spikes
                found[name][t], found[f"{name}.v"][t] = spikes, v[name]
                fired[name] = np.flatnonzero(spikes).tolist()
            for pre, active in fired.items():
                for post, table in by_pre[pre]:
                    now = table[np.isin(table[:, 0], active)]
                    np.add.at(arriving[post], (t + now[:, 3] + 1, now[:, 1]), now[:, 2])
        return found


def simulate(lists: dict[str, Any], trace: Trace) -> dict[str, np.ndarray]:
    """The lists alone, on every sample of a trace."""
    outputs = defaultdict(list)
    for sample in range(trace.samples):
        chip = Chip()
        counts, inputs = trace.counts[:, sample], lists["inputs"]
        chip.inputs["input"] = {
            copy * inputs + i: np.flatnonzero(counts[:, i] > copy).tolist()
            for copy in range(lists["copies"])
            for i in range(inputs)
        }
        chip.neurons = {entry["name"]: entry for entry in lists["populations"]}
        for projection in lists["projections"]:
            chip.project(**projection)
        neurons = [entry for entry in lists["populations"] if not entry["relay"]]
        found = chip.run(len(counts) + lists["lag"] * len(neurons))
        for number, entry in enumerate(neurons, 1):
            name, late = entry["name"], lists["lag"] * number
            raster = found[name] if entry["fires"] else found[f"{name}.v"] * entry["unit"] + entry["v_reset"]
            outputs[name].append(raster[late : late + len(counts)])
    return {name: np.stack(rasters, axis=1) for name, rasters in outputs.items()}


CASES = {
    "feed-forward": {"min_delay_steps": 1},
    "delay 0": {"min_delay_steps": 0, "bias": False},
    "recurrent": {"recurrent": True},
    "recurrent, delay 0": {"recurrent": True, "min_delay_steps": 0, "bias": False, "seed": 3},
    "soft reset, decayed input": {"reset": "soft", "decay_input": True},
    "v_reset": {"v_reset": -0.25, "decay_input": True, "seed": 4},
}


def write(network: CanonicalNetwork, folder: Path, **options: Any) -> tuple[Trace, dict[str, Any]]:
    trace = random_trace(network)
    (folder / "network.npz").write_bytes(to_bytes(network))
    (folder / "golden.npz").write_bytes(trace_bytes(trace))
    assert spinnaker2.refuses(network) is None
    spinnaker2.write(network, trace, folder, **options)
    return trace, json.loads((folder / "connections.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_the_lists_are_the_network(case: str, tmp_path: Path) -> None:
    network = grid_network(**CASES[case])
    trace, lists = write(network, tmp_path)
    assert trace.counts.max() > 1
    assert lists["copies"] == trace.counts.max()
    assert first_mismatch(network, trace, simulate(lists, trace)) is None


def test_one_delay_off_by_one_is_seen(tmp_path: Path) -> None:
    network = grid_network(recurrent=True)
    trace, lists = write(network, tmp_path)
    rates = {"input": trace.counts.sum((0, 1)), **{name: raster.sum((0, 1)) for name, raster in trace.outputs.items()}}
    for number in range(len(lists["projections"])):
        wrong = json.loads((tmp_path / "connections.json").read_text())
        projection = wrong["projections"][number]
        busy = rates[projection["pre"]]
        row = max(projection["connections"], key=lambda row: abs(row[2]) * busy[row[0] % len(busy)])
        row[3] += 1 if row[3] < 7 else -1
        assert first_mismatch(network, trace, simulate(wrong, trace)) is not None, projection["pre"]


@pytest.mark.parametrize("recurrent", [False, True])
@pytest.mark.parametrize("least", [0, 1])
def test_relays_hold_spikes_for_longer(recurrent: bool, least: int, tmp_path: Path) -> None:
    network = grid_network(recurrent=recurrent, min_delay_steps=least, max_delay_steps=30, bias=bool(least), seed=6)
    with pytest.raises(ExportError, match=r"hidden1: \d+ of \d+ delays exceed the [78] steps .* relay neurons"):
        write(network, tmp_path)
    trace, lists = write(network, tmp_path, relays=True)
    assert sum(entry["relay"] for entry in lists["populations"]) == (15 if recurrent else 9)
    assert first_mismatch(network, trace, simulate(lists, trace)) is None
    assert "relay neurons hold spikes for longer, 8 steps each" in (tmp_path / "README.txt").read_text()


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], int]]:
    """Runs the script on a fake py-spinnaker2; its exit status."""

    class PopulationOf:
        def __init__(
            self, size: int, neuron_model: str, params: Any, name: str, record: list[str] | None = None
        ) -> None:
            self.size, self.model, self.params, self.name = size, neuron_model, params, name
            self.record = record or []
            self.found: dict[str, np.ndarray] = {}

        def get_spikes(self) -> dict[int, list[int]]:
            assert "spikes" in self.record
            return {i: np.flatnonzero(self.found["spikes"][:, i]).tolist() for i in range(self.size)}

        def get_voltages(self) -> dict[int, np.ndarray]:
            assert "v" in self.record
            return dict(enumerate(self.found["v"].T))

    class Board:
        def __init__(self, eth_ip: str) -> None:
            assert eth_ip == "board"

        def run(self, network: Any, steps: int) -> None:
            chip = Chip()
            populations = [part for part in network.parts if isinstance(part, PopulationOf)]
            chip.inputs = {p.name: p.params for p in populations if p.model == "spike_list"}
            chip.neurons = {p.name: {"size": p.size, "params": p.params} for p in populations if p.model == "lif"}
            for part in network.parts:
                if part not in populations:
                    chip.project(part.pre.name, part.post.name, part.connections)
            found = chip.run(steps)
            for p in populations:
                if p.model == "lif":
                    p.found = {"spikes": found[p.name], "v": found[f"{p.name}.v"]}

    class Network:
        def __init__(self, name: str) -> None:
            del name
            self.parts: list[Any] = []

        def add(self, *parts: Any) -> None:
            self.parts += parts

    fake: Any = types.ModuleType("spinnaker2")
    fake.hardware = types.SimpleNamespace(SpiNNaker2Chip=Board)
    fake.snn = types.SimpleNamespace(Population=PopulationOf, Network=Network, Projection=types.SimpleNamespace)
    monkeypatch.setitem(sys.modules, "spinnaker2", fake)
    monkeypatch.setenv("S2_IP", "board")

    def ran(folder: Path) -> int:
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(sys, "argv", [str(folder / "run_spinnaker2.py")])
        return int(importlib.import_module("run_spinnaker2").main())

    yield ran
    for name in ("exchange", "run_spinnaker2"):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("case", ["recurrent", "delay 0"])
def test_the_script_builds_the_lists(
    case: str, tmp_path: Path, run: Callable[[Path], int], capsys: pytest.CaptureFixture[str]
) -> None:
    write(grid_network(**CASES[case]), tmp_path)
    assert run(tmp_path) == 0
    output = capsys.readouterr().out
    assert output.count("equal") == 2
    assert "readout: membranes differ by up to" in output


def test_the_script_finds_wrong_lists(tmp_path: Path, run: Callable[[Path], int]) -> None:
    _, lists = write(grid_network(), tmp_path)
    for row in lists["projections"][0]["connections"][:20]:
        row[3] = (row[3] + 1) % 8
    (tmp_path / "connections.json").write_text(json.dumps(lists))
    assert run(tmp_path) == 1


def every(network: CanonicalNetwork, change: Callable[[Population], Population]) -> CanonicalNetwork:
    return replace(network, populations=tuple(change(population) for population in network.populations))


def off_grid(population: Population) -> Population:
    weight = population.synapses.weight.copy()
    weight[3] *= 1.01
    return replace(population, synapses=replace(population.synapses, weight=weight))


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (random_network(whole=True), "hidden1 computes in integers.*--target spinnaker2"),
        (random_network(), "hidden1: weights are not integer multiples, -15..15, of one step; .*--target spinnaker2"),
        (every(grid_network(), off_grid), "hidden1: weights are not integer multiples"),
        (grid_network(min_delay_steps=0), "hidden1: biases, and a delay of 0 .*min_delay_steps = 1"),
        (grid_network(reset="soft", v_reset=-0.5), "hidden1: a soft reset with v_reset = -0.5"),
        (every(grid_network(), lambda p: replace(p, fires=False)), "hidden1: integrators send no spikes"),
    ],
)
def test_what_the_chip_cannot_hold(network: CanonicalNetwork, message: str, tmp_path: Path) -> None:
    reason = spinnaker2.refuses(network)
    assert reason is not None
    assert re.search(message, reason), reason
    with pytest.raises(ExportError, match="SpiNNaker 2 cannot hold this network"):
        spinnaker2.write(network, make_trace(network, random_counts()), tmp_path)
    assert not list(tmp_path.iterdir())


def test_free_steps_are_found() -> None:
    step = 0.0137
    synapses = Synapses.sorted(3, 2, [0, 1, 2], [0, 1, 0], [1, 2, 3], np.array([-14, 6, 4]) * step, "synapse")
    network = CanonicalNetwork(3, (Population("p", synapses, np.zeros(2), Membrane(3.0)),), 10.0)
    lists = spinnaker2.connections(network)
    assert [row[2] for row in lists["projections"][0]["connections"]] == [-7, 3, 2]
    assert lists["populations"][0]["unit"] == pytest.approx(2 * step)
