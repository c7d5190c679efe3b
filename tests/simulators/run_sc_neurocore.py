"""Runs exported NIR files in sc-neurocore, a reader of nir.Delay that shares nothing with ours. A manual check.

    python -m venv VENV; VENV/bin/pip install sc-neurocore==3.16.0 nir==1.0.8
    PYTHONPATH=snn_delays/export/scripts VENV/bin/python tests/simulators/run_sc_neurocore.py FOLDER [--samples N]

FOLDER is what ``snn-delays export --to nir`` wrote: network.nir, network.npz, golden.npz. sc-neurocore is AGPL and no
dependency of this package. It fires at v > threshold: the trace's margin must not be zero where metadata say "ge". It
breaks each loop by a step of its own, so delays within loops are made one step shorter here, where the graph is read.
"""

import sys

import exchange
import nir
import numpy as np
from sc_neurocore.nir_bridge import from_nir


def main() -> int:
    """Run every sample; 0 only when all is equal."""
    given = exchange.arguments(__doc__ or "")
    network, trace = exchange.read_network(given.folder), exchange.read_trace(given.folder, given.samples)
    graph = nir.read(given.folder / "network.nir")
    dt = float(graph.metadata["dt"])
    for name, node in graph.nodes.items():
        if isinstance(node, nir.Delay) and ".recurrent." in name:
            node.delay = node.delay - dt
    (entry,) = graph.inputs
    outputs = {name: np.zeros(want.shape) for name, want in trace.outputs.items()}
    for sample in range(trace.counts.shape[1]):
        simulated = from_nir(graph, dt=dt)
        simulated.output_nodes = list(outputs)
        for t, counts in enumerate(trace.counts[:, sample]):
            for name, values in simulated.step({entry: counts.astype(float)}).items():
                outputs[name][t, sample] = values
        exchange.progress(sample + 1, trace.counts.shape[1])
    return exchange.compare(network, trace, outputs)


if __name__ == "__main__":
    sys.exit(main())
