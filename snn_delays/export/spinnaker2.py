"""SpiNNaker 2: lists of ``[pre, post, weight, delay]`` and a script that builds them with py-spinnaker2. Not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ExportError
from snn_delays.export.scripts import place, write_readme
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses
from snn_delays.ir.trace import Trace

Integers = NDArray[np.int64]

LARGEST_WEIGHT, LONGEST_DELAY = 15, 7
CHIP_ADDS = 1  # steps on top of a delay in a list
HOP = LONGEST_DELAY + CHIP_ADDS  # steps that a relay adds
OFF_GRID = 1e-5  # of a code; weights come from float32
NEVER = 1e9  # threshold of neurons that must not fire
REMEDY = "discretise with --target spinnaker2"
RELAY = {"threshold": 0.5, "alpha_decay": 0.0, "i_offset": 0.0, "v_reset": 0.0, "reset": "reset_to_v_reset"}


def refuses(network: CanonicalNetwork) -> str | None:
    """Why SpiNNaker 2 cannot hold a network, or None; delays that need relays are left to :func:`write`."""
    for number, population in enumerate(network.populations, 1):
        name, numbers = population.name, population.arithmetic
        if not isinstance(numbers, Membrane):
            return f"{name} computes in integers, SpiNNaker 2's neurons in floating point; {REMEDY}"
        if numbers.reset == "soft" and numbers.v_reset:
            return (
                f"{name}: a soft reset with v_reset = {numbers.v_reset:g} subtracts another height there; use v_reset 0"
            )
        if not population.fires and (number < len(network.populations) or population.recurrent is not None):
            return f"{name}: integrators send no spikes; SpiNNaker 2 has them as the last population, not recurrent"
        if _step(population) is None:
            return (
                f"{name}: weights are not whole multiples, -{LARGEST_WEIGHT}..{LARGEST_WEIGHT}, of one step; {REMEDY}"
            )
        if int(network.lags) and population.bias.any():
            return (
                f"{name}: biases, and a delay of 0 makes populations run late, so that they would act before a sample "
                "begins; train with min_delay_steps = 1"
            )
    return None


def write(network: CanonicalNetwork, trace: Trace, folder: Path, *, relays: bool = False) -> None:
    """Write ``connections.json`` and ``run_spinnaker2.py``.

    A membrane counts from ``v_reset`` in units of ``gain * step``, where weights are codes times ``step``: there
    ``v = alpha v + sum of codes + bias / step``. A delay of ``D`` steps is ``D - 1`` in the list, or ``D`` for
    feed-forward synapses where some of them is 0, and population l then runs l steps late. Channels with up to n events
    in a step are n sources.

    Args:
        network: weights on a grid of 5 bits, delays 0..7.
        trace: samples and what the reference simulator made of them.
        folder: where to write; it exists.
        relays: let longer delays pass through neurons that hand a spike on 8 steps later, one for each 8 steps.

    Raises ExportError where :func:`refuses` gives a reason, and for longer delays without relays.
    """
    reason = refuses(network)
    if reason:
        raise ExportError(f"SpiNNaker 2 cannot hold this network: {reason}")
    lists = connections(network, copies=max(1, int(trace.counts.max(initial=0))), relays=relays)
    (folder / "connections.json").write_text(json.dumps(lists), encoding="utf-8")
    place(folder, "run_spinnaker2.py")
    hops = [entry for entry in lists["populations"] if entry["relay"]]
    write_readme(
        folder,
        "spinnaker2",
        samples=trace.samples,
        margin=f"{trace.margin:.3g} of the network's units" if trace.samples else "there are none",
        lag="Population l (from 1) runs l steps late, as a feed-forward delay is 0."
        if lists["lag"]
        else "No population runs late.",
        copies=f"Inputs are {lists['copies']} sources for each channel, which has up to as many events in a step.\n"
        if lists["copies"] > 1
        else "",
        relays=f"{sum(entry['size'] for entry in hops)} relay neurons hold spikes for longer, {HOP} steps each.\n"
        if hops
        else "",
    )


def connections(network: CanonicalNetwork, *, copies: int = 1, relays: bool = False) -> dict[str, Any]:
    """The content of ``connections.json``.

    ``inputs``, ``copies`` (source ``c * inputs + i`` is the c-th event of channel i in a step), ``dt_ms``, ``lag``
    (steps that each population adds), ``populations`` (``name``, ``size``, ``fires``, ``relay``, ``unit``, ``v_reset``,
    ``params``) and ``projections`` (``pre``, ``post``, ``connections``).
    """
    lag = int(network.lags)
    populations: list[dict[str, Any]] = []
    projections: list[dict[str, Any]] = []
    before, times = "input", copies
    for population in network.populations:
        populations.append(_neurons(population))
        sides = ((before, lag, times), (population.name, 0, 1))
        for (name, synapses), (source, late, repeats) in zip(population.parts.items(), sides):
            steps = synapses.delay_steps.astype(np.int64) + late
            over = int((steps > HOP).sum())
            if over and not relays:
                raise ExportError(
                    f"{name}: {over} of {len(synapses)} delays exceed the {HOP - late} steps of SpiNNaker 2 (the "
                    f"longest has {synapses.max_delay_steps}); {REMEDY}, or hold spikes in relay neurons: --relays"
                )
            made = _projections(name, source, population, synapses, steps, repeats)
            populations += made[0]
            projections += made[1]
        before, times = population.name, 1
    return {
        "format": "snn_delays spinnaker2 1",
        "inputs": network.inputs,
        "copies": copies,
        "dt_ms": network.dt_ms,
        "lag": lag,
        "populations": populations,
        "projections": projections,
    }


def _step(population: Population) -> float | None:
    """The largest step of which all weights onto a population are codes; None if there is none."""
    weight = population.weights
    peak = float(np.abs(weight).max(initial=0))
    for most in range(1, LARGEST_WEIGHT + 1):
        codes = weight * (most / peak) if peak else weight
        if (np.abs(codes - np.rint(codes)) <= OFF_GRID).all() and np.rint(codes).all():
            return peak / most if peak else 1.0
    return None


def _neurons(population: Population) -> dict[str, Any]:
    numbers, step = population.arithmetic, _step(population)
    assert isinstance(numbers, Membrane)
    assert step is not None
    unit = numbers.gain * step
    return {
        "name": population.name,
        "size": population.size,
        "fires": population.fires,
        "relay": False,
        "unit": unit,
        "v_reset": numbers.v_reset,
        "params": {
            "threshold": (numbers.threshold - numbers.v_reset) / unit if population.fires else NEVER,
            "alpha_decay": numbers.decay,
            "i_offset": (population.bias / step).tolist(),
            "v_reset": 0.0,
            "reset": "reset_by_subtraction" if numbers.reset == "soft" else "reset_to_v_reset",
        },
    }


def _projections(
    name: str, source: str, population: Population, synapses: Synapses, steps: Integers, times: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Relay populations and projections for synapses whose spikes act ``steps`` >= 1 after they were sent."""
    step = _step(population)
    assert step is not None
    codes = np.rint(synapses.weight / step).astype(np.int64)
    hops = (steps - CHIP_ADDS) // HOP
    populations, projections = [], []
    pre = source
    size = synapses.sources * times
    for hop in range(int(hops.max(initial=0)) + 1):
        if hop:
            relay = f"{name}.relay{hop}"
            populations.append(
                {
                    "name": relay,
                    "size": size,
                    "fires": True,
                    "relay": True,
                    "unit": 1.0,
                    "v_reset": 0.0,
                    "params": RELAY,
                }
            )
            needed = np.unique(synapses.source[hops >= hop])
            pairs = _copied(np.stack([needed, needed], 1), synapses.sources, times, both=True)
            projections.append(
                {"pre": pre, "post": relay, "connections": [[i, j, 1, LONGEST_DELAY] for i, j in pairs.tolist()]}
            )
            pre = relay
        here = hops == hop
        delays = (steps[here] - CHIP_ADDS) % HOP
        rows = np.stack([synapses.source[here], synapses.target[here], codes[here], delays], 1)
        projections.append(
            {
                "pre": pre,
                "post": population.name,
                "connections": _copied(rows, synapses.sources, times).tolist(),
            }
        )
    return populations, projections


def _copied(rows: Integers, sources: int, times: int, both: bool = False) -> Integers:
    """Rows whose first column is a source (and whose second too, if ``both``), for every copy of the sources."""
    copies = []
    for copy in range(times):
        shifted = rows.astype(np.int64)
        shifted[:, : 2 if both else 1] += copy * sources
        copies.append(shifted)
    return np.concatenate(copies)
