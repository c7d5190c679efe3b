"""The numbers of Loihi 2, as Lava's bit-accurate model has them: what fits, and how it is written."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Population, Synapses

Integers = NDArray[np.int64]

SHIFT = 6  # bits by which Loihi shifts currents and thresholds into membranes
DECAY_BITS, STATE_BITS = 12, 24
NEVER = 2**17 - 1  # mantissa of the highest threshold
LEAST_WEIGHT, LARGEST_WEIGHT = -256, 254  # of mixed sign: even numbers
LONGEST_DELAY = 62  # the highest that netx reads; of a population onto itself one more, for its delays start at 1
BIAS_LIMIT, BIAS_EXPONENTS = 2**12, range(8)
REMEDY = "discretise with --target loihi2"


def weights(synapses: Synapses, numbers: FixedPoint) -> Integers:
    """Weights in Loihi's numbers, ``weight * 2^(weight_shift - 6)``: even, -256..254 where they fit."""
    return synapses.weight.astype(np.int64) << (numbers.weight_shift - SHIFT)


def bias_mantissa(bias: NDArray[np.float64], exponents: Iterable[int] = BIAS_EXPONENTS) -> tuple[Integers, int] | None:
    """Biases as 13-bit mantissas and the first exponent of 2, shared by all, that holds them; None if none does."""
    whole = np.rint(bias).astype(np.int64)
    for exponent in exponents:
        mantissa = whole >> exponent
        if (mantissa << exponent == bias).all() and (mantissa >= -BIAS_LIMIT).all() and (mantissa < BIAS_LIMIT).all():
            return mantissa, exponent
    return None


def refuses(network: CanonicalNetwork) -> str | None:
    """Why Loihi 2 cannot hold a network, or None."""
    for population in network.populations:
        reason = _neurons(population)
        if reason:
            return f"{population.name}: {reason}"
        assert isinstance(population.arithmetic, FixedPoint)
        for (name, synapses), longest in zip(population.parts.items(), (LONGEST_DELAY, LONGEST_DELAY + 1)):
            reason = _synapses(synapses, population.arithmetic, longest)
            if reason:
                return f"{name}: {reason}"
    return None


def _neurons(population: Population) -> str | None:
    numbers = population.arithmetic
    if not isinstance(numbers, FixedPoint):
        return f"its neurons compute in real numbers, Loihi 2 has integers; {REMEDY}"
    if numbers.decay_bits != DECAY_BITS or numbers.state_bits != STATE_BITS:
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
    code = weights(synapses, numbers)
    bad = int(((code < LEAST_WEIGHT) | (code > LARGEST_WEIGHT) | (code % 2 != 0)).sum())
    if bad:
        return (
            f"{bad} of {len(synapses)} weights are not even numbers in {LEAST_WEIGHT}..{LARGEST_WEIGHT} once shifted "
            f"by {numbers.weight_shift - SHIFT}; {REMEDY}"
        )
    return None
