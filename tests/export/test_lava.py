"""Lava and netx: the file and the scripts, run on Lava's rules in numpy; refusals."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from snn_delays.errors import ExportError
from snn_delays.export import lava
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses, to_bytes
from snn_delays.ir.trace import trace_bytes
from tests.support import fake_lava
from tests.support.canonical_networks import random_network, random_trace

CASES = {
    "feed-forward": {},
    "no delay 0": {"min_delay_steps": 1, "seed": 2},
    "delays to 62": {"max_delay_steps": 62, "seed": 5},
    "4 bits": {"bits": 4, "seed": 8},
    "recurrent": {"recurrent": True, "seed": 3},
    "recurrent, no delay 0": {"recurrent": True, "min_delay_steps": 1, "seed": 4},
    "recurrent, 4 bits": {"recurrent": True, "bits": 4, "seed": 9},
}
FEED_FORWARD = [name for name, case in CASES.items() if "recurrent" not in case]


def changed(network: CanonicalNetwork, change: Callable[[Population], Population]) -> CanonicalNetwork:
    return replace(network, populations=tuple(change(population) for population in network.populations))


def loihi_network(*, bits: int = 8, **options: Any) -> CanonicalNetwork:
    """Random, with biases in multiples of 64."""

    def fit(population: Population) -> Population:
        def fewer(synapses: Synapses | None) -> Synapses | None:
            return synapses and replace(
                synapses, weight=np.clip(synapses.weight, 1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1)
            )

        numbers: Any = population.arithmetic
        if bits < 8:
            threshold = numbers.threshold * 2 ** (6 - bits) // 64 * 64
            numbers = replace(numbers, weight_shift=15 - bits, threshold=threshold)
        synapses = fewer(population.synapses)
        assert synapses is not None
        return replace(
            population,
            arithmetic=numbers,
            bias=np.rint(population.bias / 64) * 64,
            synapses=synapses,
            recurrent=fewer(population.recurrent),
        )

    return changed(random_network(whole=True, **options), fit)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, Path], int]]:
    """Runs a script of a folder on the rules of Lava in numpy; its exit status."""
    fake_lava.forget("exchange", "run_lava", "run_netx")
    for name, module in fake_lava.modules().items():
        monkeypatch.setitem(sys.modules, name, module)

    def ran(script: str, folder: Path) -> int:
        monkeypatch.syspath_prepend(str(folder))
        monkeypatch.setattr(sys, "argv", [str(folder / f"{script}.py")])
        return int(importlib.import_module(script).main())

    yield ran
    fake_lava.forget("exchange", "run_lava", "run_netx")


def export(network: CanonicalNetwork, folder: Path) -> None:
    trace = random_trace(network)
    (folder / "network.npz").write_bytes(to_bytes(network))
    (folder / "golden.npz").write_bytes(trace_bytes(trace))
    assert lava.refuses(network) is None
    lava.write(network, trace, folder)


def one_delay_off(synapses: Synapses) -> Synapses:
    delays = synapses.delay_steps.copy()
    strongest = int(np.argmax(np.abs(synapses.weight)))
    delays[strongest] += 1 if delays[strongest] < 12 else -1
    return replace(synapses, delay_steps=delays)


@pytest.mark.parametrize("case", CASES)
def test_the_script_runs_spike_for_spike(case: str, tmp_path: Path, run: Callable[[str, Path], int]) -> None:
    export(loihi_network(**CASES[case]), tmp_path)
    assert run("run_lava", tmp_path) == 0


@pytest.mark.parametrize("which", ["hidden1.recurrent", "readout"])
def test_a_set_without_synapses_runs(which: str, tmp_path: Path, run: Callable[[str, Path], int]) -> None:
    def emptied(population: Population) -> Population:
        name, _, own = which.partition(".")
        field = "recurrent" if own else "synapses"
        if population.name != name:
            return population
        old = getattr(population, field)
        return replace(population, **{field: Synapses.sorted(old.sources, old.targets, [], [], [], [], "synapse")})

    export(changed(loihi_network(recurrent=True, min_delay_steps=1), emptied), tmp_path)
    assert run("run_lava", tmp_path) == 0


@pytest.mark.parametrize("name", ["hidden1", "hidden2", "readout", "hidden1.recurrent"])
def test_one_delay_off_by_one_is_seen(
    name: str, tmp_path: Path, run: Callable[[str, Path], int], capsys: pytest.CaptureFixture[str]
) -> None:
    network = loihi_network(**CASES["recurrent"])
    export(network, tmp_path)

    def off(population: Population) -> Population:
        if name == population.name:
            return replace(population, synapses=one_delay_off(population.synapses))
        if name == f"{population.name}.recurrent":
            assert population.recurrent is not None
            return replace(population, recurrent=one_delay_off(population.recurrent))
        return population

    (tmp_path / "network.npz").write_bytes(to_bytes(changed(network, off)))
    assert run("run_lava", tmp_path) == 1
    assert f"layer {name.partition('.')[0]}, t " in capsys.readouterr().out


def test_biases_off_the_grid_of_netx_and_several_synapses_of_a_pair(
    tmp_path: Path, run: Callable[[str, Path], int]
) -> None:
    network = random_network(whole=True, seed=1)

    def more(population: Population) -> Population:
        s = population.synapses
        first = slice(0, 30)
        parts = [
            np.r_[values, values[first] + add]
            for values, add in ((s.source, 0), (s.target, 0), (s.delay_steps, 3), (s.weight, 0))
        ]
        both = Synapses.sorted(s.sources, s.targets, *parts, "synapse")
        return replace(population, synapses=both, bias=population.bias + 16)

    export(changed(network, more), tmp_path)
    assert run("run_lava", tmp_path) == 0
    assert not (tmp_path / "network.net").exists()
    assert not (tmp_path / "run_netx.py").exists()
    assert "No network.net: hidden1: 30 synapses beyond the first" in (tmp_path / "README.txt").read_text()


@pytest.mark.parametrize("case", FEED_FORWARD)
def test_netx_runs_spike_for_spike(case: str, tmp_path: Path, run: Callable[[str, Path], int]) -> None:
    export(loihi_network(**CASES[case]), tmp_path)
    assert run("run_netx", tmp_path) == 0


@pytest.mark.parametrize("what", ["delay", "weight", "bias"])
@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_wrong_netx_file_is_seen(
    what: str, layer: int, tmp_path: Path, run: Callable[[str, Path], int], capsys: pytest.CaptureFixture[str]
) -> None:
    export(loihi_network(), tmp_path)
    with h5py.File(tmp_path / "network.net", "r+") as file:
        values = file[f"layer/{layer}/{what}"][()]
        strongest = np.argmax(np.abs(file[f"layer/{layer}/weight"][()])) if what != "bias" else 0
        values.flat[strongest] += {"delay": 1, "weight": -64, "bias": 8}[what]
        file[f"layer/{layer}/{what}"][...] = values
    assert run("run_netx", tmp_path) == 1
    assert f"layer {('hidden1', 'hidden2', 'readout')[layer]}, t " in capsys.readouterr().out


@pytest.mark.parametrize("case", FEED_FORWARD)
def test_the_file_becomes_the_network_again(case: str, tmp_path: Path) -> None:
    network = loihi_network(**CASES[case])
    lava.write_netx(network, tmp_path / "network.net")
    with h5py.File(tmp_path / "network.net") as file:
        assert file.attrs["dt_ms"] == network.dt_ms
        assert len(file["layer"]) == len(network.populations)
        for number, population in enumerate(network.populations):
            group, numbers = file[f"layer/{number}"], population.arithmetic
            assert isinstance(numbers, FixedPoint)
            assert (group.attrs["name"], group.attrs["fires"]) == (population.name, population.fires)
            weight = group["weight"][()]
            target, source = np.nonzero(weight)
            delays = group["delay"][()][target, source]
            codes = weight[target, source] >> (numbers.weight_shift - 6)
            again = Synapses.sorted(*weight.T.shape, source, target, delays, codes, "synapse")
            for part in ("source", "target", "delay_steps", "weight"):
                np.testing.assert_array_equal(getattr(again, part), getattr(population.synapses, part))
            np.testing.assert_array_equal(group["bias"][()] * 64, population.bias)
            assert 4096 - group["neuron/vDecay"][()] == numbers.decay_code
            assert group["neuron/vThMant"][()] * 64 == (numbers.threshold if population.fires else 131071 * 64)


def broken(**fields: Any) -> Callable[[Population], Population]:
    """A population with other fields, of its arithmetic too."""

    def change(population: Population) -> Population:
        own = {name: value for name, value in fields.items() if name in ("bias", "arithmetic")}
        numbers = {name: value for name, value in fields.items() if name not in own}
        if "bias" in own:
            own["bias"] = np.full(population.size, own["bias"])
        return replace(
            population, **({"arithmetic": replace(population.arithmetic, **numbers)} if numbers else {}), **own
        )

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (broken(arithmetic=Membrane(3.0)), "hidden1: its neurons compute in real numbers.*--target loihi2"),
        (broken(decay_bits=13), "hidden1: decays of 13 and membranes of 24 bits.*12 and 24: .*--target loihi2"),
        (broken(state_bits=25), "membranes of 25 bits"),
        (broken(decay_code=0), "hidden1: forgets all in a step"),
        (broken(reset="soft"), "hidden1: soft reset; neurons of Loihi 2 return to 0"),
        (broken(strict=False), "hidden1: fires at its threshold; Loihi 2 fires only above it"),
        (broken(threshold=130), "hidden1: threshold 130; Loihi 2 has multiples of 64 up to 8388544"),
        (broken(bias=4096 * 128.0), r"hidden1: biases up to 524288 do not fit in 13 bits times a power of two up to"),
        (broken(weight_shift=5), "hidden1: weights are shifted by 5 bits"),
        (broken(weight_shift=6), r"hidden1: \d+ of \d+ weights are not even numbers in -256..254 once shifted by 0"),
        (broken(weight_shift=9), r"hidden1: \d+ of \d+ weights are not even numbers in -256..254 once shifted by 3"),
    ],
)  # fmt: skip
def test_what_loihi_cannot_hold(change: Callable[[Population], Population], message: str) -> None:
    reason = lava.refuses(changed(random_network(whole=True), change))
    assert reason is not None
    assert re.search(message, reason), reason


def with_delay(network: CanonicalNetwork, steps: int, recurrent: bool = False) -> CanonicalNetwork:
    first, *others = network.populations
    synapses = first.recurrent if recurrent else first.synapses
    assert synapses is not None
    delays = synapses.delay_steps.copy()
    delays[7] = steps
    late = replace(synapses, delay_steps=delays)
    return replace(network, populations=(replace(first, **{"recurrent" if recurrent else "synapses": late}), *others))


def test_delays_end_at_62_and_63() -> None:
    network = loihi_network(recurrent=True)
    assert lava.refuses(with_delay(network, 62)) is None
    reason = lava.refuses(with_delay(network, 63))
    assert reason is not None
    assert reason.startswith("hidden1: 1 of ")
    assert "delays exceed 62 steps (the longest has 63); discretise with --target loihi2" in reason
    assert lava.refuses(with_delay(network, 63, recurrent=True)) is None
    assert "hidden1.recurrent: 1 of" in (lava.refuses(with_delay(network, 64, recurrent=True)) or "")


def test_netx_refuses_what_it_would_spoil(tmp_path: Path) -> None:
    file = tmp_path / "network.net"
    cases = {
        "run_lava.py": loihi_network(recurrent=True),
        "delays exceed 62": with_delay(loihi_network(), 63),
        "no multiples of 64": changed(loihi_network(), broken(bias=32.0)),
        "no positive weight": changed(
            loihi_network(), lambda p: replace(p, synapses=replace(p.synapses, weight=-np.abs(p.synapses.weight)))
        ),
    }
    for message, network in cases.items():
        with pytest.raises(ExportError, match=message):
            lava.write_netx(network, file)
        assert not file.exists()


def test_an_integrator_that_would_fire_is_an_error(tmp_path: Path) -> None:
    network = loihi_network()
    trace = random_trace(network)
    trace.outputs["readout"][-1, 0, 0] = (lava.NEVER << 6) + 1
    with pytest.raises(ExportError, match="readout: a membrane reaches 8388545, above the highest threshold"):
        lava.write(network, trace, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("bias", "mantissa", "exponent"),
    [([0, 5, -4096], [0, 5, -4096], 0), ([4096, 2], [2048, 1], 1), ([4095 * 128, -128], [4095, -1], 7)],
)
def test_biases_share_an_exponent(bias: list[int], mantissa: list[int], exponent: int) -> None:
    found = lava.bias_mantissa(np.array(bias, float))
    assert found is not None
    assert (found[0].tolist(), found[1]) == (mantissa, exponent)
    assert lava.bias_mantissa(np.array([4096.0, 1.0])) is None
    assert lava.bias_mantissa(np.array([0.5])) is None
