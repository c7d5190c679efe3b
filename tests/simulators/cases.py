"""Writes exports of small random networks, every setting once, for run.py to check; and some that must differ.

    python -m tests.simulators.cases FOLDER

In the folders `canary_...` one delay is a step longer than in the network that made the trace: a run must find it, in
the layer that the file `must_differ` names.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from snn_delays.errors import ExportError
from snn_delays.export.targets import format_named, write_export
from snn_delays.ir.canonical import CanonicalNetwork, Population, Synapses
from snn_delays.ir.trace import Trace, first_mismatch, make_trace
from tests.support.canonical_networks import random_counts, random_network, random_trace

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
    "empty_recurrent": {"recurrent": True, "min_delay_steps": 1},
    "empty_readout": {"min_delay_steps": 1},
    "empty_sample": {"min_delay_steps": 1, "bias": False},
    "whole": {"whole": True, "min_delay_steps": 1},
    "whole_recurrent": {"whole": True, "recurrent": True, "min_delay_steps": 1},
    "whole_delay_0": {"whole": True, "recurrent": True},
    "whole_soft": {"whole": True, "reset": "soft", "recurrent": True, "min_delay_steps": 1},
    "whole_empty_recurrent": {"whole": True, "recurrent": True, "min_delay_steps": 1},
    "whole_empty_readout": {"whole": True, "min_delay_steps": 1},
    "whole_empty_sample": {"whole": True, "min_delay_steps": 1, "bias": False},
    "whole_netx": {"whole": True, "min_delay_steps": 1},
    "whole_netx_delay_0": {"whole": True},
}
TARGETS = ("brian2", "nest", "pynn", "lava")
CANARIES = ("hidden1", "hidden1.recurrent", "hidden2", "readout")


def changed(network: CanonicalNetwork, change: Callable[[Population], Population]) -> CanonicalNetwork:
    """The network with every population changed."""
    return replace(network, populations=tuple(change(population) for population in network.populations))


def with_ties(population: Population) -> Population:
    """Coarse weights and the threshold on their grid, so that membranes often meet it exactly."""
    weight = population.synapses.weight
    # Away from zero: no synapse may weigh nothing.
    synapses = replace(population.synapses, weight=np.sign(weight) * np.ceil(np.abs(weight) * 4) / 4)
    arithmetic = replace(population.arithmetic, threshold=1.0)
    return replace(population, synapses=synapses, bias=np.round(population.bias * 4) / 4, arithmetic=arithmetic)


def without(synapses: Synapses) -> Synapses:
    """A set of synapses of that size without any."""
    return Synapses.sorted(synapses.sources, synapses.targets, [], [], [], [], synapses.sharing)


def empty_recurrent(population: Population) -> Population:
    """The first population with a set of recurrent synapses that has none."""
    own = population.recurrent
    return population if own is None or population.name != "hidden1" else replace(population, recurrent=without(own))


def empty_readout(population: Population) -> Population:
    """A readout that its bias alone moves."""
    return population if population.fires else replace(population, synapses=without(population.synapses))


def for_netx(population: Population) -> Population:
    """Biases in multiples of 64, as netx has them."""
    return replace(population, bias=np.rint(population.bias / 64) * 64)


CHANGES: dict[str, Callable[[Population], Population]] = {
    "ties": with_ties, "ties_strict": with_ties, "empty_recurrent": empty_recurrent, "empty_readout": empty_readout,
    "netx": for_netx, "netx_delay_0": for_netx,
}  # fmt: skip


def made(name: str) -> tuple[CanonicalNetwork, Trace]:
    """A network of CASES and its trace."""
    network, kind = random_network(**CASES[name]), name.removeprefix("whole_")
    if kind in CHANGES:
        network = changed(network, CHANGES[kind])
    if kind != "empty_sample":
        trace = random_trace(network)
        assert trace.margin == 0 or not name.startswith("ties")
        return network, trace
    counts = random_counts()
    counts[:, 1] = 0
    trace = make_trace(network, counts)
    assert not any(output[:, 1].any() for output in trace.outputs.values())
    return network, trace


def one_delay_off(network: CanonicalNetwork, trace: Trace, where: str) -> CanonicalNetwork:
    """The network with one delay of a set of synapses, as ``hidden1.recurrent``, a step longer, so that it shows."""
    name, _, own = where.partition(".")
    field = "recurrent" if own else "synapses"
    synapses: Synapses = next(getattr(p, field) for p in network.populations if p.name == name)
    for synapse in np.argsort(-np.abs(synapses.weight)):
        delays = synapses.delay_steps.copy()
        delays[synapse] += 1
        longer: dict[str, Any] = {field: replace(synapses, delay_steps=delays)}
        off = replace(
            network, populations=tuple(replace(p, **longer) if p.name == name else p for p in network.populations)
        )
        differs = first_mismatch(network, trace, make_trace(off, trace.counts).outputs)
        if differs is not None:
            assert differs.layer == name
            return off
    raise AssertionError(f"no delay of {where} changes anything")


def write_canaries(folder: Path, target: str) -> None:
    """One wrong delay in every set of synapses, with and without delays of 0."""
    whole = format_named(target).arithmetic == "whole"
    for where in CANARIES:
        for least, suffix in ((1, ""), (0, "_delay_0")):
            network = random_network(whole=whole, recurrent=where.endswith(".recurrent"), min_delay_steps=least)
            if whole:
                network = changed(network, for_netx)
            trace = random_trace(network, 1)
            off = one_delay_off(network, trace, where)
            note = f"{where.partition('.')[0]}\none delay of {where} is a step longer than the trace's\n"
            write_export(off, trace, target, folder / f"canary_{where}{suffix}", documents={"must_differ": note})


def main(folder: Path) -> None:
    """Write every case for every target that holds it."""
    for name in CASES:
        network, trace = made(name)
        for target in TARGETS:
            if format_named(target).arithmetic not in ("any", "whole" if network.whole else "real"):
                continue
            try:
                write_export(network, trace, target, folder / target / name)
            except ExportError as error:
                print(f"{target}/{name} left out: {error}")
    for name in ("netx", "netx_delay_0"):
        assert (folder / "lava" / f"whole_{name}" / "run_netx.py").exists()
    for target in TARGETS:
        write_canaries(folder / target, target)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
