"""Lava, Intel's framework for Loihi 2: a script that builds the network with DelayDense, and netx's HDF5."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snn_delays.errors import ExportError
from snn_delays.export import loihi, netx
from snn_delays.export.scripts import place
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace

README = """A spiking network with a delay per synapse, for Lava and Loihi 2
network.npz, golden.npz  the network, and {samples} samples of {steps} steps with all spikes and membranes expected
run_lava.py              builds it of DelayDense and LIF in Lava's bit-accurate model of Loihi 2, and compares
exchange.py              reads the two files for the scripts; lava_python311.py lets Python 3.11 import Lava
{netx}

Run it: python run_lava.py [--samples N]; exit status 0 only when every value is equal.
Python 3.10: pip install lava-nc==0.10.0 numpy==1.26.4 scipy==1.15.3 networkx==2.8.7 h5py==3.16.0
             pip install --no-deps lava-dl==0.6.0         (for run_netx.py; it needs no PyTorch)
Python 3.11: pip install numpy==1.26.4 scipy==1.15.3 networkx==2.8.7 h5py==3.16.0 asteval joblib cloudpickle
             pip install --ignore-requires-python --no-deps lava-nc==0.10.0 lava-dl==0.6.0

Weights are even numbers, weight * 2^(weight_shift - 6); thresholds multiples of 64; {biases}.
Seen equal, spike for spike, simulated on a processor: lava-nc 0.10.0, lava-dl 0.6.0, Python 3.10; by hand 3.11 too.
Not run: a Loihi 2 board. Compiling for one needs Intel's own extension, which is not public.
"""
WITH_NETX = """network.net              the same as netx of lava-dl reads it (HDF5)
run_netx.py              loads network.net, runs it in the same model, and compares"""


def refuses(network: CanonicalNetwork) -> str | None:
    """Why Lava's model of Loihi 2 cannot hold a network, or None."""
    return loihi.refuses(network)


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Write the scripts for lava-nc and, where its format holds the network, ``network.net`` for netx.

    Neurons are ``LIF`` with ``du = 4095``, synapses ``DelayDense``, inputs graded spikes where a channel has more than
    one event in a step. Integrators are neurons with the highest threshold, read by their membranes.

    Args:
        network: every population in whole numbers, of the target ``loihi2``.
        trace: samples and what the reference simulator made of them.
        folder: where to write; it exists.

    Raises ExportError where :func:`refuses` gives a reason, or if the membrane of an integrator rises above the highest
    threshold in the trace: there it would fire.
    """
    reason = refuses(network)
    if reason:
        raise ExportError(f"Lava cannot hold this network: {reason}")
    for population in network.populations:
        peak = int(trace.outputs[population.name].max(initial=0))
        if not population.fires and peak > loihi.NEVER << loihi.SHIFT:
            raise ExportError(
                f"{population.name}: a membrane reaches {peak}, above the highest threshold of Loihi 2, "
                f"{loihi.NEVER << loihi.SHIFT}, so that the integrator would fire; take fewer weight bits"
            )
    place(folder, "run_lava.py", "lava_python311.py")
    reason = netx.refuses(network)
    if reason is None:
        netx.write_netx(network, folder / "network.net")
        place(folder, "run_netx.py")
    text = README.format(
        samples=trace.samples,
        steps=len(trace.counts),
        netx=WITH_NETX if reason is None else f"No network.net: {reason}.",
        biases=_biases(network),
    )
    (folder / "README.txt").write_text(text, encoding="utf-8")


def _biases(network: CanonicalNetwork) -> str:
    exponents = []
    for population in network.populations:
        fitting = loihi.bias_mantissa(population.bias)
        if fitting is not None and np.any(fitting[0]):
            exponents.append(f"2^{fitting[1]} ({population.name})")
    return "biases are 13-bit mantissas times " + ", ".join(exponents) if exponents else "no biases"
