"""From a trained network to the discrete one: integer delays, folded norms, a target's integers where requested."""

import copy
from typing import Any

from torch import nn

from snn_delays.chips.profiles import Profile, profile
from snn_delays.chips.violations import violations
from snn_delays.discrete.conversion import canonical
from snn_delays.discrete.integer import integer_neuron
from snn_delays.discrete.network import DiscreteNetwork, DiscretizationReport, LayerReport, nested
from snn_delays.discrete.stages import copied_layers
from snn_delays.discrete.synapse import Plan, discrete_synapse, on_grid
from snn_delays.errors import ExportError
from snn_delays.models.spikegpt import SpikeGPT, SpikeGPTClassifier
from snn_delays.nn import (
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLinear,
    Dropout,
    Flatten,
    Pool2d,
    Recurrent,
    SpikingModule,
    layers_of,
)
from snn_delays.nn.learned import LearnedConstants
from snn_delays.nn.neuron import FixedPointIntegrator, FixedPointLIF, Neuron
from snn_delays.nn.quantize import check_grid

Layers = list[tuple[str, nn.Module]]
PASSED = (BatchNorm, Dropout, Flatten, Pool2d)  # between a synapse and its neurons


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
            (:func:`snn_delays.discrete.stages.copied_layers`), a norm that follows no synapse, weights or delays that
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
    folded: BatchNorm | None = None
    for place, (name, layer) in enumerate(layers):
        if isinstance(layer, DelayedLinear | DelayedConv2d):
            folded = _norm(layer, layers[place + 1 :])
            parts, changes = _with_neurons(name, layer, folded, layers[place + 1 :], plan)
            kept |= parts
            reports += changes
        elif isinstance(layer, Neuron | Pool2d | Flatten) and name not in kept:
            if isinstance(layer, Recurrent) or (plan.integers and isinstance(layer, Neuron)):
                raise ExportError(f"{name!r} follows no synapse")
            kept[name] = frozen(layer)
        elif name not in kept and layer is not folded and not isinstance(layer, Dropout):
            reason = "has no discrete form"
            if isinstance(layer, BatchNorm):
                reason = "follows no synapse it could be folded into"
            elif isinstance(layer, (SpikeGPT, SpikeGPTClassifier)):
                reason += "; snn_delays.models.with_integer_delays gives one with integer delays, which is not exported"
            raise ExportError(f"layer {name!r} ({type(layer).__name__}) {reason}")
    discrete = DiscreteNetwork(
        DiscretizationReport(tuple(reports)), **nested({name: kept[name] for name, _ in layers if name in kept})
    )
    discrete.card = getattr(network, "card", None)  # a single layer has none
    discrete.sensor = getattr(network, "sensor", None)
    if plan.integers and not _exact_in_float32(discrete):
        discrete.double()
    if plan.target is not None and (broken := violations(canonical(discrete, dt_ms=1.0), plan.target)):
        raise ExportError("; ".join(str(violation) for violation in broken))
    return discrete


def _plan(
    target: Profile | str | None, bits: int | str | None, scale: str | None, limit: int | None, clamp: bool, real: bool
) -> Plan:
    chip = profile(target) if isinstance(target, str) else target
    if bits is not None:
        check_grid(bits, scale or "power_of_two")
    if limit is not None and (limit < 0 or limit != int(limit)):
        raise ExportError(f"max_delay_steps must be an integer >= 0, got {limit}")
    if chip is None:
        return Plan(None, False, bits, scale, limit, clamp)
    if chip.delay_kind == "analog":
        raise ExportError(f"{chip.name} has analog delays, which no number of steps stands for: {chip.about}")
    if chip.arithmetic == "other":
        raise ExportError(f"{chip.name} computes as no network here does, its card serves checks alone: {chip.about}")
    longest = chip.max_delay_steps if chip.has_delays else 0
    limit = min((steps for steps in (limit, longest) if steps is not None), default=None)
    plan = Plan(chip, chip.arithmetic == "whole" and not real, bits, scale, limit, clamp)
    if bits is not None and not plan.holds(bits):
        known = ", ".join(map(str, sorted(chip.weight_bits)))
        raise ExportError(f"{chip.name} has weights of {known} bits, not {bits!r}; choose among them")
    if scale == "free" and chip.weight_scale == "power_of_two":
        raise ExportError(f"{chip.name} scales weights by powers of two; ask for scale='power_of_two'")
    return plan


def _norm(synapse: DelayedLinear | DelayedConv2d, following: Layers) -> BatchNorm | None:
    """The norm next to a synapse, which is folded into it where it fits."""
    norm = following[0][1] if following else None
    if not isinstance(norm, BatchNorm) or isinstance(norm, BatchNorm2d) != isinstance(synapse, DelayedConv2d):
        return None
    return norm if norm.num_features == synapse.weight.shape[0] else None


def _with_neurons(
    name: str, synapse: DelayedLinear | DelayedConv2d, norm: BatchNorm | None, following: Layers, plan: Plan
) -> tuple[dict[str, SpikingModule], list[LayerReport]]:
    """A synapse and the neurons after it: their weights on one grid, and the neurons in integers where requested."""
    if plan.integers and isinstance(synapse, DelayedConv2d):
        raise ExportError(f"{name!r} is a convolution, which has no form in integer arithmetic; keep real numbers")
    parts = [discrete_synapse(name, synapse, norm, plan)]
    population, neuron = next((pair for pair in following if not isinstance(pair[1], PASSED)), ("", None))
    recurrent = isinstance(neuron, Recurrent)
    if isinstance(neuron, Recurrent):
        parts.append(discrete_synapse(f"{population}.synapse", neuron.synapse, None, plan, least=1))
        neuron = neuron.neuron
    on_grid(parts, plan)
    neuron = frozen(neuron)
    if plan.integers:
        neuron = integer_neuron(name, parts[0], neuron, plan)
    discrete: dict[str, SpikingModule] = {name: parts[0].layer}
    if isinstance(neuron, Neuron):
        discrete[population] = Recurrent(parts[1].layer, neuron) if recurrent else neuron  # type: ignore[arg-type]
    return discrete, [part.report for part in parts]


def frozen(layer: Any) -> Any:
    """A copy of a layer; what its neurons learned is constant in it."""
    return layer.frozen() if isinstance(layer, LearnedConstants) else copy.deepcopy(layer)


def _exact_in_float32(network: DiscreteNetwork) -> bool:
    """Whether no current of integer codes reaches 2^24, with inputs of up to 255 events."""
    linear = (layer for _, layer in layers_of(network) if isinstance(layer, DelayedLinear))
    return all(float(layer.weight.abs().flatten(1).sum(1).max()) * 255 < 2**24 for layer in linear)
