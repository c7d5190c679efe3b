"""A discrete network as plain arrays, layer by layer: the one place that reads it, for export and for streaming."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from snn_delays.discrete.network import DiscreteNetwork, check_finite
from snn_delays.errors import ExportError, ShapeError
from snn_delays.fixed_point import FixedPoint
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Synapses
from snn_delays.nn import (
    LIF,
    PLIF,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    CubaLIF,
    DelayedConv2d,
    DelayedLinear,
    Dropout,
    FixedPointIntegrator,
    FixedPointLIF,
    Flatten,
    LeakyIntegrator,
    MaxPool2d,
    Neuron,
    Pool2d,
    Recurrent,
    Sequential,
    SpikingModule,
    SumPool2d,
    layers_of,
)
from snn_delays.nn.kinds import alteration, apply_pruning, kind_of, stranger
from snn_delays.ops.delay_conv import map_size

Shape = tuple[int, ...]
MOST_SYNAPSES = 2**25  # of a convolution, synapse by synapse
POOLING: dict[type, str] = {MaxPool2d: "max", AvgPool2d: "mean", SumPool2d: "sum"}
# The kinds whose arithmetic is copied when a network is discretised, streamed or exported.
COPIED = (
    DelayedLinear, DelayedConv2d, BatchNorm, BatchNorm2d, Dropout, Flatten, *POOLING, LIF, PLIF, CubaLIF,
    LeakyIntegrator, Recurrent, FixedPointLIF, FixedPointIntegrator, Sequential,
)  # fmt: skip


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


def copied_layers(network: SpikingModule) -> list[tuple[str, nn.Module]]:
    """The layers of a chain, each of which computes what its class says; pruning masks are put on first.

    Raises ExportError for one that may not, by name: a subclass, a hook, a forward or numbers of its own.
    """
    layers = layers_of(network)
    for name, layer in layers:
        for inner in layer.modules():
            apply_pruning(inner)
            if reason := stranger(inner, COPIED) or alteration(inner):
                raise ExportError(f"layer {name!r} ({type(inner).__name__}) {reason}")
    return layers


def stages_of(network: DiscreteNetwork | CanonicalNetwork, sensor: Shape | None = None) -> list[Stage]:
    """The layers of a network in order; maps are laid out flat, channel by channel and row by row.

    ``sensor``: channels, rows and columns of the input, which a convolution does not know; None: the network's own.

    Raises ExportError for another network, layers that do not fit onto each other, delays that are not integer steps in
    their window, numbers that are not finite, or a convolution whose input has no known size.
    """
    if isinstance(network, CanonicalNetwork):
        return list(_of_canonical(network))
    if not isinstance(network, DiscreteNetwork):
        raise ExportError(f"expected a discrete network, got a {type(network).__name__}; pass discretize(network)")
    layers = copied_layers(network)
    if any(isinstance(layer, DelayedConv2d | Pool2d) for _, layer in layers):
        shape: Shape = tuple(sensor or network.sensor or ())
        if len(shape) != 3:
            raise ExportError(
                "the size of a convolution's input is not part of it; pass sensor=(channels, rows, columns), or set "
                "network.sensor"
            )
    else:
        shape = tuple(layer.in_features for _, layer in layers if isinstance(layer, DelayedLinear))[:1]
        if not shape:
            raise ExportError("the network has no synapse, so nothing says how many inputs it has")
    stages = []
    for name, layer in layers:
        stages.append(_stage(name, layer, shape))
        shape = stages[-1].after
    return stages


def _of_canonical(network: CanonicalNetwork) -> Iterator[Stage]:
    before: Shape = (network.inputs,)
    for population in network.populations:
        name, synapses, own, after = population.name, population.synapses, population.recurrent, (population.size,)
        yield SynapseStage(f"{name}.synapse", before, after, synapses, population.bias, synapses.max_delay_steps)
        window, numbers = 0 if own is None else max(1, own.max_delay_steps), population.arithmetic
        yield NeuronStage(f"{name}.neuron", after, after, numbers, population.fires, recurrent=own, window=window)
        before = after


def _stage(name: str, layer: nn.Module, shape: Shape) -> Stage:
    if isinstance(layer, DelayedLinear):
        _check_shape(shape == (layer.in_features,), f"{name} takes {layer.in_features} inputs", shape)
        synapses, bias = _synapses(name, layer, shape)
        return SynapseStage(name, shape, (layer.out_features,), synapses, bias, layer.max_delay_steps)
    if isinstance(layer, DelayedConv2d):
        takes = f"{name} takes {layer.in_channels} maps, [channel, row, column]"
        _check_shape(len(shape) == 3 and shape[0] == layer.in_channels, takes, shape)
        after = (layer.out_channels, *_size(name, layer, shape, layer.padding))
        synapses, bias = _synapses(name, layer, shape)
        return SynapseStage(name, shape, after, synapses, bias, layer.max_delay_steps)
    if isinstance(layer, Neuron):
        return _neurons(name, layer, shape)
    if isinstance(layer, Pool2d):
        _check_shape(len(shape) == 3, f"{name} takes maps, [channel, row, column]", shape)
        after = (shape[0], *_size(name, layer, shape))
        windows = _windows(layer, shape).reshape(math.prod(after), -1)
        return PoolStage(name, shape, after, POOLING[kind_of(layer)], windows)
    if isinstance(layer, Flatten):
        return Stage(name, shape, (math.prod(shape),))
    raise ExportError(f"layer {name!r} ({type(layer).__name__}) cannot be streamed or exported")


def _check_shape(fits: bool, takes: str, shape: Shape) -> None:
    if not fits:
        raise ExportError(f"{takes}, the layer before it has {' x '.join(map(str, shape))} outputs")


def _size(name: str, layer: Any, shape: Shape, padding: Shape = (0, 0)) -> Shape:
    try:
        return map_size(shape[1:], layer.kernel_size, layer.stride, padding)
    except ShapeError as error:
        raise ExportError(f"{name}: {error}") from error


def _windows(layer: Any, shape: Shape, padding: Shape = (0, 0)) -> NDArray[np.int64]:
    """The input at each place of each window, ``[channel, y, x, row, column]``; -1 in the padding."""
    inputs = np.arange(math.prod(shape)).reshape(shape)
    padded = np.pad(inputs, [(0, 0), *((n, n) for n in padding)], constant_values=-1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, layer.kernel_size, (1, 2))
    return windows[:, :: layer.stride[0], :: layer.stride[1]]


def _synapses(name: str, layer: DelayedLinear | DelayedConv2d, shape: Shape) -> tuple[Synapses, NDArray[np.float64]]:
    """The synapses of a layer one by one, those of weight zero left out, and its bias, ``[neuron]``."""
    weight, delay, bias = _numbers(name, layer)
    place = np.nonzero(weight)  # target, source, and which of their synapses
    if isinstance(layer, DelayedConv2d):
        windows = _windows(layer, shape, layer.padding)
        area = math.prod(windows.shape[1:3])
        if (count := len(place[0]) * area) > MOST_SYNAPSES:
            places = " x ".join(map(str, windows.shape[1:3]))
            raise ExportError(f"{name} has {count:,} synapses at its {places} places; {MOST_SYNAPSES:,} are the most")
        source = windows[place[1], :, :, place[2], place[3]].reshape(-1, area)
    else:
        area, source = 1, place[1][:, None]
    target = place[0][:, None] * area + np.arange(area)
    inside = source >= 0
    steps, values = (
        np.broadcast_to(part[place][:, None], inside.shape)[inside]
        for part in (np.broadcast_to(delay, weight.shape), weight)
    )
    sharing = "synapse" if layer.sharing == "channel" else layer.sharing
    sizes = math.prod(shape), len(weight) * area
    return Synapses.sorted(*sizes, source[inside], target[inside], steps, values, sharing), np.repeat(bias, area)


def _numbers(
    name: str, layer: DelayedLinear | DelayedConv2d
) -> tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.float64]]:
    """Weight, integer delays and bias of a synapse of a discrete network; a bias that is None is zeros."""
    check_finite(name, layer)
    current = layer.weight.new_zeros(len(layer.weight)) if layer.bias is None else layer.bias
    weight, delay, bias = (part.detach().cpu().double().numpy() for part in (layer.weight, layer.delay, current))
    steps = np.rint(delay).astype(np.int64)
    outside = (steps != delay) | (steps < layer.min_delay_steps) | (steps > layer.max_delay_steps)
    if outside.any():
        raise ExportError(
            f"{name}.delay: {int(outside.sum())} of {steps.size} delays are not integer steps in "
            f"{layer.min_delay_steps}..{layer.max_delay_steps}; pass what discretize() returned, unchanged"
        )
    if layer.taps != "linear":
        raise ExportError(f"{name} spreads its delays by {layer.taps} taps; pass what discretize() returned")
    return weight, steps, bias


def _neurons(name: str, layer: Neuron, shape: Shape) -> NeuronStage:
    if isinstance(layer, Recurrent):
        width = layer.synapse.in_features
        _check_shape(shape == (width,), f"{name} is a population of {width} neurons", shape)
        own, _ = _synapses(f"{name}.synapse", layer.synapse, shape)
        inner = _neurons(f"{name}.neuron", layer.neuron, shape)
        return replace(inner, name=name, recurrent=own, window=layer.synapse.max_delay_steps)
    if isinstance(layer, FixedPointLIF | FixedPointIntegrator):
        _check_shape(shape == tuple(layer.bias.shape), f"{name} is a population of {len(layer.bias)} neurons", shape)
        return NeuronStage(name, shape, shape, layer.numbers, layer.fires, layer.bias.cpu().numpy())
    if not isinstance(layer, LIF | CubaLIF | LeakyIntegrator):
        raise ExportError(f"{name}: neurons of kind {type(layer).__name__} can be neither streamed nor exported")
    check_constants(name, layer)
    arithmetic = Membrane(float(layer.tau_steps), layer.decay_input)
    if isinstance(layer, LIF | CubaLIF):
        spiking = {option: getattr(layer, option) for option in ("v_reset", "reset", "strict")}
        arithmetic = replace(arithmetic, threshold=float(layer.threshold), **spiking)
    if isinstance(layer, CubaLIF):
        arithmetic = replace(arithmetic, tau_syn_steps=float(layer.tau_syn_steps))
    return NeuronStage(name, shape, shape, arithmetic, layer.fires)


def check_constants(name: str, neuron: Neuron) -> None:
    """Raise ExportError for neurons whose constants differ: what is exported or streamed has one number for all."""
    for constant, count in neuron.per_neuron().items():
        raise ExportError(
            f"{name}.{constant} is a tensor of {count} numbers, one for each neuron; exported and streamed populations "
            "have one for all. Such networks are trained and evaluated in torch"
        )
