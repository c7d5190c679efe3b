"""From a trained network to the discrete one: integer delays, folded norms, a target's integers where requested."""

import copy
from dataclasses import replace

import torch

from snn_delays.chips.profiles import Profile, profile
from snn_delays.chips.violations import violations
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.integer import integer_neuron
from snn_delays.discrete.network import DiscreteNetwork, copied_layers, nested
from snn_delays.discrete.report import DiscretizationReport, LayerReport
from snn_delays.discrete.synapse import Part, Plan, discrete_synapse, on_grid
from snn_delays.errors import ExportError
from snn_delays.models.spikegpt import SpikeGPT, SpikeGPTClassifier
from snn_delays.nn import (
    LIF,
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLayer,
    DelayedLinear,
    Dropout,
    Flatten,
    LeakyIntegrator,
    Pool2d,
    Recurrent,
    SpikingModule,
    layers_of,
)
from snn_delays.nn.fixed_point import FixedPointIntegrator, FixedPointLIF
from snn_delays.nn.neuron import Neuron
from snn_delays.nn.quantize import check_grid


def discretize(
    network: SpikingModule,
    *,
    target: Profile | str | None = None,
    weight_bits: int | str | None = None,
    scale: str | None = None,
    max_delay_steps: int | None = None,
    clamp: bool = False,
    real: bool = False,
) -> DiscreteNetwork:
    r"""A new network with integer delays, the one on which evaluation, streaming and export run.

    Each delay becomes the nearest step (halves to even) within the window and acts through a single tap; each batch
    norm is folded into the synapse before it, ``w' = scale w``, ``b' = scale b + shift``; dropout is dropped, pooling
    stays. With ``weight_bits`` a synapse's weights become integer codes times one step
    (:func:`snn_delays.nn.quantize.quantize`); recurrent weights share the step of those onto the same neurons. For a
    target that computes in integers the weights are the codes themselves, and membranes, thresholds, decays and
    biases integers of its sizes (:class:`snn_delays.fixed_point.FixedPoint`), held in floating point that is
    exact for them. Idempotent; ``network`` stays as it was.

    Args:
        network: a chain of delayed synapses (linear or convolutional), norms, neurons, pooling and dropout, or a
            discrete network.
        target: the chip or simulator to fit (:mod:`snn_delays.chips.profiles`), or None.
        weight_bits: 2 to 16, ``"ternary"``, or None: what the network was fine-tuned for, else the target's default,
            else weights as they are.
        scale: ``"power_of_two"``, with which sums are exact in any order, or ``"free"``; None takes the target's for
            integers, where sums are exact in any case, else a power of two.
        max_delay_steps: longest delay to keep, where shorter than the target's.
        clamp: set delays beyond the limit to it. Otherwise they are an error: nothing is clamped silently.
        real: keep real numbers for a target that computes in integers; its delays and weights are still kept to.

    Raises:
        ExportError: a layer of another kind, a subclass or a layer with hooks
            (:func:`snn_delays.discrete.network.copied_layers`), a norm that follows no synapse, weights or delays that
            are not finite, or what the target cannot hold: delays, resets, thresholds, biases, bits, fan-in.
        ConfigError: no such target, bits or scale.
    """
    plan = _plan(target, weight_bits, scale, max_delay_steps, clamp, real)
    layers = copied_layers(network)
    if any(isinstance(layer, FixedPointLIF | FixedPointIntegrator) for _, layer in layers):
        requested = (target, weight_bits, scale, max_delay_steps)
        if not isinstance(network, DiscreteNetwork) or any(option is not None for option in requested):
            raise ExportError("the network is in integers already; discretize the one it was made from")
        return copy.deepcopy(network)
    kept: dict[str, SpikingModule] = {}
    reports: list[LayerReport] = []
    waiting: tuple[str, Part] | None = None  # a synapse whose neurons come next
    skip_norm = False
    for (name, layer), (_, following) in zip(layers, [*layers[1:], ("", None)]):
        if plan.whole and isinstance(layer, DelayedConv2d):
            raise ExportError(f"{name!r} is a convolution, which has no form in integer arithmetic; keep real numbers")
        if isinstance(layer, DelayedLinear | DelayedConv2d):
            _finish(waiting, None, plan, kept, reports)
            norm = following if isinstance(following, BatchNorm) and _fits(following, layer) else None
            waiting = name, discrete_synapse(name, layer, norm, plan)
            kept[name] = waiting[1].layer
            skip_norm = norm is not None
        elif isinstance(layer, BatchNorm) and skip_norm:
            skip_norm = False
        elif isinstance(layer, LIF | LeakyIntegrator | Recurrent):
            _finish(waiting, (name, layer), plan, kept, reports)
            waiting = None
        elif isinstance(layer, Pool2d | Flatten):
            kept[name] = copy.deepcopy(layer)
        elif not isinstance(layer, Dropout):
            reason = "has no discrete form"
            if isinstance(layer, BatchNorm):
                reason = "follows no synapse it could be folded into"
            elif isinstance(layer, (SpikeGPT, SpikeGPTClassifier)):
                reason += "; snn_delays.models.with_integer_delays gives one with integer delays, which is not exported"
            raise ExportError(f"layer {name!r} ({type(layer).__name__}) {reason}")
    _finish(waiting, None, plan, kept, reports)
    made = DiscreteNetwork(DiscretizationReport(tuple(reports)), **nested(kept))
    made.card = getattr(network, "card", None)  # a single layer has none
    made.sensor = getattr(network, "sensor", None)
    if plan.whole and not _exact_in_float32(made):
        made.double()
    if plan.target is not None:
        _check_fit(made, plan.target)
    return made


def _plan(
    target: Profile | str | None, bits: int | str | None, scale: str | None, limit: int | None, clamp: bool, real: bool
) -> Plan:
    chip = profile(target) if isinstance(target, str) else target
    if bits is not None:
        check_grid(bits, scale or "power_of_two")
    if chip is not None and chip.delay_kind == "analog":
        raise ExportError(f"{chip.name} has analog delays, which no number of steps stands for: {chip.about}")
    if chip is not None and chip.arithmetic == "other":
        raise ExportError(f"{chip.name} computes as no network here does, its card serves checks alone: {chip.about}")
    if limit is not None and (limit < 0 or limit != int(limit)):
        raise ExportError(f"max_delay_steps must be an integer >= 0, got {limit}")
    if chip is not None:
        longest = chip.max_delay_steps if chip.has_delays else 0
        limit = longest if limit is None else limit if longest is None else min(limit, longest)
    whole = chip is not None and chip.arithmetic == "whole" and not real
    plan = Plan(chip, whole, bits, scale, limit, clamp)
    if chip is not None and bits is not None and not plan.holds(bits):
        known = ", ".join(map(str, sorted(chip.weight_bits)))
        raise ExportError(f"{chip.name} has weights of {known} bits, not {bits!r}; choose among them")
    if chip is not None and scale == "free" and chip.weight_scale == "power_of_two":
        raise ExportError(f"{chip.name} scales weights by powers of two; ask for scale='power_of_two'")
    return plan


def _check_fit(network: DiscreteNetwork, target: Profile) -> None:
    """Raise ExportError with every limit of the target that the network breaks."""
    broken = violations(canonical(network, dt_ms=1.0), target)
    if broken:
        raise ExportError("; ".join(str(violation) for violation in broken))


def _exact_in_float32(network: DiscreteNetwork) -> bool:
    """Whether no current of integer codes reaches 2^24, with inputs of up to 255 events."""
    sums = (
        layer.weight.abs().flatten(1).sum(1).max()
        for _, layer in layers_of(network)
        if isinstance(layer, DelayedLinear)
    )
    return all(float(most) * 255 < 2**24 for most in sums)


def _fits(norm: BatchNorm, synapse: DelayedLayer) -> bool:
    same_kind = isinstance(norm, BatchNorm2d) == isinstance(synapse, DelayedConv2d)
    return same_kind and norm.num_features == synapse.weight.shape[0]


def _finish(
    waiting: tuple[str, Part] | None,
    neurons: tuple[str, Neuron] | None,
    plan: Plan,
    kept: dict[str, SpikingModule],
    reports: list[LayerReport],
) -> None:
    """Put a synapse's weights on their grid, with its neurons' recurrent ones, and the neurons into integers."""
    if waiting is None:
        if neurons is not None:
            if plan.whole or isinstance(neurons[1], Recurrent):
                raise ExportError(f"{neurons[0]!r} follows no synapse")
            kept[neurons[0]] = copy.deepcopy(neurons[1])
        return
    name, part = waiting
    parts = [part]
    neuron = None if neurons is None else neurons[1]
    if isinstance(neuron, Recurrent):
        parts.append(discrete_synapse(f"{neurons[0]}.synapse", neuron.synapse, None, plan, least=1))  # type: ignore[index]
        neuron = neuron.neuron
    if plan.whole and not isinstance(neuron, LIF | LeakyIntegrator):
        raise ExportError(f"{name!r} has no neurons after it, whose units its weights could be in")
    on_grid(parts, plan)
    reports += [one.report for one in parts]
    if neurons is None or neuron is None:
        return
    if plan.whole:
        assert plan.target is not None
        assert isinstance(neuron, LIF | LeakyIntegrator)
        bits = part.bits if isinstance(part.bits, int) else min(b for b in plan.target.weight_bits if b >= 2)
        bias = part.layer.bias
        current = torch.zeros(len(part.layer.weight)) if bias is None else bias.detach()
        made, changes = integer_neuron(name, neuron, current, plan.target, bits=bits, step=part.step)
        part.layer.bias = None
        reports[-len(parts)] = replace(part.report, neuron=changes)
    else:
        made = copy.deepcopy(neuron)  # type: ignore[assignment]
    kept[neurons[0]] = made if len(parts) == 1 else Recurrent(parts[1].layer, made)  # type: ignore[arg-type]
