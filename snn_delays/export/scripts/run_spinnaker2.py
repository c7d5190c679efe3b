"""Builds connections.json with py-spinnaker2, runs the samples on a board and compares spikes with the golden trace.

    python run_spinnaker2.py [FOLDER] [--samples N]        the board's address in the variable S2_IP

NOT RUN: written after py-spinnaker2's public examples, which is on no package index and needs a board.

The chip adds one step to a delay of a list. Where "lag" is 1, population l (from 1) therefore runs l steps late, and
its raster is moved back. Membranes, 32-bit floats on the chip, are printed with their largest difference, not judged.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import exchange
import numpy as np
from spinnaker2 import hardware, snn


def sources(lists: dict[str, Any], counts: np.ndarray) -> dict[int, list[int]]:
    """When each input source fires: copy c of a channel in every step with more than c events."""
    if counts.max(initial=0) > lists["copies"]:
        sys.exit(
            f"a channel has {counts.max()} events in a step, connections.json has {lists['copies']} sources for each"
        )
    inputs = lists["inputs"]
    return {
        copy * inputs + channel: np.flatnonzero(counts[:, channel] > copy).tolist()
        for copy in range(lists["copies"])
        for channel in range(inputs)
    }


def build(lists: dict[str, Any], counts: np.ndarray) -> tuple[Any, dict[str, Any]]:
    """The network with one sample as its input, and its populations by name."""
    source = snn.Population(
        size=lists["inputs"] * lists["copies"], neuron_model="spike_list", params=sources(lists, counts), name="input"
    )
    made = {"input": source}
    for entry in lists["populations"]:
        record = [] if entry["relay"] else ["spikes" if entry["fires"] else "v"]
        made[entry["name"]] = snn.Population(
            size=entry["size"], neuron_model="lif", params=entry["params"], name=entry["name"], record=record
        )
    network = snn.Network("snn_delays")
    network.add(*made.values())
    for projection in lists["projections"]:
        if projection["connections"]:
            pre, post = made[projection["pre"]], made[projection["post"]]
            network.add(snn.Projection(pre=pre, post=post, connections=projection["connections"]))
    return network, made


def run(lists: dict[str, Any], counts: np.ndarray, board: Any) -> dict[str, np.ndarray]:
    """One sample ``[time, input]``; spikes or membranes by population ``[time, neuron]``."""
    network, made = build(lists, counts)
    neurons = [entry for entry in lists["populations"] if not entry["relay"]]
    steps = len(counts) + lists["lag"] * len(neurons)
    board.run(network, steps)
    found = {}
    for number, entry in enumerate(neurons, 1):
        raster = np.zeros((steps, entry["size"]))
        if entry["fires"]:
            for neuron, times in made[entry["name"]].get_spikes().items():
                raster[np.asarray(times, int), neuron] = 1
        else:
            for neuron, voltages in made[entry["name"]].get_voltages().items():
                raster[:, neuron] = np.asarray(voltages)[:steps] * entry["unit"] + entry["v_reset"]
        late = lists["lag"] * number
        found[entry["name"]] = raster[late : late + len(counts)]
    return found


def main() -> int:
    """Run every sample and compare."""
    given = exchange.arguments(__doc__ or "")
    if "S2_IP" not in os.environ:
        sys.exit("set S2_IP to the address of the SpiNNaker 2 board")
    network, trace = exchange.read_network(given.folder), exchange.read_trace(given.folder, given.samples)
    lists = json.loads((given.folder / "connections.json").read_text())
    board = hardware.SpiNNaker2Chip(eth_ip=os.environ["S2_IP"])
    responses = [run(lists, trace.counts[:, sample], board) for sample in range(trace.counts.shape[1])]
    outputs = {p.name: np.stack([r[p.name] for r in responses], axis=1) for p in network.populations}
    for population in network.populations:
        if not population.fires:
            gap = np.abs(outputs[population.name] - trace.outputs[population.name]).max(initial=0)
            print(f"{population.name}: membranes differ by up to {gap:.3g}")
    network.populations = [population for population in network.populations if population.fires]
    firing = {population.name for population in network.populations}
    trace.outputs = {name: output for name, output in trace.outputs.items() if name in firing}
    return exchange.compare(network, trace, {name: outputs[name] for name in firing})


if __name__ == "__main__":
    sys.exit(main())
