"""The discrete network: what is evaluated is what is exported."""

from torch import nn

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

# The kinds whose arithmetic is copied when a network is discretised, streamed or exported.
COPIED = (
    DelayedLinear, DelayedConv2d, BatchNorm, BatchNorm2d, Dropout, Flatten, SumPool2d, AvgPool2d, MaxPool2d,
    LIF, LeakyIntegrator, Recurrent, FixedPointLIF, FixedPointIntegrator,
)  # fmt: skip


class DiscreteNetwork(Sequential):
    """A network with integer delays and no norms or dropout: evaluated, streamed, drawn and exported.

    A chain of :class:`DelayedLinear` and :class:`DelayedConv2d` (taps "linear", integer delays, nothing trainable),
    neurons, pooling and :class:`Flatten`, under the names of the network it came from. Discretised for a target that
    computes in integers, its weights are integer codes and its neurons
    :class:`snn_delays.nn.fixed_point.FixedPointLIF`. ``report`` says what was lost; ``sensor`` is the shape of one step
    of the input, of a convolutional network.
    """

    computes_as = Sequential
    sensor: tuple[int, ...] | None = None

    def __init__(self, report: DiscretizationReport, **named: SpikingModule) -> None:
        super().__init__(**named)
        self.report = report
        self.requires_grad_(False)
        self.eval()


def copied_layers(network: SpikingModule) -> list[tuple[str, nn.Module]]:
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
