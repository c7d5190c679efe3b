"""Exports to Brian2, NEST and PyNN, as far as they can be checked without those: files, lists, and the comparison.

The simulators themselves run in `make test-export`.
"""

import ast
import json
import math
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import ExportError
from snn_delays.export import brian2, lava, nest, pynn
from snn_delays.export.scripts import exchange
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Synapses, to_bytes
from snn_delays.ir.trace import Trace, first_mismatch, trace_bytes
from tests.simulators import run as environments
from tests.support.canonical_networks import random_network, random_trace

HERE = Path(exchange.__file__).parent
SETTINGS: list[dict[str, Any]] = [
    {},
    {"recurrent": True, "min_delay_steps": 1, "strict": True},
    {"decay_input": True, "v_reset": 0.125, "tau_steps": 20 / 3, "recurrent": True},
    {"reset": "soft"},
    {"whole": True, "recurrent": True},
    {"whole": True, "reset": "soft"},
]
ROOM = {"run_brian2.py": {"brian2"}, "run_nest.py": {"nest"}, "run_pynn.py": {"pyNN"}, "exchange.py": set()}


def exported(folder: Path, target: ModuleType | None = None, **settings: Any) -> tuple[CanonicalNetwork, Trace]:
    network = random_network(**settings)
    trace = random_trace(network)
    folder.mkdir(exist_ok=True)
    (folder / "network.npz").write_bytes(to_bytes(network))
    (folder / "golden.npz").write_bytes(trace_bytes(trace))
    if target is not None:
        target.write(network, trace, folder)
    return network, trace


def simulated(network: SimpleNamespace, counts: np.ndarray) -> dict[str, np.ndarray]:
    """A network of exchange.py by its docstring's equations, with a dense history of all samples at once."""
    outputs, before = {}, counts
    for population in network.populations:
        n = population.numbers
        whole = population.arithmetic == "whole"
        fed = [(population.synapses, before)]
        out = np.zeros((*counts.shape[:2], population.size), np.int64 if whole or population.fires else float)
        if population.recurrent is not None:
            fed.append((population.recurrent, out))
        v = np.full(out.shape[1:], 0.0 if whole else n.v_reset)
        for t in range(len(counts)):
            x = np.zeros_like(v)
            for synapses, spikes in fed:
                arrived = t - synapses.delay_steps >= 0
                s, d = synapses.source[arrived], synapses.delay_steps[arrived]
                np.add.at(x.T, synapses.target[arrived], (spikes[t - d, :, s] * synapses.weight[arrived, None]))
            if whole:
                limit = 2 ** (n.state_bits - 1) - 1
                h = np.trunc(v * n.decay_code / 2**n.decay_bits) + x * 2**n.weight_shift + population.bias
                h = h.clip(-limit, limit)
            else:
                decay = 1 - 1 / n.tau_steps
                gain = 1 - decay if n.decay_input else 1.0
                h = decay * (v - n.v_reset) + n.v_reset + gain * (x + population.bias)
            if not population.fires:
                v = out[t] = h
                continue
            out[t] = h > n.threshold if n.strict else h >= n.threshold
            rest = 0.0 if whole else n.v_reset
            v = np.where(out[t], h - n.threshold if n.reset == "soft" else rest, h)
        outputs[population.name] = before = out
    return outputs


@pytest.mark.parametrize("settings", SETTINGS)
def test_what_scripts_read_is_the_network_and_its_trace(tmp_path: Path, settings: dict[str, Any]) -> None:
    network, trace = exported(tmp_path, **settings)
    read = exchange.read_network(tmp_path)
    assert (read.inputs, read.dt_ms, read.notes) == (network.inputs, network.dt_ms, network.notes)
    for got, want in zip(read.populations, network.populations, strict=True):
        assert (got.name, got.size, got.fires) == (want.name, want.size, want.fires)
        assert got.arithmetic == ("whole" if want.whole else "real")
        assert type(want.arithmetic)(**vars(got.numbers)) == want.arithmetic
        np.testing.assert_array_equal(got.bias, want.bias)
        assert (got.recurrent is None) == (want.recurrent is None)
        for mine, theirs in ((got.synapses, want.synapses), (got.recurrent, want.recurrent)):
            for what in ("sources", "targets", "source", "target", "delay_steps", "weight") if theirs else ():
                np.testing.assert_array_equal(getattr(mine, what), getattr(theirs, what))
    whole = exchange.read_trace(tmp_path)
    np.testing.assert_array_equal(whole.counts, trace.counts)
    assert whole.counts.max() > 1, "counts above one are part of the contract"
    part = exchange.read_trace(tmp_path, 2)
    assert part.counts.shape[1] == 2
    assert part.margin == trace.margin
    for name, want in trace.outputs.items():
        np.testing.assert_array_equal(part.outputs[name], want[:, :2])


@pytest.mark.parametrize("settings", SETTINGS)
def test_comparison_passes_a_simulator_of_its_equations_and_finds_one_wrong_delay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    network, trace = exported(tmp_path, **settings)
    read, golden = exchange.read_network(tmp_path), exchange.read_trace(tmp_path)
    assert exchange.compare(read, golden, simulated(read, golden.counts)) == 0
    printed = capsys.readouterr().out
    assert printed.count("equal") == len(network.populations)
    assert f"{int(trace.outputs['hidden1'].sum())} spikes" in printed
    heaviest = np.abs(read.populations[0].synapses.weight).argmax()
    read.populations[0].synapses.delay_steps[heaviest] += 1
    wrong = simulated(read, golden.counts)
    assert exchange.compare(read, golden, wrong) == 1
    found = first_mismatch(network, trace, wrong)
    assert found is not None
    printed = capsys.readouterr().out
    assert f"(sample {found.sample}, layer hidden1, t {found.t}, neuron {found.neuron})" in printed
    assert f"{found.differing} of {found.total} values differ" in printed


def test_membranes_may_differ_by_the_order_of_summation_alone(tmp_path: Path) -> None:
    exported(tmp_path)
    read, golden = exchange.read_network(tmp_path), exchange.read_trace(tmp_path)
    for change, status in ((1e-12, 0), (1e-7, 1), (np.nan, 1)):
        outputs = {name: array.copy() for name, array in golden.outputs.items()}
        outputs["readout"][-1, -1, -1] += change
        assert exchange.compare(read, golden, outputs) == status
    whole = tmp_path / "whole"
    exported(whole, whole=True)
    read, golden = exchange.read_network(whole), exchange.read_trace(whole)
    outputs = {name: array.astype(float) for name, array in golden.outputs.items()}
    assert exchange.compare(read, golden, outputs) == 0
    outputs["readout"][-1, -1, -1] += 1
    assert exchange.compare(read, golden, outputs) == 1


def test_silence_and_wrong_shapes_do_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exported(tmp_path)
    read, golden = exchange.read_network(tmp_path), exchange.read_trace(tmp_path)
    fewer = {**golden.outputs, "hidden2": golden.outputs["hidden2"][:, :1]}
    assert exchange.compare(read, golden, fewer) == 1
    assert "expected outputs of shape (80, 3, 16), got (80, 1, 16)" in capsys.readouterr().out
    assert exchange.compare(read, golden, golden.outputs) == 0
    for name, level in (("hidden2", 0), ("readout", 0.5)):
        dead = SimpleNamespace(**{**vars(golden), "outputs": dict(golden.outputs)})
        dead.outputs[name] = np.full_like(golden.outputs[name], level)
        capsys.readouterr()
        assert exchange.compare(read, dead, dead.outputs) == 1
        (line,) = [line for line in capsys.readouterr().out.splitlines() if "silent, which proves nothing" in line]
        assert line.startswith(name)


def test_a_population_that_one_side_lacks_does_not_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    network, trace = exported(tmp_path)
    read, golden = exchange.read_network(tmp_path), exchange.read_trace(tmp_path)
    fewer = {name: output for name, output in golden.outputs.items() if name != "readout"}
    assert exchange.compare(read, golden, fewer) == 1
    assert "differ in populations: readout" in capsys.readouterr().out
    assert exchange.compare(read, SimpleNamespace(**{**vars(golden), "outputs": fewer}), golden.outputs) == 1
    read.populations.pop()
    assert exchange.compare(read, golden, golden.outputs) == 1
    # Of the files, as a simulation of fewer populations would begin.
    (tmp_path / "network.npz").write_bytes(to_bytes(replace(network, populations=network.populations[:2])))
    with pytest.raises(SystemExit, match=r"golden\.npz and network\.npz differ in populations: readout; export anew"):
        exchange.read_trace(tmp_path)
    assert trace.outputs.keys() == golden.outputs.keys()


def test_more_samples_than_there_are_is_an_error(tmp_path: Path) -> None:
    exported(tmp_path)
    assert exchange.read_trace(tmp_path, 3).counts.shape[1] == 3
    with pytest.raises(SystemExit, match=r"golden\.npz has 3 samples, 4 were requested; take --samples 3 or fewer"):
        exchange.read_trace(tmp_path, 4)


def test_scripts_say_what_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=r"network\.npz; name the folder that `snn-delays export` wrote"):
        exchange.read_network(tmp_path)
    np.savez(tmp_path / "golden.npz", trace=np.array(json.dumps({"format": "another"})))
    with pytest.raises(SystemExit, match="has format 'another'"):
        exchange.read_trace(tmp_path)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=20))
def test_digits_add_up(counts: list[int]) -> None:
    pairs = exchange.digits(np.array(counts))
    assert sum(worth * raster.astype(int) for worth, raster in pairs).tolist() == counts
    assert len(pairs) == max(1, max(counts).bit_length())


def test_late_only_with_delays_of_0(tmp_path: Path) -> None:
    exported(tmp_path / "zero")
    exported(tmp_path / "one", min_delay_steps=1)
    assert exchange.lags(exchange.read_network(tmp_path / "zero")) == [1, 2, 3]
    network, _ = exported(tmp_path / "one", pynn, min_delay_steps=1)
    assert exchange.lags(exchange.read_network(tmp_path / "one")) == [0, 0, 0]
    # Where there are no synapses nothing is late.
    last = network.populations[-1]
    none = Synapses.sorted(last.synapses.sources, last.synapses.targets, [], [], [], [], "synapse")
    network = replace(network, populations=(*network.populations[:-1], replace(last, synapses=none)))
    (tmp_path / "one" / "network.npz").write_bytes(to_bytes(network))
    assert exchange.lags(exchange.read_network(tmp_path / "one")) == [0, 0, 0]
    pynn.write(network, random_trace(network), tmp_path / "one")
    outline = json.loads((tmp_path / "one" / "pynn.json").read_text())
    assert [entry["lag_steps"] for entry in outline["populations"]] == [0, 0, 0]


@pytest.mark.parametrize(
    ("target", "script"), [(brian2, "run_brian2.py"), (nest, "run_nest.py"), (pynn, "run_pynn.py")]
)
def test_an_export_is_complete(tmp_path: Path, target: ModuleType, script: str) -> None:
    network, trace = exported(tmp_path, target, recurrent=True)
    assert target.refuses(network) is None
    for name in (script, "exchange.py"):
        assert (tmp_path / name).read_bytes() == (HERE / name).read_bytes()
    readme = (tmp_path / "README.txt").read_text()
    for name in (script, "exchange.py", "network.npz", "golden.npz", "pip install"):
        assert name in readme
    assert not any(mark in readme for mark in "{}")
    assert f"closest of golden.npz is {trace.margin:.1e} from it" in readme
    (environment,) = [e for e in environments.ENVIRONMENTS if script in e.scripts]
    (line,) = [line.partition("     ")[0] for line in readme.splitlines() if line.startswith("pip install")]
    seen = set(line.removeprefix("pip install ").split())
    assert seen <= set(environment.installs["3.11"][0].split())


def test_the_readme_of_lava_installs_what_was_seen(tmp_path: Path) -> None:
    network = random_network(whole=True)
    lava.write(network, random_trace(network), tmp_path)
    readme = (tmp_path / "README.txt").read_text()
    (environment,) = [e for e in environments.ENVIRONMENTS if e.name == "lava"]
    for version, calls in environment.installs.items():
        assert f"Python {version}: pip install {calls[0]}\n" in readme
        assert f"             pip install {calls[1]}" in readme


@pytest.mark.parametrize("name", list(ROOM))
def test_scripts_stand_alone(name: str) -> None:
    tree = ast.parse((HERE / name).read_text(), feature_version=(3, 9))
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add((node.module or "").split(".")[0])
    assert imported - set(sys.stdlib_module_names) <= {"numpy", "exchange"} | ROOM[name]


@pytest.mark.parametrize("settings", [s for s in SETTINGS if "whole" not in s and "reset" not in s])
def test_lists_are_the_network(tmp_path: Path, settings: dict[str, Any]) -> None:
    network, _ = exported(tmp_path, pynn, **settings)
    outline = json.loads((tmp_path / "pynn.json").read_text())
    late = any(population.synapses.min_delay_steps == 0 for population in network.populations)
    listed = set()
    for number, (entry, population) in enumerate(zip(outline["populations"], network.populations, strict=True), 1):
        numbers = population.arithmetic
        assert isinstance(numbers, Membrane)
        assert (entry["name"], entry["size"], entry["fires"]) == (population.name, population.size, population.fires)
        assert entry["lag_steps"] == number * late
        for recurrent, synapses in ((False, population.synapses), (True, population.recurrent)):
            files = [p for p in entry["projections"] if p["recurrent"] == recurrent]
            listed |= {p["file"] for p in files}
            if synapses is None:
                assert not files
                continue
            rows = []
            for projection in files:
                assert (
                    (tmp_path / projection["file"]).read_text().startswith('# columns = ["i", "j", "weight", "delay"]')
                )
                rows.append(np.loadtxt(tmp_path / projection["file"], ndmin=2))
                assert (np.sign(rows[-1][:, 2]) == (1 if projection["receptor"] == "excitatory" else -1)).all()
            pre, post, weight, delay = np.concatenate(rows).T
            order = np.lexsort((delay, post, pre))
            np.testing.assert_array_equal(pre[order], synapses.source)
            np.testing.assert_array_equal(post[order], synapses.target)
            np.testing.assert_array_equal(weight[order], synapses.weight * numbers.gain)
            np.testing.assert_array_equal(delay[order], synapses.delay_steps + (late and not recurrent))
            assert 1 <= delay.min() <= delay.max() <= outline["max_delay_ms"]
    assert listed == {path.name for path in tmp_path.glob("hidden*.txt")} | {
        p.name for p in tmp_path.glob("readout*.txt")
    }


@pytest.mark.parametrize("settings", [s for s in SETTINGS if "whole" not in s and "reset" not in s])
def test_lists_alone_give_the_golden_trace(tmp_path: Path, settings: dict[str, Any]) -> None:
    """Neurons as NEST has them: a spike takes its delay, of 1 at the least, and moves v by its weight."""
    _, trace = exported(tmp_path, pynn, **settings)
    outline = json.loads((tmp_path / "pynn.json").read_text())
    steps, samples, _ = trace.counts.shape
    span = steps + outline["populations"][-1]["lag_steps"]
    before = np.zeros((span, *trace.counts.shape[1:]))
    before[:steps] = trace.counts
    for entry in outline["populations"]:
        cell, lag = entry["cell"], entry["lag_steps"]
        decay = math.exp(-1 / cell["tau_m"])
        resistance = cell["tau_m"] * (1 - decay) / cell["cm"]
        assert resistance == pytest.approx(1.0, abs=1e-14)
        arriving = np.zeros((span + 200, samples, entry["size"]))
        spikes, membranes = np.zeros((2, span, samples, entry["size"]))
        lists = [(p["recurrent"], np.loadtxt(tmp_path / p["file"], ndmin=2)) for p in entry["projections"]]
        v = np.full((samples, entry["size"]), cell["v_rest"])
        for recurrent, rows in lists:
            for pre, post, weight, delay in rows if not recurrent else ():
                arriving[int(delay) : int(delay) + span, :, int(post)] += weight * before[:, :, int(pre)]
        for t in range(span):
            offset = np.array(entry["i_offset"]) * (t >= lag)
            v = cell["v_rest"] + decay * (v - cell["v_rest"]) + resistance * offset + arriving[t]
            membranes[t], spikes[t] = v, v >= cell["v_thresh"]
            v = np.where(spikes[t], cell["v_reset"], v)
            for recurrent, rows in lists:
                if recurrent:
                    pre, post, delay = rows[:, [0, 1, 3]].astype(int).T
                    np.add.at(arriving, (t + delay, slice(None), post), rows[:, 2:3] * spikes[t].T[pre])
        got = (spikes if entry["fires"] else membranes)[lag : lag + steps]
        np.testing.assert_allclose(got, trace.outputs[entry["name"]], atol=1e-12)
        before = spikes


@pytest.mark.parametrize(("target", "title"), [(nest, "NEST"), (pynn, "PyNN")])
def test_what_the_neuron_of_nest_cannot_be_is_refused(target: ModuleType, title: str) -> None:
    assert target.refuses(random_network(recurrent=True, strict=True, decay_input=True, v_reset=-0.5)) is None
    printed = target.refuses(random_network(reset="soft"))
    assert printed is not None
    assert printed.startswith(f"hidden1 has a soft reset, {title}'s neuron resets to v_reset only")
    printed = target.refuses(random_network(whole=True))
    assert printed is not None
    assert printed.startswith(f"hidden1 computes in integers, {title} in real ones")
    network = random_network()
    instant = replace(network.populations[1], arithmetic=Membrane(1.0))
    printed = target.refuses(replace(network, populations=(network.populations[0], instant, network.populations[2])))
    assert printed is not None
    assert printed.startswith("hidden2 has tau_steps 1, a decay of 0")


def test_integrators_that_would_reach_their_threshold_are_refused(tmp_path: Path) -> None:
    network = random_network()
    trace = random_trace(network)
    trace.outputs["readout"][3, 1, 2] = 40000.0
    with pytest.raises(ExportError, match=r"readout: its membranes reach 40000; PyNN has no neuron without"):
        pynn.write(network, trace, tmp_path)
    assert not list(tmp_path.iterdir())
