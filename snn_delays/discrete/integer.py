"""Neurons in a target's integers: thresholds, decays and biases on its grids."""

import math

import torch
from torch import Tensor

from snn_delays.chips.profiles import Profile
from snn_delays.discrete.network import check_constants
from snn_delays.errors import ExportError
from snn_delays.fixed_point import FixedPoint
from snn_delays.nn import LIF, LeakyIntegrator
from snn_delays.nn.fixed_point import FixedPointIntegrator, FixedPointLIF


def integer_neuron(
    name: str, neuron: LIF | LeakyIntegrator, bias: Tensor, profile: Profile, *, bits: int, step: float
) -> tuple[FixedPointLIF | FixedPointIntegrator, str]:
    r"""The neurons of a population as the target computes them, and what that changed.

    With weights ``q s`` and gain ``g`` a unit of the membrane is worth ``g s / 2^S``. The threshold
    becomes the multiple of the target's unit that decides alike for membranes that are integer codes: where the target
    fires only above it and the network also at it, the largest one below. Membranes are counted from ``v_reset``.

    Args:
        name: of the population, for errors.
        neuron: in real numbers.
        bias: constant current, ``[neuron]``.
        profile: the target; its arithmetic is whole.
        bits: of the weights.
        step: ``s``.

    Raises:
        ExportError: a threshold, a bias or a reset that the target's numbers cannot hold.
    """
    assert profile.decay_bits
    assert profile.state_bits
    assert profile.threshold_bits
    check_constants(name, neuron)
    exact = float(neuron.decay)
    if isinstance(neuron, LIF) and not math.isfinite(float(neuron.threshold)):
        raise ExportError(f"{name}: the threshold is {neuron.threshold}, integers need a finite one")
    shift = profile.weight_shift(bits)
    gain = 1.0 - exact if neuron.decay_input else 1.0
    unit = gain * step / 2**shift
    code, decay = _decay(exact, profile)
    offset, lost = _bias(name, bias.double() * gain / unit, profile)
    changes = [] if decay == exact else [f"decay {exact:.6g} became {decay:.6g}"]
    if 0 < decay < 1:
        changes.append("leaks are cut to whole units of the membrane")
    common = {"decay_code": code, "scale": unit, "weight_shift": shift, "decay_bits": profile.decay_bits}
    if isinstance(neuron, LeakyIntegrator):
        limit = 2 ** (profile.state_bits - 1) - 1
        numbers = FixedPoint(threshold=limit, state_bits=profile.state_bits, **common)
        return FixedPointIntegrator(numbers, offset), "; ".join([*changes, *lost])
    if neuron.reset == "soft" and neuron.v_reset:
        raise ExportError(f"{name}: a soft reset with v_reset = {neuron.v_reset} has no form in integers; use 0")
    strict = neuron.strict if profile.strict_threshold is None else profile.strict_threshold
    height = (float(neuron.threshold) - neuron.v_reset) / unit
    mantissa = _threshold(height / 2**profile.threshold_shift, neuron.strict, strict)
    if not 1 <= mantissa < 2**profile.threshold_bits:
        raise ExportError(
            f"{name}: the threshold {neuron.threshold:g} is {mantissa} units of {profile.name}, which has 1.."
            f"{2**profile.threshold_bits - 1}: the weights are too {'large' if mantissa < 1 else 'small'} beside it. "
            "Train with a threshold nearer to them, or choose another target"
        )
    threshold = mantissa << profile.threshold_shift
    if threshold != height:
        changes.append(f"threshold {height * unit:.6g} became {threshold * unit:.6g}")
    numbers = FixedPoint(
        threshold=threshold, state_bits=profile.state_bits, reset=neuron.reset, strict=strict, **common
    )
    return FixedPointLIF(numbers, offset), "; ".join([*changes, *lost])


def _decay(decay: float, profile: Profile) -> tuple[int, float]:
    """The nearest decay the target has: its code, and its value."""
    assert profile.decay_bits
    one = 2**profile.decay_bits
    if profile.decay_rule == "any":
        code = round(decay * one)
    else:
        # 1 - 2^-n; n = 0 forgets at once.
        code = min((one - (one >> n) for n in range(profile.decay_bits + 1)), key=lambda code: abs(code / one - decay))
    return code, code / one


def _threshold(units: float, was_strict: bool, strict: bool) -> int:
    """The whole threshold that decides alike for every whole membrane."""
    if abs(units - round(units)) < 1e-9 * abs(units):
        units = round(units)  # what dividing by the unit left
    if strict == was_strict:
        return math.floor(units) if strict else math.ceil(units)
    return math.ceil(units) - 1 if strict else math.floor(units) + 1


def _bias(name: str, units: Tensor, profile: Profile) -> tuple[Tensor, list[str]]:
    """Biases in units of the membrane, on the target's grid, and what was lost."""
    peak = float(units.abs().max()) if len(units) else 0.0
    exponent = profile.bias_exponent_min
    if profile.bias_bits is not None and peak >= 0.5:
        largest = 2 ** (profile.bias_bits - 1) - 1 if profile.bias_bits else 0
        while exponent <= profile.bias_exponent_max and round(peak / 2**exponent) > largest:
            exponent += 1
        if exponent > profile.bias_exponent_max:
            reason = f"biases to {largest << profile.bias_exponent_max}" if largest else "no biases"
            raise ExportError(
                f"{name}: a bias of {peak:.0f} units of the membrane; {profile.name} has {reason}. Biases come from "
                "folded norms too: train with larger weights beside them, or choose another target"
            )
    whole = torch.round(units / 2**exponent) * 2**exponent
    error = float((whole - units).abs().max()) if len(units) else 0.0
    # Half a unit is the rounding that every number suffers.
    return whole, [f"biases in steps of {2**exponent} membrane units"] if error > 0.5 else []
