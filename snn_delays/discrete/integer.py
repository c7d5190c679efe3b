"""Neurons in a target's integers: thresholds, decays and biases on its grids."""

import math
from dataclasses import replace

import torch
from torch import Tensor, nn

from snn_delays.chips.profiles import Profile
from snn_delays.discrete.stages import check_constants
from snn_delays.discrete.synapse import Part, Plan
from snn_delays.errors import ExportError
from snn_delays.fixed_point import FixedPoint
from snn_delays.nn import LIF, LeakyIntegrator
from snn_delays.nn.neuron import FixedPointIntegrator, FixedPointLIF, Neuron


def integer_neuron(name: str, part: Part, neuron: nn.Module | None, plan: Plan) -> FixedPointLIF | FixedPointIntegrator:
    r"""The neurons after a synapse as the target computes them; they have its bias, and its report says what changed.

    With weights ``q s`` and gain ``g`` a unit of the membrane is worth ``g s / 2^S``. The threshold
    becomes the multiple of the target's unit that decides alike for membranes that are integer codes: where the target
    fires only above it and the network also at it, the largest one below. Membranes are counted from ``v_reset``.

    Raises ExportError for a threshold, a bias or a reset that the target's numbers cannot hold, and where no neurons
    follow.
    """
    if isinstance(neuron, Neuron) and not isinstance(neuron, LIF | LeakyIntegrator):
        raise ExportError(
            f"{name!r} leads to {type(neuron).__name__} neurons, which have no form in integer arithmetic"
        )
    if not isinstance(neuron, LIF | LeakyIntegrator):
        raise ExportError(f"{name!r} has no neurons after it, whose units its weights could be in")
    chip, bits, step = plan.target, part.report.weight_bits, part.report.weight_step
    assert chip is not None
    assert step is not None
    assert chip.decay_bits
    assert chip.state_bits
    assert chip.threshold_bits
    check_constants(name, neuron)
    exact = float(neuron.decay)
    if isinstance(neuron, LIF) and not math.isfinite(float(neuron.threshold)):
        raise ExportError(f"{name}: the threshold is {neuron.threshold}, integers need a finite one")
    shift = chip.weight_shift(bits if isinstance(bits, int) else min(b for b in chip.weight_bits if b >= 2))
    gain = 1.0 - exact if neuron.decay_input else 1.0
    unit = gain * step / 2**shift
    code, decay = _decay(exact, chip)
    current = torch.zeros(len(part.layer.weight)) if part.layer.bias is None else part.layer.bias.detach()
    bias, lost = _bias(name, current.double() * gain / unit, chip)
    changes = [] if decay == exact else [f"decay {exact:.6g} became {decay:.6g}"]
    if 0 < decay < 1:
        changes.append("leaks are cut to whole units of the membrane")
    numbers = FixedPoint(
        decay_code=code, threshold=2 ** (chip.state_bits - 1) - 1, scale=unit, decay_bits=chip.decay_bits,
        weight_shift=shift, state_bits=chip.state_bits,
    )  # fmt: skip
    if isinstance(neuron, LIF):
        threshold, strict, moved = _threshold(name, neuron, unit, chip)
        changes += moved
        numbers = replace(numbers, threshold=threshold, reset=neuron.reset, strict=strict)
    part.layer.bias = None
    part.report = replace(part.report, neuron="; ".join([*changes, *lost]))
    return FixedPointLIF(numbers, bias) if isinstance(neuron, LIF) else FixedPointIntegrator(numbers, bias)


def _decay(decay: float, chip: Profile) -> tuple[int, float]:
    """The nearest decay the target has: its code, and its value."""
    assert chip.decay_bits
    one = 2**chip.decay_bits
    if chip.decay_rule == "any":
        code = round(decay * one)
    else:
        # 1 - 2^-n; n = 0 forgets at once.
        code = min((one - (one >> n) for n in range(chip.decay_bits + 1)), key=lambda code: abs(code / one - decay))
    return code, code / one


def _threshold(name: str, neuron: LIF, unit: float, chip: Profile) -> tuple[int, bool, list[str]]:
    """The threshold that decides alike for every integer membrane, whether it is strict, and what that changed."""
    assert chip.threshold_bits
    if neuron.reset == "soft" and neuron.v_reset:
        raise ExportError(f"{name}: a soft reset with v_reset = {neuron.v_reset} has no form in integers; use 0")
    strict = neuron.strict if chip.strict_threshold is None else chip.strict_threshold
    height = (float(neuron.threshold) - neuron.v_reset) / unit
    units = height / 2**chip.threshold_shift
    if abs(units - round(units)) < 1e-9 * abs(units):
        units = round(units)  # what dividing by the unit left
    if strict:
        mantissa = math.floor(units) if neuron.strict else math.ceil(units) - 1
    else:
        mantissa = math.floor(units) + 1 if neuron.strict else math.ceil(units)
    if not 1 <= mantissa < 2**chip.threshold_bits:
        raise ExportError(
            f"{name}: the threshold {neuron.threshold:g} is {mantissa} units of {chip.name}, which has 1.."
            f"{2**chip.threshold_bits - 1}: the weights are too {'large' if mantissa < 1 else 'small'} beside it. "
            "Train with a threshold nearer to them, or choose another target"
        )
    threshold = mantissa << chip.threshold_shift
    moved = [] if threshold == height else [f"threshold {height * unit:.6g} became {threshold * unit:.6g}"]
    return threshold, strict, moved


def _bias(name: str, units: Tensor, chip: Profile) -> tuple[Tensor, list[str]]:
    """Biases in units of the membrane, on the target's grid, and what was lost."""
    peak = float(units.abs().max()) if len(units) else 0.0
    exponent = chip.bias_exponent_min
    if chip.bias_bits is not None and peak >= 0.5:
        largest = 2 ** (chip.bias_bits - 1) - 1 if chip.bias_bits else 0
        while exponent <= chip.bias_exponent_max and round(peak / 2**exponent) > largest:
            exponent += 1
        if exponent > chip.bias_exponent_max:
            reason = f"biases to {largest << chip.bias_exponent_max}" if largest else "no biases"
            raise ExportError(
                f"{name}: a bias of {peak:.0f} units of the membrane; {chip.name} has {reason}. Biases come from "
                "folded norms too: train with larger weights beside them, or choose another target"
            )
    rounded = torch.round(units / 2**exponent) * 2**exponent
    error = float((rounded - units).abs().max()) if len(units) else 0.0
    # Half a unit is the rounding that every number suffers.
    return rounded, [f"biases in steps of {2**exponent} membrane units"] if error > 0.5 else []
