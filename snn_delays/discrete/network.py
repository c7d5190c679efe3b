"""The discrete network: what is evaluated is what is exported."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.discrete.report import DiscretizationReport
from snn_delays.errors import ExportError
from snn_delays.nn import (
    LIF,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLinear,
    Dropout,
    FixedPointIntegrator,
    FixedPointLIF,
    Flatten,
    LeakyIntegrator,
    MaxPool2d,
    Neuron,
    Recurrent,
    Sequential,
    SpikingModule,
    SumPool2d,
    layers_of,
)
from snn_delays.nn.kinds import alteration, apply_pruning, stranger

Array = NDArray[Any]
# The kinds whose arithmetic is copied when a network is made discrete, streamed or exported.
COPIED = (
    DelayedLinear, DelayedConv2d, BatchNorm, BatchNorm2d, Dropout, Flatten, SumPool2d, AvgPool2d, MaxPool2d,
    LIF, LeakyIntegrator, Recurrent, FixedPointLIF, FixedPointIntegrator,
)  # fmt: skip


class DiscreteNetwork(Sequential):
    """A network with whole delays and no norms or dropout: evaluated, streamed, drawn and exported.

    A chain of :class:`DelayedLinear` and :class:`DelayedConv2d` (taps "linear", whole delays, nothing trainable),
    neurons, pooling and :class:`Flatten`, under the names of the network it came from. Made for a target that computes
    in whole numbers, its weights are whole codes and its neurons
    :class:`snn_delays.nn.fixed_point.FixedPointLIF`. ``report`` says what was lost.
    """

    computes_as = Sequential

    def __init__(self, report: DiscretizationReport, **named: SpikingModule) -> None:
        super().__init__(**named)
        self.report = report
        self.requires_grad_(False)
        self.eval()


def copied_layers(network: SpikingModule) -> list[tuple[str, SpikingModule]]:
    """The layers of a chain, each of which computes what its class says; pruning masks are put on first.

    Raises ExportError for one that may not, by name: a subclass, a hook, a forward or numbers of its own.
    """
    layers = layers_of(network)
    for name, layer in layers:
        for inner in layer.modules():
            apply_pruning(inner)
            if reason := stranger(inner, (*COPIED, Sequential)) or alteration(inner):
                raise ExportError(f"layer {name!r} ({type(inner).__name__}) {reason}")
    return layers


def nested(layers: dict[str, SpikingModule]) -> dict[str, SpikingModule]:
    """Layers by dotted name as chains within chains."""
    groups: dict[str, dict[str, SpikingModule]] = {}
    for name, layer in layers.items():
        head, _, rest = name.partition(".")
        groups.setdefault(head, {})[rest] = layer
    return {head: inside[""] if "" in inside else Sequential(**nested(inside)) for head, inside in groups.items()}


def check_constants(name: str, neuron: Neuron) -> None:
    """Raise ExportError for neurons whose constants differ: what is exported or streamed has one number for all."""
    for constant, count in neuron.per_neuron().items():
        raise ExportError(
            f"{name}.{constant} is a tensor of {count} numbers, one for each neuron; exported and streamed populations "
            "have one for all. Such networks are trained and evaluated in torch"
        )


def discrete_numbers(name: str, layer: DelayedLinear) -> tuple[Array, NDArray[np.int64], Array]:
    """Weight, whole delays and bias of a synapse of a discrete network, in float64; a bias that is None is zeros.

    Raises ExportError for numbers that are not finite, delays that are not whole steps in the window, or taps that
    spread.
    """
    weight, delay = (part.detach().cpu().double().numpy() for part in (layer.weight, layer.delay))
    bias = np.zeros(layer.out_features) if layer.bias is None else layer.bias.detach().cpu().double().numpy()
    for what, values in (("weight", weight), ("delay", delay), ("bias", bias)):
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise ExportError(f"{name}.{what}: {bad} of {values.size} values are not finite; take a sound checkpoint")
    whole = np.rint(delay).astype(np.int64)
    outside = (whole != delay) | (whole < layer.min_delay_steps) | (whole > layer.max_delay_steps)
    if outside.any():
        raise ExportError(
            f"{name}.delay: {int(outside.sum())} of {whole.size} delays are not whole steps in "
            f"{layer.min_delay_steps}..{layer.max_delay_steps}; pass what discretize() returned, unchanged"
        )
    if layer.taps != "linear":
        raise ExportError(f"{name} spreads its delays by {layer.taps} taps; pass what discretize() returned")
    return weight, whole, bias
