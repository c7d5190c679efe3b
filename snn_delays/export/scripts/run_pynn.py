"""Runs an exported network's PyNN lists on NEST and compares the outputs with the golden trace, spike for spike.

    python run_pynn.py [FOLDER] [--samples N]

Seen equal with pynn 0.13.0, neo 0.14.6, nest-simulator 3.10.0 and Python 3.11. The network is built from `pynn.json`
and the lists it names alone, which is what a script for another of PyNN's simulators would do.
"""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import exchange
import numpy as np
import pyNN.nest as sim
from pyNN.parameters import Sequence

# Spikes of step 0 leave at 3 ms: PyNN's sources take 1 ms themselves, and its first run on NEST goes 1 ms too far.
FIRST, AHEAD = 3, 1

# PyNN 0.13 has forgotten to say under which name NEST knows this neuron's membrane.
sim.IF_curr_delta.variable_map = {"v": "V_m"}
sim.IF_curr_delta.scale_factors = {"v": 1}


def sources(rasters: list[tuple[int, np.ndarray]]) -> list[tuple[int, Any]]:
    """A source of spikes per channel, for each binary digit of the counts, with the digit's worth."""
    populations = []
    for worth, raster in rasters:
        times = [Sequence((np.flatnonzero(channel) + FIRST).astype(float)) for channel in raster.T]
        populations.append((worth, sim.Population(raster.shape[1], sim.SpikeSourceArray(spike_times=times))))
    return populations


def project(source: Any, target: Any, projection: dict[str, str], rows: np.ndarray, worth: int) -> None:
    """Synapses as a list has them, ``pre, post, weight, delay``."""
    listed = rows * [1, 1, worth, 1]
    sim.Projection(
        source, target, sim.FromListConnector(listed), sim.StaticSynapse(), receptor_type=projection["receptor"]
    )


def run_sample(outline: dict[str, Any], lists: dict[str, np.ndarray], counts: np.ndarray) -> dict[str, np.ndarray]:
    """Spikes or membranes by population ``[time, neuron]`` from counts ``[time, input]``."""
    # On the grid PyNN takes the neuron that computes in integer steps.
    sim.setup(timestep=1.0, min_delay=1.0, max_delay=outline["max_delay_ms"], spike_precision="on_grid")
    steps = len(counts)
    before = sources(exchange.digits(counts))
    populations = []
    for entry in outline["populations"]:
        population = sim.Population(entry["size"], sim.IF_curr_delta(i_offset=0.0, **entry["cell"]))
        population.initialize(v=entry["cell"]["v_rest"])
        population.record("spikes" if entry["fires"] else "v")
        for projection in entry["projections"]:
            rows = lists[projection["file"]]
            for worth, source in [(1, population)] if projection["recurrent"] else before:
                project(source, population, projection, rows, worth)
        populations.append(population)
        before = [(1, population)]
    # A population starts so late; until then it rests, its constant current still off.
    starts = [FIRST - 1 + entry["lag_steps"] for entry in outline["populations"]]
    for now in range(1 + AHEAD, max(starts) + 1):
        sim.run(1.0)
        for population, entry, start in zip(populations, outline["populations"], starts):
            if start == now:
                population.set(i_offset=entry["i_offset"])
    sim.run(float(steps + 1))
    recorded = {}
    for population, entry, start in zip(populations, outline["populations"], starts):
        segment = population.get_data().segments[0]
        if entry["fires"]:
            out = np.zeros((steps, entry["size"]), np.uint8)
            for neuron, train in enumerate(segment.spiketrains):
                when = np.rint(train.magnitude).astype(int) - start - 1
                out[when[(when >= 0) & (when < steps)], neuron] = 1
        else:
            out = segment.analogsignals[0].magnitude[start + 1 : start + 1 + steps]
        recorded[entry["name"]] = out
    sim.end()
    return recorded


def prepare(folder: Path, network: Any, counts: np.ndarray) -> Any:
    """What runs a sample: the outline and the lists it names, read once."""
    del network, counts
    outline = json.loads((folder / "pynn.json").read_text())
    files = [projection["file"] for entry in outline["populations"] for projection in entry["projections"]]
    return partial(run_sample, outline, {name: np.loadtxt(folder / name, ndmin=2) for name in files})


if __name__ == "__main__":
    sys.exit(exchange.main("Run an exported network's PyNN lists on NEST and compare with its golden trace.", prepare))
