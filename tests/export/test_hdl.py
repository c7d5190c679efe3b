"""HDL: the images hold the network, and the Verilog engine equals the golden trace; wrong by one, it is caught."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snn_delays.errors import ExportError
from snn_delays.export import hdl
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace
from tests.support.canonical_networks import random_network
from tests.support.integer_networks import (
    CASES,
    EDGES,
    flooded,
    network_of,
    one_off,
    saturating,
    tied,
    trace_of,
    with_numbers,
)

needs_iverilog = pytest.mark.skipif(
    shutil.which("iverilog") is None or shutil.which("vvp") is None,
    reason="NOT RUN: Icarus Verilog is not installed (Debian: apt-get install iverilog)",
)
STEPS = 40
DESIGN = ("snn_population.v", "network.v", "testbench.v")


def simulated(folder: Path, *arguments: str) -> str:
    """What the testbench says."""
    command = ["iverilog", "-g2005", "-Wall", "-Wno-timescale", "-s", "testbench", "-o", "simulation", *DESIGN]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr
    done = subprocess.run(
        ["vvp", "-n", "simulation", *arguments], cwd=folder, capture_output=True, text=True, timeout=900
    )
    assert not done.stderr, done.stderr
    return done.stdout


def exported(network: CanonicalNetwork, trace: Trace, folder: Path) -> str:
    hdl.write(network, trace, folder)
    return simulated(folder)


@needs_iverilog
@pytest.mark.parametrize(("recurrent", "reset"), CASES)
def test_the_engine_equals_the_golden_trace(recurrent: bool, reset: str, tmp_path: Path) -> None:
    network = network_of(recurrent, reset)
    trace = trace_of(network, STEPS)
    assert hdl.refuses(network) is None
    printed = exported(network, trace, tmp_path)
    assert printed.rstrip().endswith("PASS"), printed
    for population in network.populations:
        output = trace.outputs[population.name]
        what = f"{int(output.sum())} spikes" if population.fires else f"{output.size} membranes"
        assert re.search(rf"^{population.name}: {what}, .*, equal$", printed, re.MULTILINE), printed
    assert simulated(tmp_path, "+samples=1").count("1 samples of 40 steps") == 1


@needs_iverilog
@pytest.mark.parametrize("name", EDGES)
def test_edges_of_the_arithmetic_are_equal(name: str, tmp_path: Path) -> None:
    network = EDGES[name]()
    printed = exported(network, trace_of(network, STEPS), tmp_path)
    assert printed.rstrip().endswith("PASS"), printed


@needs_iverilog
@pytest.mark.parametrize(
    ("what", "where"),
    [("delay_steps", "hidden1"), ("delay_steps", "hidden1.recurrent"), ("weight", "hidden2"), ("weight", "readout"),
     ("threshold", "hidden1")],
)  # fmt: skip
def test_canary_a_number_off_by_one_is_printed_with_its_place(what: str, where: str, tmp_path: Path) -> None:
    network = tied() if what == "threshold" else network_of(True, "soft")
    trace = trace_of(network, STEPS)
    wrong, mismatch = one_off(network, trace, what, where)
    printed = exported(wrong, trace, tmp_path)
    assert printed.rstrip().endswith("FAIL")
    assert str(mismatch).split(";")[0] in printed, printed
    assert re.search(rf"^{mismatch.layer}: .* NOT equal$", printed, re.MULTILINE), printed


@needs_iverilog
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("leaked = v[STATE_BITS-1] ? -decayed", "leaked = v[STATE_BITS-1] ? -decayed - 1'b1"),  # floor
        ("sum < -SUM_LIMIT ? LOWEST :", ""),
        ("SOFT_RESET != 0 ? h - threshold :", ""),
        ("(STRICT == 0 && h == threshold)", "1'b0"),
        ("RECURRENT != 0 && fired ? ROW_BEGIN", "1'b0 ? ROW_BEGIN"),
    ],
)
def test_canary_a_wrong_engine_is_seen(right: str, wrong: str, tmp_path: Path) -> None:
    network = tied() if "STRICT" in right else saturating()
    hdl.write(network, trace_of(network, STEPS), tmp_path)
    source = tmp_path / "snn_population.v"
    text = source.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    printed = simulated(tmp_path)
    assert printed.rstrip().endswith("FAIL"), printed
    assert " at (sample 0, layer " in printed


@needs_iverilog
def test_a_current_beyond_the_membrane_fails_with_its_place(tmp_path: Path) -> None:
    network = with_numbers(network_of(False, "hard", max_delay_steps=0, bias=False), state_bits=15)
    printed = exported(network, flooded(network), tmp_path)
    assert re.search(r"a current overflows at \(sample 0, layer hidden1, t 7, neuron \d+\)", printed), printed
    assert printed.rstrip().endswith("FAIL")


def words(path: Path) -> np.ndarray:
    return np.array([int(line, 16) for line in path.read_text().splitlines() if not line.startswith("//")])


def parameter(folder: Path, name: str) -> int:
    found = re.search(rf"^`define {name} (\d+)$", (folder / "network.vh").read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1])


def signed(values: np.ndarray, bits: int) -> np.ndarray:
    return np.where(values >= 2 ** (bits - 1), values - 2**bits, values)


@pytest.mark.parametrize("name", ["saturating", "even", "wide"])
def test_the_images_hold_every_synapse_and_the_trace(name: str, tmp_path: Path) -> None:
    network = EDGES[name]()
    trace = trace_of(network, STEPS)
    hdl.write(network, trace, tmp_path)
    for k, p in enumerate(network.populations):
        bits = {field: parameter(tmp_path, f"P{k}_{field}_BITS") for field in ("TARGET", "WEIGHT", "DELAY", "BIAS")}
        word = words(tmp_path / f"p{k}_synapses.hex")
        rows = words(tmp_path / f"p{k}_rows.hex")
        source = np.repeat(np.arange(len(rows) - 1), np.diff(rows))
        factor = 2.0 ** (parameter(tmp_path, f"P{k}_WEIGHT_SHIFT") - p.arithmetic.weight_shift)
        parts = [p.synapses] + ([p.recurrent] if p.recurrent is not None else [])
        want = np.concatenate([part.source + i * p.synapses.sources for i, part in enumerate(parts)])
        assert np.array_equal(source, want)
        fields = {"target": word % 2 ** bits["TARGET"], "delay_steps": word >> (bits["TARGET"] + bits["WEIGHT"])}
        fields["weight"] = signed((word >> bits["TARGET"]) % 2 ** bits["WEIGHT"], bits["WEIGHT"]) * factor
        for field, got in fields.items():
            assert np.array_equal(got, np.concatenate([getattr(part, field) for part in parts])), field
        assert np.array_equal(signed(words(tmp_path / f"p{k}_bias.hex"), bits["BIAS"]), p.bias)
        output = trace.outputs[p.name].transpose(1, 0, 2)
        golden = words(tmp_path / f"golden_p{k}.hex")
        if not p.fires:
            assert np.array_equal(signed(golden, p.arithmetic.state_bits), output.ravel())
            continue
        end = golden >> bits["TARGET"] == 1
        raster = np.zeros((trace.samples * len(trace.counts), p.size), np.uint8)
        raster[np.cumsum(end)[~end], golden[~end]] = 1
        assert np.array_equal(raster, output.reshape(raster.shape))


def test_what_it_cannot_hold_is_refused(tmp_path: Path) -> None:
    assert "HDL takes integers" in (hdl.refuses(random_network()) or "")
    network = network_of(False, "hard")
    trace = trace_of(network, STEPS)
    with pytest.raises(ExportError, match="real numbers"):
        hdl.write(random_network(), trace, tmp_path)
    with pytest.raises(ExportError, match="256 events of one channel"):
        hdl.write(network, replace(trace, counts=np.full(trace.counts.shape, 256)), tmp_path)
    assert not list(tmp_path.iterdir())
