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


def constants(population: SimpleNamespace) -> dict[str, float]:
    """The numbers that a population's equations name."""
    numbers = population.numbers
    if population.arithmetic == "whole":
        limit = 2 ** (numbers.state_bits - 1) - 1
        decay, gain, v_reset = numbers.decay_code / 2**numbers.decay_bits, 2**numbers.weight_shift, 0.0
        return {"decay": decay, "gain": gain, "v_reset": v_reset, "limit": limit, "threshold": numbers.threshold}
    decay = 1 - 1 / numbers.tau_steps
    gain = 1 - decay if numbers.decay_input else 1.0
    return {"decay": decay, "gain": gain, "v_reset": numbers.v_reset, "threshold": numbers.threshold}


def neurons(population: SimpleNamespace, slot: int) -> tuple[Any, Any]:
    """A population and what records it."""
    rules = {}
    if population.fires:
        rules["threshold"] = "v > threshold" if population.numbers.strict else "v >= threshold"
        rules["reset"] = "v -= threshold" if population.numbers.reset == "soft" else "v = v_reset"
    known = constants(population)
    group = NeuronGroup(population.size, EQUATIONS, namespace=known, name=f"population{slot}", **rules)
    group.v, group.bias = known["v_reset"], population.bias
    equation = WHOLE if population.arithmetic == "whole" else REAL
    group.run_regularly(equation, dt=defaultclock.dt, when=f"update{slot}")
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
    made = Synapses(source, target, "w : 1", on_pre="x_post += w")
    copy = np.repeat(np.arange(copies), len(synapses.source))
    made.connect(i=np.tile(synapses.source, copies) + copy * synapses.sources, j=np.tile(synapses.target, copies))
    made.w = np.tile(synapses.weight, copies) * 2.0**copy
    made.delay = np.tile(synapses.delay_steps - early, copies) * ms
    made.pre.when = f"deliver{slot}"
    return [made]


def run(network: SimpleNamespace, counts: np.ndarray) -> dict[str, np.ndarray]:
    """Spikes or membranes by population ``[time, sample, neuron]`` from counts ``[time, sample, input]``."""
    defaultclock.dt = 1 * ms
    steps, samples = counts.shape[:2]
    # One source fires once in a step: a count is split into its binary digits, each with sources of its own.
    inputs = np.concatenate([raster for _, raster in exchange.digits(counts)], axis=2)
    source = SpikeGeneratorGroup(inputs.shape[2], [], [] * ms, when="fire0", name="inputs")
    parts, monitors = [source], []
    before, copies = source, inputs.shape[2] // network.inputs
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
    outputs = {p.name: np.zeros((steps, samples, p.size), np.uint8 if p.fires else float) for p in network.populations}
    simulation.store()
    for sample in range(samples):
        simulation.restore()
        when, which = np.nonzero(inputs[:, sample])
        source.set_spikes(which, when * ms)
        simulation.run(steps * ms)
        for population, monitor in zip(network.populations, monitors):
            out = outputs[population.name][:, sample]
            if population.fires:
                out[np.rint(monitor.t / ms).astype(int), monitor.i] = 1
            else:
                out[:] = np.asarray(monitor.v).T
        exchange.progress(sample + 1, samples)
    return outputs


if __name__ == "__main__":
    given = exchange.arguments("Run an exported network in Brian2 and compare it with its golden trace.")
    model, trace = exchange.read_network(given.folder), exchange.read_trace(given.folder, given.samples)
    sys.exit(exchange.compare(model, trace, run(model, trace.counts)))
