"""SpiNNaker 2: lists of ``[pre, post, weight, delay]`` and a script that builds them with py-spinnaker2. Not run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ExportError
from snn_delays.export.files import complete
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses
from snn_delays.ir.trace import Trace

Integers = NDArray[np.int64]
Rows = list[list[int]]

LARGEST_WEIGHT, LONGEST_DELAY = 15, 7
CHIP_ADDS = 1  # steps on top of a delay in a list
HOP = LONGEST_DELAY + CHIP_ADDS  # steps that a relay adds
OFF_GRID = 1e-5  # of a code; weights come from float32
NEVER = 1e9  # threshold of neurons that must not fire
REMEDY = "discretise with --target spinnaker2"
RELAY: dict[str, Any] = {
    "fires": True, "relay": True, "unit": 1.0, "v_reset": 0.0,
    "params": {"threshold": 0.5, "alpha_decay": 0.0, "i_offset": 0.0, "v_reset": 0.0, "reset": "reset_to_v_reset"},
}  # fmt: skip


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
            most = LARGEST_WEIGHT
            return f"{name}: weights are not integer multiples, -{most}..{most}, of one step; {REMEDY}"
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
    in a step are n sources. With ``relays``, longer delays pass through neurons that hand a spike on 8 steps later, one
    for each 8 steps; without, they raise ExportError.
    """
    if reason := refuses(network):
        raise ExportError(f"SpiNNaker 2 cannot hold this network: {reason}")
    lists = connections(network, copies=max(1, int(trace.counts.max(initial=0))), relays=relays)
    (folder / "connections.json").write_text(json.dumps(lists), encoding="utf-8")
    hops = sum(entry["size"] for entry in lists["populations"] if entry["relay"])
    copies = f"Inputs are {lists['copies']} sources for each channel, which has up to as many events in a step.\n"
    complete(
        folder,
        "spinnaker2",
        trace,
        "scripts/run_spinnaker2.py",
        margin=f"{trace.margin:.3g} of the network's units" if trace.samples else "there are none",
        lag="Population l (from 1) runs l steps late, as a feed-forward delay is 0."
        if lists["lag"]
        else "No population runs late.",
        copies=copies if lists["copies"] > 1 else "",
        relays=f"{hops} relay neurons hold spikes for longer, {HOP} steps each.\n" if hops else "",
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
        step = _step(population)
        assert step is not None
        populations.append(_neurons(population, step))
        sides = ((before, lag, times), (population.name, 0, 1))
        for (name, synapses), (source, late, repeats) in zip(population.parts.items(), sides):
            steps = synapses.delay_steps.astype(np.int64) + late
            over = int((steps > HOP).sum())
            if over and not relays:
                raise ExportError(
                    f"{name}: {over} of {len(synapses)} delays exceed the {HOP - late} steps of SpiNNaker 2 (the "
                    f"longest has {synapses.max_delay_steps}); {REMEDY}, or hold spikes in relay neurons: --relays"
                )
            sent = _sent(synapses, np.rint(synapses.weight / step).astype(np.int64), steps, repeats)
            for hop, (handed_on, rows) in enumerate(sent):
                if hop:
                    relay = f"{name}.relay{hop}"
                    populations.append({"name": relay, "size": synapses.sources * repeats, **RELAY})
                    projections.append({"pre": source, "post": relay, "connections": handed_on})
                    source = relay
                projections.append({"pre": source, "post": population.name, "connections": rows})
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


def _neurons(population: Population, step: float) -> dict[str, Any]:
    numbers = population.arithmetic
    assert isinstance(numbers, Membrane)
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


def _sent(synapses: Synapses, codes: Integers, steps: Integers, times: int) -> Iterator[tuple[Rows, Rows]]:
    """Hop by hop the list onto its relays, and that of the synapses whose spikes act ``steps`` >= 1 after they left."""
    hops, delays = np.divmod(steps - CHIP_ADDS, HOP)
    for hop in range(int(hops.max(initial=0)) + 1):
        needed = np.unique(synapses.source[hops >= hop]).astype(np.int64)
        onto = np.stack([needed, needed, np.ones_like(needed), np.full_like(needed, LONGEST_DELAY)], 1)
        here = hops == hop
        rows = np.stack([synapses.source[here], synapses.target[here], codes[here], delays[here]], 1)
        yield _copied(onto, synapses.sources, times, 2), _copied(rows, synapses.sources, times, 1)


def _copied(rows: Integers, sources: int, times: int, columns: int) -> Rows:
    """Rows for every copy of the sources, whose numbers are in the first so many columns."""
    copies = np.tile(rows, (times, 1))
    copies[:, :columns] += np.repeat(np.arange(times) * sources, len(rows))[:, None]
    listed: Rows = copies.tolist()
    return listed
