"""Runs an exported network in Brian2 and compares it with its golden trace, spike for spike.

    python run_brian2.py [FOLDER] [--samples N]

Seen equal with brian2 2.9.0, numpy 2.3.5 and Python 3.11. One step is 1 ms of Brian2's time, whatever dt_ms says.

Brian2's own schedule updates all groups, then finds all spikes, then delivers: a spike with delay 0 is seen one step
late, and what arrives at a reset neuron is wiped with it. Here each population has four slots of its own, one
population after the other: update and clear the current, find spikes, deliver, reset. So a delay is written as it is;
that of a population onto itself one step shorter, as its spikes are delivered after its update.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import exchange
import numpy as np
from brian2 import (
    Network,
    NeuronGroup,
    SpikeGeneratorGroup,
    SpikeMonitor,
    StateMonitor,
    Synapses,
    defaultclock,
    ms,
    prefs,
)

# The C++ target compiles with -ffast-math by default, which may decide a tie the other way.
prefs.codegen.target = "numpy"

EQUATIONS = "v : 1\nx : 1\nbias : 1"
REAL = "v = decay * (v - v_reset) + v_reset + gain * (x + bias)\nx = 0"
WHOLE = "v = clip(sign(v) * floor(abs(v) * decay) + x * gain + bias, -limit, limit)\nx = 0"


def neurons(population: SimpleNamespace, slot: int) -> tuple[Any, Any]:
    """A population and what records it."""
    numbers, whole = population.numbers, population.arithmetic == "whole"
    known = {"decay": population.decay, "gain": population.gain, "threshold": numbers.threshold}
    known |= {"v_reset": 0.0, "limit": 2 ** (numbers.state_bits - 1) - 1} if whole else {"v_reset": numbers.v_reset}
    rules = {}
    if population.fires:
        rules["threshold"] = "v > threshold" if numbers.strict else "v >= threshold"
        rules["reset"] = "v -= threshold" if numbers.reset == "soft" else "v = v_reset"
    group = NeuronGroup(population.size, EQUATIONS, namespace=known, name=f"population{slot}", **rules)
    group.v, group.bias = known["v_reset"], population.bias
    group.run_regularly(WHOLE if whole else REAL, dt=defaultclock.dt, when=f"update{slot}")
    if not population.fires:
        return group, StateMonitor(group, "v", record=True, when=f"deliver{slot}", name=f"monitor{slot}")
    group.thresholder["spike"].when = f"fire{slot}"
    group.resetter["spike"].when = f"reset{slot}"
    return group, SpikeMonitor(group, name=f"monitor{slot}")


def connect(
    source: Any, target: Any, synapses: SimpleNamespace, slot: int, *, copies: int = 1, early: int = 0
) -> list[Any]:
    """Synapses delivered in a slot, if there are any; copy b of the sources has weights 2^b as large."""
    if not len(synapses.source):  # Brian2 runs no empty ones
        return []
    projection = Synapses(source, target, "w : 1", on_pre="x_post += w")
    copy = np.repeat(np.arange(copies), len(synapses.source))
    projection.connect(i=np.tile(synapses.source, copies) + copy * synapses.sources, j=np.tile(synapses.target, copies))
    projection.w = np.tile(synapses.weight, copies) * 2.0**copy
    projection.delay = np.tile(synapses.delay_steps - early, copies) * ms
    projection.pre.when = f"deliver{slot}"
    return [projection]


def prepare(folder: Path, network: SimpleNamespace, counts: np.ndarray) -> Any:
    """What runs a sample: the network, built once."""
    del folder
    defaultclock.dt = 1 * ms
    # One source fires once in a step: a count is split into its binary digits, each with sources of its own.
    digits = len(exchange.digits(counts))
    source = SpikeGeneratorGroup(digits * network.inputs, [], [] * ms, when="fire0", name="inputs")
    parts, monitors = [source], []
    before, copies = source, digits
    for slot, population in enumerate(network.populations, 1):
        group, monitor = neurons(population, slot)
        parts += [group, monitor, *connect(before, group, population.synapses, slot - 1, copies=copies)]
        if population.recurrent is not None:
            parts += connect(group, group, population.recurrent, slot, early=1)
        monitors.append(monitor)
        before, copies = group, 1
    simulation = Network(parts)
    slots = [
        f"{what}{slot}"
        for slot in range(len(network.populations) + 1)
        for what in ("update", "fire", "deliver", "reset")
    ]
    # Brian2 demands its own slots' names too.
    simulation.schedule = ["start", "groups", "thresholds", "synapses", "resets", *slots, "end"]
    simulation.store()

    def run_sample(counts: np.ndarray) -> dict[str, np.ndarray]:
        simulation.restore()
        when, which = np.nonzero(np.concatenate([counts >> b & 1 for b in range(digits)], axis=1))
        source.set_spikes(which, when * ms)
        simulation.run(len(counts) * ms)
        outputs = {}
        for population, monitor in zip(network.populations, monitors):
            if population.fires:
                out = np.zeros((len(counts), population.size), np.uint8)
                out[np.rint(monitor.t / ms).astype(int), monitor.i] = 1
            else:
                out = np.array(monitor.v).T
            outputs[population.name] = out
        return outputs

    return run_sample


if __name__ == "__main__":
    sys.exit(exchange.main("Run an exported network in Brian2 and compare it with its golden trace.", prepare))
