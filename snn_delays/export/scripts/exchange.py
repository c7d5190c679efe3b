"""Reads an exported network with its golden trace and compares a simulator's outputs with it; needs numpy alone.

Every ``run_*.py`` beside this file uses it. A network is a chain of populations after input channels:

    x[t, i] = sum over synapses n onto i of weight[n] * s[t - delay_steps[n], source[n]]
    real:     h = decay * (v - v_reset) + v_reset + gain * (x + bias)
              decay = 1 - 1/tau_steps; gain = 1 - decay if decay_input else 1
    whole:    h = trunc(v * decay_code / 2^decay_bits) + x * 2^weight_shift + bias, kept within +-(2^(state_bits-1) - 1)
    s = h > threshold if strict, else h >= threshold
    where s:  v = v_reset (hard; 0 if whole) or h - threshold (soft); elsewhere v = h

A population that does not fire is read by its membranes h. A spike with delay 0 acts in its own step, one of a
population onto itself no earlier than the next.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

NETWORK, TRACE = "snn_delays network 1", "snn_delays trace 1"
TOLERANCE = 1e-9


def arguments(description: str = "") -> argparse.Namespace:
    """The command line every script shares: ``folder`` (default: the script's own) and ``samples`` (default: all)."""
    parser = argparse.ArgumentParser(description=description)
    here = Path(sys.argv[0]).resolve().parent
    parser.add_argument("folder", nargs="?", type=Path, default=here, help="of network.npz and golden.npz")
    parser.add_argument("--samples", type=int, help="how many of the samples to run (default: all)")
    given = parser.parse_args()
    if given.samples is not None and given.samples < 1:
        parser.error(f"--samples must be at least 1, got {given.samples}")
    return given


def main(
    description: str,
    prepare: Callable[[Path, SimpleNamespace, np.ndarray], Callable[[np.ndarray], dict[str, Any]]],
    *,
    judge_membranes: bool = True,
) -> int:
    """Run every sample of an export and compare; the exit status.

    ``prepare(folder, network, counts)`` returns what runs one sample ``[time, input]`` from rest and gives the outputs
    by population ``[time, neuron]``. Without ``judge_membranes`` the largest difference of integrators is printed only.
    """
    given = arguments(description)
    network, trace = read_network(given.folder), read_trace(given.folder, given.samples)
    run_sample, samples = prepare(given.folder, network, trace.counts), trace.counts.shape[1]
    responses = []
    for sample in range(samples):
        responses.append(run_sample(trace.counts[:, sample]))
        progress(sample + 1, samples)
    outputs = {p.name: np.stack([r[p.name] for r in responses], axis=1) for p in network.populations}
    for population in () if judge_membranes else list(network.populations):
        if not population.fires:
            gap = np.abs(outputs.pop(population.name) - trace.outputs.pop(population.name)).max(initial=0)
            print(f"{population.name}: membranes differ by up to {gap:.3g}")
            network.populations.remove(population)
    return compare(network, trace, outputs)


def read_network(folder: Any) -> SimpleNamespace:
    """The network: ``inputs``, ``dt_ms``, ``notes`` and ``populations``.

    Each population has ``name``, ``size``, ``fires``, ``arithmetic`` (``"real"`` or ``"whole"``), ``numbers`` (its
    constants by name), ``decay`` of a step, ``gain`` of the current, ``bias``, and ``synapses`` and ``recurrent`` (None
    without) with ``sources``, ``targets`` and, per synapse, ``source``, ``target``, ``delay_steps``, ``weight``.
    """
    outline, arrays = _read(Path(folder) / "network.npz", "network", NETWORK)
    populations, width = [], outline["inputs"]
    for entry in outline["populations"]:
        name, size, numbers = entry["name"], entry["size"], SimpleNamespace(**entry["numbers"])
        if entry["arithmetic"] == "whole":
            decay, gain = numbers.decay_code / 2**numbers.decay_bits, 2.0**numbers.weight_shift
        else:
            decay = 1 - 1 / numbers.tau_steps
            gain = 1 - decay if numbers.decay_input else 1.0
        parts = {"synapses": _synapses(arrays, name, width, size), "recurrent": None}
        if entry["recurrent"] is not None:
            parts["recurrent"] = _synapses(arrays, f"{name}.recurrent", size, size)
        known = {key: entry[key] for key in ("name", "size", "fires", "arithmetic")}
        bias = arrays[f"{name}.bias"]
        populations.append(SimpleNamespace(**known, numbers=numbers, decay=decay, gain=gain, bias=bias, **parts))
        width = size
    known = {key: outline[key] for key in ("inputs", "dt_ms", "notes")}
    return SimpleNamespace(**known, populations=populations)


def read_trace(folder: Any, samples: int | None = None) -> SimpleNamespace:
    """The first ``samples`` of the golden trace (all if None).

    ``counts`` are events ``[time, sample, input]``, ``outputs`` by population ``[time, sample, neuron]`` the spikes
    (0 or 1) or the membranes of integrators, ``margin`` the least distance of a membrane from its threshold.
    """
    path = Path(folder) / "golden.npz"
    outline, arrays = _read(path, "trace", TRACE)
    there = arrays["input"].shape[1]
    if not there:
        sys.exit(f"{path} has no samples, so there is nothing to compare; export anew with samples")
    if samples is not None and samples > there:
        sys.exit(f"{path} has {there} samples, {samples} were requested; take --samples {there} or fewer")
    arrays = {name: array[:, :samples] for name, array in arrays.items()}
    counts = arrays.pop("input").astype(np.int64)
    network, _ = _read(path.with_name("network.npz"), "network", NETWORK)
    known = {population["name"] for population in network["populations"]}
    if known != set(arrays):
        sys.exit(f"{path} and network.npz differ in populations: {_listed(known ^ set(arrays))}; export anew")
    return SimpleNamespace(counts=counts, outputs=arrays, margin=outline["margin"], notes=outline["notes"])


def digits(counts: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """Counts as rasters of single spikes: pairs of 2^b and where binary digit b is set, so that they add up.

    At least one pair; fewer spikes than one per event, and exact, for powers of two only shift a weight's exponent.
    """
    return [(1 << b, (counts >> b & 1).astype(bool)) for b in range(max(1, int(counts.max(initial=0)).bit_length()))]


def lags(network: SimpleNamespace) -> list[int]:
    """Steps by which each population runs late where a spike takes a step to arrive at the least.

    Zero for all unless a feed-forward synapse has delay 0; else population l (from 1) lags l steps, the delays of its
    synapses being one longer.
    """
    late = any((population.synapses.delay_steps == 0).any() for population in network.populations)
    return [number if late else 0 for number in range(1, len(network.populations) + 1)]


def progress(done: int, total: int) -> None:
    """How many samples are done, on one line of a terminal."""
    if sys.stderr.isatty():
        print(f"\rsample {done}/{total}", end="\n" if done == total else "", file=sys.stderr, flush=True)


def compare(network: SimpleNamespace, trace: SimpleNamespace, outputs: dict[str, Any]) -> int:
    """Print for every population whether outputs, keyed and shaped as the trace's, equal it; the exit status.

    Spikes and whole membranes must be equal, real membranes within ``1e-9 * (1 + |v|)`` (the order of summation). The
    network, the trace and the outputs must have the same populations. A population that never spikes, or whose
    membranes never move, does not pass: silence proves nothing.
    """
    steps, samples = trace.counts.shape[:2]
    print(f"{samples} samples of {steps} steps, least distance from a threshold {trace.margin:.3g}")
    names = {population.name for population in network.populations}
    strange = (names ^ set(trace.outputs)) | (names ^ set(outputs))
    if strange:
        print(f"network, trace and simulation differ in populations: {_listed(strange)}")
        return 1
    status = 0
    width = max(map(len, names))
    for population in network.populations:
        want, got = trace.outputs[population.name], np.asarray(outputs[population.name])
        if population.fires:
            spikes = int(want.sum())
            what, dead = f"{spikes:9d} spikes, sparsity {1 - spikes / max(1, want.size):7.2%}", not spikes
        else:
            what, dead = f"{population.size:9d} membranes", not want.size or np.ptp(want) == 0
        verdict = "silent, which proves nothing" if dead else _difference(population.name, want, got)
        print(f"{population.name:{width}s}  {what:36s}  {verdict}", flush=True)
        status |= not verdict.startswith("equal")
    return int(status)


def _difference(layer: str, want: np.ndarray, got: np.ndarray) -> str:
    """Where the first value differs, or a text that begins with ``equal``."""
    if got.shape != want.shape:
        return f"expected outputs of shape {want.shape}, got {got.shape}"
    if want.dtype.kind == "f":
        gap = np.abs(want - got)
        differs = ~(gap <= TOLERANCE * (1 + np.abs(want)))
        good = f"equal (largest difference {gap.max(initial=0):.1e})"
    else:
        differs, good = want != got, "equal"
    if not differs.any():
        return good
    sample = int(np.flatnonzero(differs.any((0, 2)))[0])
    t, neuron = (int(i) for i in np.argwhere(differs[:, sample])[0])
    return (
        f"first mismatch at (sample {sample}, layer {layer}, t {t}, neuron {neuron}): expected "
        f"{want[t, sample, neuron]}, got {got[t, sample, neuron]}; {int(differs.sum())} of {differs.size} values differ"
    )


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names))


def _synapses(arrays: dict[str, np.ndarray], prefix: str, sources: int, targets: int) -> SimpleNamespace:
    parts = {what: arrays[f"{prefix}.{what}"] for what in ("source", "target", "delay_steps", "weight")}
    return SimpleNamespace(sources=sources, targets=targets, **parts)


def _read(path: Path, name: str, form: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    if not path.is_file():
        sys.exit(f"there is no {path}; name the folder that `snn-delays export` wrote")
    with np.load(path, allow_pickle=False) as archive:
        arrays = {key: archive[key] for key in archive.files}
    outline = json.loads(str(arrays.pop(name)))
    if outline["format"] != form:
        sys.exit(f"{path} has format {outline['format']!r}, this script reads {form!r}; export it anew")
    return outline, arrays
