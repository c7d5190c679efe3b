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
from functools import partial
from pathlib import Path
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
    populations = {"input": source}
    for entry in lists["populations"]:
        record = [] if entry["relay"] else ["spikes" if entry["fires"] else "v"]
        populations[entry["name"]] = snn.Population(
            size=entry["size"], neuron_model="lif", params=entry["params"], name=entry["name"], record=record
        )
    network = snn.Network("snn_delays")
    network.add(*populations.values())
    for projection in lists["projections"]:
        if projection["connections"]:
            pre, post = populations[projection["pre"]], populations[projection["post"]]
            network.add(snn.Projection(pre=pre, post=post, connections=projection["connections"]))
    return network, populations


def run(lists: dict[str, Any], board: Any, counts: np.ndarray) -> dict[str, np.ndarray]:
    """One sample ``[time, input]``; spikes or membranes by population ``[time, neuron]``."""
    network, populations = build(lists, counts)
    neurons = [entry for entry in lists["populations"] if not entry["relay"]]
    steps = len(counts) + lists["lag"] * len(neurons)
    board.run(network, steps)
    outputs = {}
    for number, entry in enumerate(neurons, 1):
        raster = np.zeros((steps, entry["size"]))
        if entry["fires"]:
            for neuron, times in populations[entry["name"]].get_spikes().items():
                raster[np.asarray(times, int), neuron] = 1
        else:
            for neuron, voltages in populations[entry["name"]].get_voltages().items():
                raster[:, neuron] = np.asarray(voltages)[:steps] * entry["unit"] + entry["v_reset"]
        late = lists["lag"] * number
        outputs[entry["name"]] = raster[late : late + len(counts)]
    return outputs


def prepare(folder: Path, network: Any, counts: np.ndarray) -> Any:
    """What runs a sample on the board."""
    del network, counts
    if "S2_IP" not in os.environ:
        sys.exit("set S2_IP to the address of the SpiNNaker 2 board")
    lists = json.loads((folder / "connections.json").read_text())
    return partial(run, lists, hardware.SpiNNaker2Chip(eth_ip=os.environ["S2_IP"]))


def main() -> int:
    """Run every sample and compare."""
    return exchange.main(__doc__ or "", prepare, judge_membranes=False)


if __name__ == "__main__":
    sys.exit(main())
