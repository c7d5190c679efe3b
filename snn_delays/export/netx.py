"""Loihi 2's exchange file: the HDF5 that netx of lava-dl reads, a full matrix of delays to each layer."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from snn_delays.errors import ExportError
from snn_delays.export import loihi
from snn_delays.fixed_point import FixedPoint
from snn_delays.hdf5 import written_hdf5
from snn_delays.ir.canonical import CanonicalNetwork, Population, Synapses

BIAS_EXPONENT = 6  # netx takes biases times 2^6
FORMAT = "snn_delays netx 1"


def refuses(network: CanonicalNetwork) -> str | None:
    """Why the file cannot hold a network, or None."""
    reason = loihi.refuses(network)
    if reason:
        return reason
    for population in network.populations:
        name, synapses = population.name, population.synapses
        if population.recurrent is not None:
            return (
                f"{name} is recurrent, and netx gives recurrent synapses the delays of the feed-forward ones; use "
                "run_lava.py"
            )
        pairs = synapses.source.astype(np.int64) * synapses.targets + synapses.target
        several = len(pairs) - len(np.unique(pairs))
        if several:
            return f"{name}: {several} synapses beyond the first between two neurons; netx has one; use run_lava.py"
        if not (synapses.weight > 0).any():
            return f"{name} has no positive weight, and netx then scales weights out of their range; use run_lava.py"
        if loihi.bias_mantissa(population.bias, (BIAS_EXPONENT,)) is None:
            return f"{name}: biases are no multiples of {2**BIAS_EXPONENT}, as netx has them; use run_lava.py"
    return None


def write_netx(network: CanonicalNetwork, path: Path) -> None:
    """Write the file, conventionally ``network.net``.

    Layer ``k`` (from 0) is the group ``layer/k`` with ``type`` ``dense``, ``shape``, ``weight`` and ``delay`` (int32
    ``[target, source]``, 0 where there is no synapse), ``bias`` (multiples of 64, left out if all are 0) and
    ``neuron`` with ``type`` ``CUBA``, ``iDecay`` 4096 (currents last one step), ``vDecay`` = 4096 - decay_code,
    ``vThMant`` = threshold / 64. Integrators have the highest threshold, 131071. Delays are the network's; netx adds a
    step at each layer. Attributes, which netx ignores: ``format`` and ``dt_ms``; of layers ``name`` and ``fires``.

    Raises ExportError where :func:`refuses` gives a reason; above 62 netx would cut delays short without an error.
    """
    reason = refuses(network)
    if reason:
        raise ExportError(f"netx cannot hold this network: {reason}")
    with written_hdf5(path) as file:
        file.attrs["format"] = FORMAT
        file.attrs["dt_ms"] = network.dt_ms
        for number, population in enumerate(network.populations):
            _layer(file.create_group(f"layer/{number}"), population)


def _layer(group: h5py.Group, population: Population) -> None:
    numbers, synapses = population.arithmetic, population.synapses
    assert isinstance(numbers, FixedPoint)
    group.attrs["name"] = population.name
    group.attrs["fires"] = population.fires
    group.create_dataset("type", (1,), "S10", [b"dense"])
    group.create_dataset("shape", data=np.array([population.size]))
    group.create_dataset("inFeatures", data=synapses.sources)
    group.create_dataset("outFeatures", data=synapses.targets)
    for name, values in (("weight", loihi.weights(synapses, numbers)), ("delay", synapses.delay_steps)):
        group.create_dataset(name, data=_matrix(synapses, values), compression="gzip")
    bias = loihi.bias_mantissa(population.bias, (BIAS_EXPONENT,))
    assert bias is not None
    if bias[0].any():
        group.create_dataset("bias", data=bias[0].astype(np.int32))
    neuron = group.create_group("neuron")
    neuron.create_dataset("type", (1,), "S10", [b"CUBA"])
    neuron.create_dataset("iDecay", data=2**loihi.DECAY_BITS)
    neuron.create_dataset("vDecay", data=2**loihi.DECAY_BITS - numbers.decay_code)
    neuron.create_dataset("vThMant", data=numbers.threshold >> loihi.SHIFT if population.fires else loihi.NEVER)
    neuron.create_dataset("refDelay", data=1)


def _matrix(synapses: Synapses, values: np.ndarray) -> np.ndarray:
    matrix = np.zeros((synapses.targets, synapses.sources), np.int32)
    matrix[synapses.target, synapses.source] = values
    return matrix
