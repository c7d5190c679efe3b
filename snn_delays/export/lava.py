"""Lava and Loihi 2: what its numbers hold, a script that builds the network with DelayDense, and netx's HDF5."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ExportError
from snn_delays.export.files import complete
from snn_delays.fixed_point import FixedPoint
from snn_delays.hdf5 import written_hdf5
from snn_delays.ir.canonical import CanonicalNetwork, Population, Synapses
from snn_delays.ir.trace import Trace

Integers = NDArray[np.int64]

SHIFT = 6  # bits by which Loihi shifts currents and thresholds into membranes
DECAY_BITS, STATE_BITS = 12, 24
NEVER = 2**17 - 1  # mantissa of the highest threshold
LEAST_WEIGHT, LARGEST_WEIGHT = -256, 254  # of mixed sign: even numbers
LONGEST_DELAY = 62  # the highest that netx reads; of a population onto itself one more, for its delays start at 1
BIAS_LIMIT, BIAS_EXPONENTS = 2**12, range(8)
NETX_EXPONENT = 6  # netx takes biases times 2^6
NETX = "snn_delays netx 1"
REMEDY = "discretise with --target loihi2"
WITH_NETX = """network.net              the same as netx of lava-dl reads it (HDF5)
run_netx.py              loads network.net, runs it in the same model, and compares"""


def write(network: CanonicalNetwork, trace: Trace, folder: Path) -> None:
    """Write the scripts for lava-nc and, where its format holds the network, ``network.net`` for netx.

    Neurons are ``LIF`` with ``du = 4095``, synapses ``DelayDense``, inputs graded spikes where a channel has more than
    one event in a step. Integrators are neurons with the highest threshold, read by their membranes.

    Raises ExportError also if the membrane of an integrator rises above the highest threshold in the trace: there it
    would fire.
    """
    if reason := refuses(network):
        raise ExportError(f"Lava cannot hold this network: {reason}")
    exponents = []
    for population in network.populations:
        peak = int(trace.outputs[population.name].max(initial=0))
        if not population.fires and peak > NEVER << SHIFT:
            raise ExportError(
                f"{population.name}: a membrane reaches {peak}, above the highest threshold of Loihi 2, "
                f"{NEVER << SHIFT}, so that the integrator would fire; take fewer weight bits"
            )
        mantissa, exponent = bias_mantissa(population.bias) or (np.zeros(0), 0)
        exponents += [f"2^{exponent} ({population.name})"] if mantissa.any() else []
    scripts = ["scripts/run_lava.py", "scripts/lava_python311.py"]
    if reason := refuses_netx(network):
        netx = f"No network.net: {reason}."
    else:
        write_netx(network, folder / "network.net")
        netx, scripts = WITH_NETX, [*scripts, "scripts/run_netx.py"]
    biases = f"biases are 13-bit mantissas times {', '.join(exponents)}" if exponents else "no biases"
    complete(folder, "lava", trace, *scripts, netx=netx, biases=biases)


def refuses(network: CanonicalNetwork) -> str | None:
    """Why Lava's model of Loihi 2 cannot hold a network, or None."""
    for population in network.populations:
        numbers = population.arithmetic
        if not isinstance(numbers, FixedPoint):
            return f"{population.name}: its neurons compute in real numbers, Loihi 2 has integers; {REMEDY}"
        if reason := _neurons(population, numbers):
            return f"{population.name}: {reason}"
        for (name, synapses), longest in zip(population.parts.items(), (LONGEST_DELAY, LONGEST_DELAY + 1)):
            if reason := _synapses(synapses, numbers, longest):
                return f"{name}: {reason}"
    return None


def bias_mantissa(bias: NDArray[np.float64], exponents: Iterable[int] = BIAS_EXPONENTS) -> tuple[Integers, int] | None:
    """Biases as 13-bit mantissas and the first exponent of 2, shared by all, that holds them; None if none does."""
    for exponent in exponents:
        mantissa = np.rint(bias).astype(np.int64) >> exponent
        if (mantissa << exponent == bias).all() and ((mantissa >= -BIAS_LIMIT) & (mantissa < BIAS_LIMIT)).all():
            return mantissa, exponent
    return None


def _weights(synapses: Synapses, numbers: FixedPoint) -> Integers:
    """Weights in Loihi's numbers, ``weight * 2^(weight_shift - 6)``: even, -256..254 where they fit."""
    return synapses.weight.astype(np.int64) << (numbers.weight_shift - SHIFT)


def _neurons(population: Population, numbers: FixedPoint) -> str | None:
    if (numbers.decay_bits, numbers.state_bits) != (DECAY_BITS, STATE_BITS):
        return (
            f"decays of {numbers.decay_bits} and membranes of {numbers.state_bits} bits; Loihi 2 has {DECAY_BITS} and "
            f"{STATE_BITS}: {REMEDY}"
        )
    if numbers.decay_code < 1:
        return f"forgets all in a step; decays of Loihi 2 go no further than 1/{2**DECAY_BITS}: take a longer tau"
    if population.fires:
        if numbers.reset != "hard":
            return f"{numbers.reset} reset; neurons of Loihi 2 return to 0: train with reset = 'hard'"
        if not numbers.strict:
            return f"fires at its threshold; Loihi 2 fires only above it: {REMEDY}"
        if numbers.threshold % 2**SHIFT or numbers.threshold >> SHIFT > NEVER:
            return (
                f"threshold {numbers.threshold}; Loihi 2 has multiples of {2**SHIFT} up to {NEVER << SHIFT}: {REMEDY}"
            )
    if bias_mantissa(population.bias) is None:
        return (
            f"biases up to {np.abs(population.bias).max():.0f} do not fit in 13 bits times a power of two up to "
            f"2^{max(BIAS_EXPONENTS)} that all neurons share; {REMEDY}"
        )
    return None


def _synapses(synapses: Synapses, numbers: FixedPoint, longest: int) -> str | None:
    over = int((synapses.delay_steps > longest).sum())
    if over:
        return (
            f"{over} of {len(synapses)} delays exceed {longest} steps (the longest has {synapses.max_delay_steps}); "
            f"{REMEDY}, or train with a shorter max_delay"
        )
    if numbers.weight_shift < SHIFT:
        return f"weights are shifted by {numbers.weight_shift} bits, Loihi 2 shifts by {SHIFT} at least; {REMEDY}"
    code = _weights(synapses, numbers)
    bad = int(((code < LEAST_WEIGHT) | (code > LARGEST_WEIGHT) | (code % 2 != 0)).sum())
    if bad:
        return (
            f"{bad} of {len(synapses)} weights are not even numbers in {LEAST_WEIGHT}..{LARGEST_WEIGHT} once shifted "
            f"by {numbers.weight_shift - SHIFT}; {REMEDY}"
        )
    return None


def refuses_netx(network: CanonicalNetwork) -> str | None:
    """Why netx's file cannot hold a network, or None."""
    if reason := refuses(network):
        return reason
    for population in network.populations:
        name, synapses = population.name, population.synapses
        if population.recurrent is not None:
            return (
                f"{name} is recurrent, and netx gives recurrent synapses the delays of the feed-forward ones; use "
                "run_lava.py"
            )
        several = len(synapses) - np.unique(np.stack([synapses.source, synapses.target]), axis=1).shape[1]
        if several:
            return f"{name}: {several} synapses beyond the first between two neurons; netx has one; use run_lava.py"
        if not (synapses.weight > 0).any():
            return f"{name} has no positive weight, and netx then scales weights out of their range; use run_lava.py"
        if bias_mantissa(population.bias, (NETX_EXPONENT,)) is None:
            return f"{name}: biases are no multiples of {2**NETX_EXPONENT}, as netx has them; use run_lava.py"
    return None


def write_netx(network: CanonicalNetwork, path: Path) -> None:
    """Write the HDF5 that netx of lava-dl reads, conventionally ``network.net``: a full matrix of delays to each layer.

    Layer ``k`` (from 0) is the group ``layer/k`` with ``type`` ``dense``, ``shape``, ``weight`` and ``delay`` (int32
    ``[target, source]``, 0 where there is no synapse), ``bias`` (multiples of 64, left out if all are 0) and
    ``neuron`` with ``type`` ``CUBA``, ``iDecay`` 4096 (currents last one step), ``vDecay`` = 4096 - decay_code,
    ``vThMant`` = threshold / 64. Integrators have the highest threshold, 131071. Delays are the network's; netx adds a
    step at each layer. Attributes, which netx ignores: ``format`` and ``dt_ms``; of layers ``name`` and ``fires``.

    Raises ExportError where :func:`refuses_netx` gives a reason; above 62 netx would cut delays short without an error.
    """
    if reason := refuses_netx(network):
        raise ExportError(f"netx cannot hold this network: {reason}")
    with written_hdf5(path) as file:
        file.attrs["format"] = NETX
        file.attrs["dt_ms"] = network.dt_ms
        for number, population in enumerate(network.populations):
            _layer(file.create_group(f"layer/{number}"), population)


def _layer(group: h5py.Group, population: Population) -> None:
    numbers, synapses = population.arithmetic, population.synapses
    bias = bias_mantissa(population.bias, (NETX_EXPONENT,))
    assert isinstance(numbers, FixedPoint)
    assert bias is not None
    group.attrs["name"] = population.name
    group.attrs["fires"] = population.fires
    group.create_dataset("type", (1,), "S10", [b"dense"])
    group["shape"] = np.array([population.size])
    group["inFeatures"], group["outFeatures"] = synapses.sources, synapses.targets
    for name, values in (("weight", _weights(synapses, numbers)), ("delay", synapses.delay_steps)):
        matrix = np.zeros((synapses.targets, synapses.sources), np.int32)
        matrix[synapses.target, synapses.source] = values
        group.create_dataset(name, data=matrix, compression="gzip")
    if bias[0].any():
        group["bias"] = bias[0].astype(np.int32)
    neuron = group.create_group("neuron")
    neuron.create_dataset("type", (1,), "S10", [b"CUBA"])
    neuron["iDecay"] = 2**DECAY_BITS
    neuron["vDecay"] = 2**DECAY_BITS - numbers.decay_code
    neuron["vThMant"] = numbers.threshold >> SHIFT if population.fires else NEVER
    neuron["refDelay"] = 1
