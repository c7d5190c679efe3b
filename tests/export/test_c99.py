"""C99: the engine, compiled strictly and with sanitizers, equals the golden trace; wrong by one, it is caught."""

import functools
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from snn_delays.errors import ExportError
from snn_delays.export import c99
from snn_delays.ir.canonical import CanonicalNetwork, Synapses
from snn_delays.ir.trace import Trace
from tests.support.canonical_networks import random_network
from tests.support.integer_networks import (
    CASES,
    EDGES,
    changed,
    flooded,
    network_of,
    one_off,
    saturating,
    tied,
    trace_of,
    with_numbers,
)

COMPILER = shutil.which("gcc") or shutil.which("clang") or shutil.which("cc")
needs_compiler = pytest.mark.skipif(COMPILER is None, reason="NOT RUN: there is no C compiler (gcc, clang or cc)")
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Werror", "-pedantic")
SANITIZED = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
PARTS = ("snn_engine.c", "network.c", "golden.c", "main_golden.c")


@functools.cache
def sanitizers_work() -> bool:
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "nothing.c"
        source.write_text("int main(void) { return 0; }\n")
        command = [str(COMPILER), *SANITIZED, "-o", f"{folder}/nothing", source]
        done = subprocess.run(command, capture_output=True)
        return not done.returncode and not subprocess.run([f"{folder}/nothing"], capture_output=True).returncode


def build(folder: Path, *flags: str) -> None:
    assert COMPILER is not None
    if SANITIZED[0] in flags and not sanitizers_work():
        pytest.skip(f"NOT RUN: {COMPILER} has no sanitizers")
    done = subprocess.run(
        [COMPILER, "-std=c99", *flags, "-o", "golden", *PARTS], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def golden(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run([folder / "golden", *arguments], cwd=folder, capture_output=True, text=True, timeout=900)
    return done.returncode, done.stdout + done.stderr


def exported(network: CanonicalNetwork, trace: Trace, folder: Path, *flags: str) -> tuple[int, str]:
    c99.write(network, trace, folder)
    build(folder, *flags)
    return golden(folder)


def macro(folder: Path, name: str) -> str:
    found = re.search(rf"#define {name} (\S+)", (folder / "network.h").read_text())
    assert found is not None
    return found[1]


@needs_compiler
@pytest.mark.parametrize(("recurrent", "reset"), CASES)
def test_the_engine_equals_the_golden_trace(recurrent: bool, reset: str, tmp_path: Path) -> None:
    network = network_of(recurrent, reset)
    trace = trace_of(network)
    assert c99.refuses(network) is None
    status, printed = exported(network, trace, tmp_path, "-O2", *STRICT)
    assert status == 0, printed
    for population in network.populations:
        output = trace.outputs[population.name]
        what = f"{int(output.sum())} spikes" if population.fires else f"{output.size} membranes"
        assert re.search(rf"^{population.name}: {what}.*, equal$", printed, re.MULTILINE), printed


@needs_compiler
@pytest.mark.parametrize("name", EDGES)
def test_edges_of_the_arithmetic_are_equal_and_without_undefined_behaviour(name: str, tmp_path: Path) -> None:
    network = EDGES[name]()
    trace = trace_of(network)
    if name == "saturating":
        assert {-32767, 32767} <= set(trace.outputs["readout"].ravel().tolist())
    if name == "tied":
        assert trace.margin == 0
    status, printed = exported(network, trace, tmp_path, *SANITIZED, *STRICT)
    assert status == 0, printed


@needs_compiler
@pytest.mark.parametrize(
    ("what", "where"),
    [
        ("delay_steps", "hidden1"), ("delay_steps", "hidden1.recurrent"), ("delay_steps", "readout"),
        ("weight", "hidden2"), ("weight", "hidden2.recurrent"), ("threshold", "hidden1"),
    ],
)  # fmt: skip
def test_canary_a_number_off_by_one_is_printed_with_its_place(what: str, where: str, tmp_path: Path) -> None:
    network = tied() if what == "threshold" else network_of(True, "soft")
    trace = trace_of(network)
    wrong, mismatch = one_off(network, trace, what, where)
    status, printed = exported(wrong, trace, tmp_path, "-O0")
    assert status == 1
    assert str(mismatch) in printed, printed


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("-leaked :", "-leaked - 1 :"),  # the floor of an arithmetic shift
        ("if (h > population->limit)", "if (0)"),
        ("if (h < -(int64_t)population->limit)", "if (0)"),
        ("if (population->recurrent)", "if (0)"),
        ("population->soft_reset ?", "0 ?"),
        ("population->strict ?", "1 ?"),
        ("(snn_current)count", "1"),
        ("        ring[i] = 0;\n", ""),
    ],
)
def test_canary_a_wrong_engine_is_seen(right: str, wrong: str, tmp_path: Path) -> None:
    network = tied() if "strict" in right else saturating()
    c99.write(network, trace_of(network), tmp_path)
    source = tmp_path / "snn_engine.c"
    text = source.read_text()
    assert right in text
    source.write_text(text.replace(right, wrong))
    build(tmp_path, "-O0")
    status, printed = golden(tmp_path)
    assert status == 1, printed
    assert " at (sample 0, layer " in printed


@needs_compiler
def test_a_current_beyond_the_membrane_is_an_error_with_its_place(tmp_path: Path) -> None:
    network = with_numbers(network_of(False, "hard", max_delay_steps=0, bias=False), state_bits=15)
    status, printed = exported(network, flooded(network), tmp_path, *SANITIZED)
    assert status == 1
    assert re.search(r"a current overflows at \(sample 0, layer hidden1, t 7, neuron \d+\)", printed), printed


@needs_compiler
def test_time_cost_samples_and_wrong_arguments(tmp_path: Path) -> None:
    network = network_of(True, "hard")
    trace = trace_of(network)
    status, printed = exported(network, trace, tmp_path, "-O2")
    assert status == 0
    fan_out = [np.diff(p.synapses.row_pointers) for p in network.populations]
    arriving = [trace.counts > 0, trace.outputs["hidden1"], trace.outputs["hidden2"]]
    operations = sum(float((a * f).sum()) for a, f in zip(arriving, fan_out))
    for population in network.populations[:2]:
        assert population.recurrent is not None
        operations += float((trace.outputs[population.name] * np.diff(population.recurrent.row_pointers)).sum())
    assert f"{operations / (2 * len(trace.counts)):.1f} synaptic operations a step" in printed
    status, printed = golden(tmp_path, "--time")
    assert status == 0
    assert re.match(r"\d+\.\d+ microseconds a step, ", printed)
    size = re.search(r"state of (\d+) bytes", printed)
    assert size is not None
    assert 0 <= int(size[1]) - int(macro(tmp_path, "SNN_RAM_BYTES")) < 16
    assert golden(tmp_path, "--samples", "1")[1].startswith("1 samples of 80 steps")
    assert golden(tmp_path, "--nonsense")[0] == 2


@needs_compiler
@pytest.mark.skipif(shutil.which("make") is None, reason="NOT RUN: there is no make")
def test_make_compares(tmp_path: Path) -> None:
    network = network_of(False, "hard")
    c99.write(network, trace_of(network), tmp_path)
    done = subprocess.run(
        ["make", f"CC={COMPILER}"], cwd=tmp_path, capture_output=True, text=True, env=plain_environment()
    )
    assert done.returncode == 0, done.stderr
    assert "readout: 800 membranes, equal" in done.stdout


def plain_environment() -> dict[str, str]:
    """Without what an outer make hands on."""
    return {name: value for name, value in os.environ.items() if "MAKE" not in name and name != "CFLAGS"}


@needs_compiler
def test_the_engine_needs_no_library(tmp_path: Path) -> None:
    network = network_of(True, "soft")
    c99.write(network, trace_of(network), tmp_path)
    assert "stdio" not in (tmp_path / "snn_engine.c").read_text() + (tmp_path / "network.c").read_text()
    assert COMPILER is not None
    command = [COMPILER, "-std=c99", "-O1", "-ffreestanding", "-Wall", "-Werror", "-c", "snn_engine.c", "network.c"]
    subprocess.run(command, cwd=tmp_path, check=True)


def test_types_are_as_narrow_as_the_numbers(tmp_path: Path) -> None:
    for name, types in (("even", ("uint8", "uint8", "int8", "int32")), ("wide", ("uint8", "uint16", "int16", "int32"))):
        network = EDGES[name]()
        c99.write(network, trace_of(network), tmp_path)
        header = (tmp_path / "network.h").read_text()
        for field, kind in zip(("target", "delay", "weight", "current"), types):
            assert f"typedef {kind}_t snn_{field};" in header
    synapses = sum(len(part) for _, part in network.all_synapses())
    rows = sum(p.synapses.sources + p.size * (p.recurrent is not None) + 1 for p in network.populations)
    neurons = sum(p.size for p in network.populations)
    assert macro(tmp_path, "SNN_FLASH_BYTES") == str(5 * synapses + 4 * rows + 4 * neurons)


def test_what_it_cannot_hold_is_refused(tmp_path: Path) -> None:
    assert "--target generic8" in (c99.refuses(random_network()) or "")
    network = network_of(False, "hard")
    first = network.populations[0]
    assert "hidden1 has state_bits 40" in (c99.refuses(with_numbers(network, state_bits=40)) or "")
    half = replace(first.synapses, weight=first.synapses.weight + 0.5)
    reason = c99.refuses(changed(network, lambda i, p: replace(p, synapses=half) if i == 0 else p)) or ""
    assert f"hidden1: {len(half)} of {len(half)} values of weight are not integers" in reason
    late = Synapses(*(getattr(first.synapses, f) for f in ("sources", "targets", "source", "target")),
                    first.synapses.delay_steps + 2**16, first.synapses.weight)  # fmt: skip
    assert "values of delay" in (
        c99.refuses(changed(network, lambda i, p: replace(p, synapses=late) if i == 0 else p)) or ""
    )
    trace = trace_of(network)
    integrators = changed(network, lambda _, p: replace(p, fires=False))
    with pytest.raises(ExportError, match="hidden1: leaky integrators"):
        c99.write(integrators, trace, tmp_path)
    with pytest.raises(ExportError, match="real numbers"):
        c99.write(random_network(), trace, tmp_path)
    with pytest.raises(ExportError, match="256 events of one channel"):
        c99.write(network, replace(trace, counts=np.full(trace.counts.shape, 256)), tmp_path)
    assert not list(tmp_path.iterdir())
