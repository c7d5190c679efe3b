"""Lava, Intel's framework for Loihi 2: a script that builds the network with DelayDense, and netx's HDF5."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from snn_delays.errors import ExportError
from snn_delays.export import loihi, netx
from snn_delays.export.scripts import place, write_readme
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.ir.trace import Trace

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
        network: every population in integers, of the target ``loihi2``.
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
    write_readme(
        folder,
        "lava",
        samples=trace.samples,
        steps=len(trace.counts),
        netx=WITH_NETX if reason is None else f"No network.net: {reason}.",
        biases=_biases(network),
    )


def _biases(network: CanonicalNetwork) -> str:
    exponents = []
    for population in network.populations:
        fitting = loihi.bias_mantissa(population.bias)
        if fitting is not None and np.any(fitting[0]):
            exponents.append(f"2^{fitting[1]} ({population.name})")
    return "biases are 13-bit mantissas times " + ", ".join(exponents) if exponents else "no biases"
