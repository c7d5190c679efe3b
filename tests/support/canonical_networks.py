"""Random networks in canonical form, active and with exact weights, for the exporters' tests."""

from itertools import pairwise
from typing import Any

import numpy as np

from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Population, Synapses
from snn_delays.ir.trace import Trace, make_trace

INPUTS, HIDDEN, CLASSES, STEPS, SAMPLES = 20, (24, 16), 5, 80, 3


def random_network(
    *,
    whole: bool = False,
    recurrent: bool = False,
    min_delay_steps: int = 0,
    max_delay_steps: int = 12,
    reset: str = "hard",
    strict: bool = False,
    decay_input: bool = False,
    v_reset: float = 0.0,
    tau_steps: float = 3.0,
    bias: bool = True,
    weight_bits: int = 8,
    seed: int = 0,
) -> CanonicalNetwork:
    """Two spiking populations and a readout; weights on a power-of-two grid, thresholds off it."""
    rng = np.random.default_rng(seed)
    largest = 2 ** (weight_bits - 1) - 1
    step = 2.0**-6
    widths = (INPUTS, *HIDDEN, CLASSES)
    gain = tau_steps if decay_input else 1.0

    def synapses(sources: int, targets: int, mean: float, scale: float, least: int) -> Synapses:
        weight = (rng.normal(mean, 1.0, (targets, sources))) * scale * gain / np.sqrt(sources)
        codes = np.clip(np.round(weight / step), -largest, largest)
        codes[rng.random(codes.shape) < 0.1] = 0
        target, source = np.nonzero(codes)
        delays = (
            rng.integers(least, max_delay_steps + 1, len(source))
            if max_delay_steps >= least
            else np.full(len(source), least)
        )
        values = codes[target, source] * (1 if whole else step)
        return Synapses.sorted(sources, targets, source, target, delays, values, "synapse")

    populations = []
    for i, (sources, targets) in enumerate(pairwise(widths), 1):
        fires = i < len(widths) - 1
        arithmetic: Any
        if whole:
            arithmetic = FixedPoint(
                decay_code=round(4096 * (1 - 1 / tau_steps)), threshold=64 * round(2 / step), scale=step / 128,
                weight_shift=7, reset=reset, strict=True,
            )  # fmt: skip
            offsets = rng.integers(-5, 25, targets).astype(float) * 16
        elif not fires:
            arithmetic = Membrane(tau_steps, decay_input)
            offsets = rng.integers(-2, 6, targets) * 2.0**-5
        else:
            arithmetic = Membrane(
                tau_steps, decay_input, threshold=1.0 + 2.0**-12, v_reset=v_reset, reset=reset, strict=strict
            )
            offsets = rng.integers(-2, 6, targets) * 2.0**-5
        populations.append(
            Population(
                f"hidden{i}" if fires else "readout",
                synapses(sources, targets, 0.3, 1.5 if fires else 0.5, min_delay_steps),
                offsets if bias else np.zeros(targets),
                arithmetic,
                fires,
                synapses(targets, targets, 0.0, 0.5, max(1, min_delay_steps)) if recurrent and fires else None,
            )
        )
    return CanonicalNetwork(INPUTS, tuple(populations), 10.0, {"source": "random"})


def random_counts(samples: int = SAMPLES, steps: int = STEPS, seed: int = 1) -> np.ndarray:
    """Input counts ``[time, sample, input]``, some above one."""
    return np.random.default_rng(seed).poisson(0.12, (steps, samples, INPUTS))


def random_trace(network: CanonicalNetwork, samples: int = SAMPLES) -> Trace:
    """A golden trace with every spiking population between 2 % and 60 %."""
    trace = make_trace(network, random_counts(samples))
    for population in network.populations:
        if population.fires:
            rate = trace.outputs[population.name].mean()
            assert 0.02 < rate < 0.6, f"{population.name} fires at {rate:.1%}"
    return trace
