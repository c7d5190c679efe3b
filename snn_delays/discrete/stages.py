"""A discrete network as plain arrays, layer by layer: the one place that reads it, for export and for streaming."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from snn_delays.discrete.network import DiscreteNetwork, check_constants, copied_layers
from snn_delays.errors import ExportError, ShapeError
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Synapses
from snn_delays.nn import (
    LIF,
    AvgPool2d,
    DelayedConv2d,
    DelayedLayer,
    DelayedLinear,
    FixedPointIntegrator,
    FixedPointLIF,
    Flatten,
    LeakyIntegrator,
    MaxPool2d,
    Recurrent,
    SumPool2d,
)
from snn_delays.nn.kinds import kind_of
from snn_delays.nn.neuron import Neuron
from snn_delays.nn.pooling import Pool2d
from snn_delays.ops.delay_conv import map_size

Shape = tuple[int, ...]
MOST_SYNAPSES = 2**25  # of a convolution, synapse by synapse
POOLING: dict[type, str] = {MaxPool2d: "max", AvgPool2d: "mean", SumPool2d: "sum"}


@dataclass(frozen=True, eq=False)
class Stage:
    """A layer: its dotted name, and the shapes of one step before and after it. As it is: :class:`Flatten`."""

    name: str
    before: Shape
    after: Shape


@dataclass(frozen=True, eq=False)
class SynapseStage(Stage):
    """Synapses and a constant current ``[neuron]``; ``window`` is the longest delay that the layer can have."""

    synapses: Synapses
    bias: NDArray[np.float64]
    window: int


@dataclass(frozen=True, eq=False)
class NeuronStage(Stage):
    """Neurons, and synapses from their spikes to themselves; ``bias`` where the arithmetic is in integers."""

    arithmetic: Membrane | FixedPoint
    fires: bool
    bias: NDArray[np.float64] | None = None
    recurrent: Synapses | None = None
    window: int = 0


@dataclass(frozen=True, eq=False)
class PoolStage(Stage):
    """``"max"``, ``"mean"`` or ``"sum"`` over windows ``[output, place]`` of numbers of inputs."""

    kind: str
    windows: NDArray[np.int64]


def stages_of(network: DiscreteNetwork | CanonicalNetwork, sensor: Shape | None = None) -> list[Stage]:
    """The layers of a network in order.

    Maps are laid out flat, channel by channel and row by row, and a convolution becomes its synapses one by one.

    Args:
        network: what :func:`snn_delays.discrete.discretize` returned, or a canonical network.
        sensor: channels, rows and columns of the input, which a convolution does not know; None: the network's own.

    Raises:
        ExportError: another network, layers that do not fit onto each other, delays that are not integer steps in their
            window, numbers that are not finite, or a convolution whose input has no known size.
    """
    if isinstance(network, CanonicalNetwork):
        return list(_of_canonical(network))
    if not isinstance(network, DiscreteNetwork):
        raise ExportError(f"expected a discrete network, got a {type(network).__name__}; pass discretize(network)")
    layers = copied_layers(network)
    sensor = sensor or network.sensor
    if any(isinstance(layer, DelayedConv2d | Pool2d) for _, layer in layers):
        if sensor is None or len(sensor) != 3:
            raise ExportError(
                "the size of a convolution's input is not part of it; pass sensor=(channels, rows, columns), or set "
                "network.sensor"
            )
        shape: Shape = tuple(sensor)
    else:
        width = next((layer.in_features for _, layer in layers if isinstance(layer, DelayedLinear)), None)
        if width is None:
            raise ExportError("the network has no synapse, so nothing says how many inputs it has")
        shape = (width,)
    found = []
    for name, layer in layers:
        try:
            stage = _stage(name, layer, shape)
        except ShapeError as error:
            raise ExportError(f"{name}: {error}") from error
        found.append(stage)
        shape = stage.after
    return found


def _of_canonical(network: CanonicalNetwork) -> Iterator[Stage]:
    before: Shape = (network.inputs,)
    for population in network.populations:
        after, fixed = (population.size,), population.whole
        bias = np.zeros(population.size) if fixed else population.bias
        window = population.synapses.max_delay_steps
        yield SynapseStage(f"{population.name}.synapse", before, after, population.synapses, bias, window)
        own = population.recurrent
        yield NeuronStage(
            f"{population.name}.neuron", after, after, population.arithmetic, population.fires,
            population.bias if fixed else None, own, 0 if own is None else max(1, own.max_delay_steps),
        )  # fmt: skip
        before = after


def _stage(name: str, layer: nn.Module, shape: Shape) -> Stage:
    if isinstance(layer, DelayedLinear):
        if shape != (layer.in_features,):
            raise ExportError(
                f"{name} takes {layer.in_features} inputs, the layer before it has {_text(shape)} outputs"
            )
        synapses, bias = synapses_of(name, layer)
        return SynapseStage(name, shape, (layer.out_features,), synapses, bias, layer.max_delay_steps)
    if isinstance(layer, DelayedConv2d):
        return _convolution(name, layer, shape)
    if isinstance(layer, Neuron):
        return _neurons(name, layer, shape)
    if isinstance(layer, Pool2d):
        _check_maps(name, shape)
        size = map_size(shape[1:], layer.kernel_size, layer.stride)
        places = np.arange(math.prod(shape)).reshape(shape)
        windows = np.lib.stride_tricks.sliding_window_view(places, layer.kernel_size, (1, 2))
        windows = windows[:, :: layer.stride[0], :: layer.stride[1]]
        kind = POOLING[kind_of(layer)]
        flat = windows.reshape(shape[0] * math.prod(size), -1).astype(np.int64)
        return PoolStage(name, shape, (shape[0], *size), kind, flat)
    if isinstance(layer, Flatten):
        return Stage(name, shape, (math.prod(shape),))
    raise ExportError(f"layer {name!r} ({type(layer).__name__}) cannot be streamed or exported")


def _text(shape: Shape) -> str:
    return " x ".join(map(str, shape))


def _check_maps(name: str, shape: Shape, channels: int | None = None) -> None:
    if len(shape) != 3 or channels not in (None, shape[0]):
        wanted = "maps" if channels is None else f"{channels} maps"
        raise ExportError(f"{name} takes {wanted}, [channel, row, column], the layer before it has {_text(shape)}")


def synapses_of(name: str, layer: DelayedLinear) -> tuple[Synapses, NDArray[np.float64]]:
    """The synapses of a linear layer and its bias; weights of zero are left out."""
    weight, delay, bias = discrete_numbers(name, layer)
    target, source, synapse = np.nonzero(weight)
    steps = np.broadcast_to(delay, weight.shape)[target, source, synapse]
    values = weight[target, source, synapse]
    return Synapses.sorted(layer.in_features, layer.out_features, source, target, steps, values, layer.sharing), bias


def _convolution(name: str, layer: DelayedConv2d, shape: Shape) -> SynapseStage:
    _check_maps(name, shape, layer.in_channels)
    weight, delay, bias = discrete_numbers(name, layer)
    delay = np.broadcast_to(delay, weight.shape)
    size = map_size(shape[1:], layer.kernel_size, layer.stride, layer.padding)
    count = int(np.count_nonzero(weight)) * math.prod(size)
    if count > MOST_SYNAPSES:
        raise ExportError(f"{name} has {count:,} synapses at its {_text(size)} places; {MOST_SYNAPSES:,} are the most")
    area, (rows, columns) = math.prod(size), shape[1:]
    v, u = (axis.ravel() for axis in np.indices(size))
    parts: list[list[Any]] = [[np.zeros(0)] for _ in range(4)]
    for a, c in np.ndindex(*layer.kernel_size):
        y = v * layer.stride[0] + a - layer.padding[0]
        x = u * layer.stride[1] + c - layer.padding[1]
        inside = np.flatnonzero((y >= 0) & (y < rows) & (x >= 0) & (x < columns))
        out, into = np.nonzero(weight[:, :, a, c])
        place = (y * columns + x)[inside]
        parts[0].append((into[:, None] * (rows * columns) + place).ravel())
        parts[1].append((out[:, None] * area + inside).ravel())
        parts[2].append(np.repeat(delay[out, into, a, c], len(inside)))
        parts[3].append(np.repeat(weight[out, into, a, c], len(inside)))
    source, target, steps, values = (np.concatenate(part) for part in parts)
    sharing = "synapse" if layer.sharing == "channel" else layer.sharing
    after = (layer.out_channels, *size)
    synapses = Synapses.sorted(math.prod(shape), math.prod(after), source, target, steps, values, sharing)
    return SynapseStage(name, shape, after, synapses, np.repeat(bias, area), layer.max_delay_steps)


def _neurons(name: str, layer: Neuron, shape: Shape) -> NeuronStage:
    if isinstance(layer, Recurrent):
        if shape != (layer.synapse.in_features,):
            raise ExportError(
                f"{name} is a population of {layer.synapse.in_features} neurons, the layer before it has "
                f"{_text(shape)} outputs"
            )
        own, _ = synapses_of(f"{name}.synapse", layer.synapse)
        inner = _neurons(f"{name}.neuron", layer.neuron, shape)
        return replace(inner, name=name, recurrent=own, window=layer.synapse.max_delay_steps)
    if isinstance(layer, FixedPointLIF | FixedPointIntegrator):
        if shape != tuple(layer.bias.shape):
            raise ExportError(f"{name} has {len(layer.bias)} neurons, the layer before it {_text(shape)} outputs")
        return NeuronStage(name, shape, shape, layer.numbers, layer.fires, layer.bias.cpu().numpy())
    check_constants(name, layer)
    if isinstance(layer, LIF):
        arithmetic = Membrane(
            float(layer.tau_steps), layer.decay_input, float(layer.threshold), layer.v_reset, layer.reset, layer.strict
        )
    elif isinstance(layer, LeakyIntegrator):
        arithmetic = Membrane(float(layer.tau_steps), layer.decay_input)
    else:
        raise ExportError(f"{name}: neurons of kind {type(layer).__name__} can be neither streamed nor exported")
    return NeuronStage(name, shape, shape, arithmetic, layer.fires)


def discrete_numbers(name: str, layer: DelayedLayer) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[Any]]:
    """Weight, integer delays and bias of a synapse of a discrete network, in float64; a bias that is None is zeros.

    Raises ExportError for numbers that are not finite, delays that are not integer steps in the window, or taps that
    spread.
    """
    weight, delay = (part.detach().cpu().double().numpy() for part in (layer.weight, layer.delay))
    bias = np.zeros(len(weight)) if layer.bias is None else layer.bias.detach().cpu().double().numpy()
    for what, values in (("weight", weight), ("delay", delay), ("bias", bias)):
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ExportError(f"{name}.{what}: {bad} of {values.size} values are not finite; take a sound checkpoint")
    steps = np.rint(delay).astype(np.int64)
    outside = (steps != delay) | (steps < layer.min_delay_steps) | (steps > layer.max_delay_steps)
    if outside.any():
        raise ExportError(
            f"{name}.delay: {int(outside.sum())} of {steps.size} delays are not whole steps in "
            f"{layer.min_delay_steps}..{layer.max_delay_steps}; pass what discretize() returned, unchanged"
        )
    if layer.taps != "linear":
        raise ExportError(f"{name} spreads its delays by {layer.taps} taps; pass what discretize() returned")
    return weight, steps, bias
