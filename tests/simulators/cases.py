"""Writes exports of small random networks, every setting once, for run.py to check; and some that must differ.

    PYTHONPATH=tests python tests/simulators/cases.py FOLDER

In the folders `canary` one delay is a step longer than in the network that made the trace: a run must find it.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from canonical_networks import random_network, random_trace

from snn_delays.errors import ExportError
from snn_delays.export.canonical import CanonicalNetwork
from snn_delays.export.targets import format_named, write_export
from snn_delays.export.trace import first_mismatch, make_trace

CASES: dict[str, dict[str, Any]] = {
    "feedforward": {},
    "no_delay_0": {"min_delay_steps": 1},
    "recurrent": {"recurrent": True},
    "recurrent_no_delay_0": {"recurrent": True, "min_delay_steps": 1},
    "recurrent_long": {"recurrent": True, "max_delay_steps": 60},
    "no_delays": {"max_delay_steps": 0},
    "decay_input": {"decay_input": True, "v_reset": -0.25},
    "strict": {"strict": True, "v_reset": 0.125, "tau_steps": 20 / 3, "recurrent": True},
    "ties": {"tau_steps": 2.0, "recurrent": True},
    "ties_strict": {"tau_steps": 2.0, "recurrent": True, "strict": True},
    "soft": {"reset": "soft", "recurrent": True},
    "whole": {"whole": True, "min_delay_steps": 1},
    "whole_recurrent": {"whole": True, "recurrent": True, "min_delay_steps": 1},
    "whole_delay_0": {"whole": True, "recurrent": True},
    "whole_soft": {"whole": True, "reset": "soft", "recurrent": True, "min_delay_steps": 1},
}
TARGETS = ("brian2", "nest", "pynn", "lava")


def one_delay_off(network: CanonicalNetwork) -> CanonicalNetwork:
    """The network with the delay of the heaviest synapse of the first population one step longer."""
    first, *others = network.populations
    delays = first.synapses.delay_steps.copy()
    delays[abs(first.synapses.weight).argmax()] += 1
    synapses = replace(first.synapses, delay_steps=delays)
    return replace(network, populations=(replace(first, synapses=synapses), *others))


def with_ties(network: CanonicalNetwork) -> CanonicalNetwork:
    """The network with coarse weights and the threshold on their grid, so that membranes often meet it exactly."""
    populations = [
        replace(
            population,
            # Away from zero: no synapse may weigh nothing.
            synapses=replace(
                population.synapses,
                weight=np.sign(population.synapses.weight) * np.ceil(np.abs(population.synapses.weight) * 4) / 4,
            ),
            bias=np.round(population.bias * 4) / 4,
            arithmetic=replace(population.arithmetic, threshold=1.0),
        )
        for population in network.populations
    ]
    return replace(network, populations=tuple(populations))


def main(folder: Path) -> None:
    """Write every case for every target that holds it."""
    for name, settings in CASES.items():
        network = random_network(**settings)
        if name.startswith("ties"):
            network = with_ties(network)
        trace = random_trace(network)
        assert trace.margin == 0 or not name.startswith("ties")
        for target in TARGETS:
            if format_named(target).arithmetic not in ("any", "whole" if network.whole else "real"):
                continue
            try:
                write_export(network, trace, target, folder / target / name)
            except ExportError as error:
                print(f"{target}/{name} left out: {error}")
    for target in TARGETS:
        network = random_network(whole=format_named(target).arithmetic == "whole", min_delay_steps=1)
        off, trace = one_delay_off(network), random_trace(network)
        differs = first_mismatch(network, trace, make_trace(off, trace.counts).outputs)
        assert differs is not None, "the delay changes nothing"
        assert differs.layer == "hidden1"
        note = {"must_differ": f"one delay of {off.populations[0].name} is one step longer than the trace's\n"}
        write_export(off, trace, target, folder / target / "canary", documents=note)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
