"""The discrete network, which is evaluated as it is exported, and the report of what discretising changed."""

from dataclasses import dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor

from snn_delays.errors import ExportError
from snn_delays.nn import DelayedConv2d, DelayedLayer, DelayedLinear, Sequential, SpikingModule

Layer = TypeVar("Layer", DelayedLinear, DelayedConv2d)


@dataclass(frozen=True)
class LayerReport:
    """What discretising a synapse, and the neurons after it, changed.

    ``delays_clamped``: outside the layer's own window. ``delays_over_limit``: synapses (of a weight) beyond
    ``limit_steps``, the longest delay requested or the target's, and set to it because that was allowed. ``neuron``:
    how decay and threshold were put into integers, empty where they were not or nothing changed.
    """

    name: str
    synapses: int
    delays_rounded: int
    mean_rounding_steps: float
    max_rounding_steps: float
    delays_clamped: int
    taps: str
    sigma_steps: float
    norm_folded: bool
    weight_bits: int | str | None = None
    weight_step: float | None = None
    max_weight_error: float = 0.0
    weights_zeroed: int = 0
    delays_over_limit: int = 0
    limit_steps: int | None = None
    neuron: str = ""

    @property
    def lossless(self) -> bool:
        """Whether the layer computes what it did (folding a norm only moves rounding errors)."""
        changed = self.delays_rounded or self.delays_clamped or self.delays_over_limit or self.max_weight_error
        return not changed and self.taps == "linear" and not self.neuron

    def __str__(self) -> str:
        grid = ""
        if self.weight_bits is not None:
            bits = self.weight_bits if isinstance(self.weight_bits, str) else f"on {self.weight_bits} bits"
            grid = f"weights {bits} with step {self.weight_step:g}"
        if self.lossless:
            changes = {"nothing lost" + (f", {grid} already" if grid else ""): True}
        else:
            rounding = f"by {self.mean_rounding_steps:.3f} steps on average, {self.max_rounding_steps:.3f} at most"
            changes = {
                f"{self.delays_rounded} delays rounded ({rounding})": True,
                f"{self.delays_clamped} delays brought back into the window": bool(self.delays_clamped),
                f"{self.delays_over_limit} synapses' delays clamped to {self.limit_steps}, as requested": bool(
                    self.delays_over_limit
                ),
                f"{self.taps} taps of sigma {self.sigma_steps:.3g} replaced by one tap": self.taps != "linear",
                "norm folded": self.norm_folded,
                f"{grid}: error {self.max_weight_error:.3g} at most, {self.weights_zeroed} became zero": bool(grid),
                self.neuron: bool(self.neuron),
            }
        return f"{self.name} ({self.synapses} synapses): " + "; ".join(text for text, holds in changes.items() if holds)


@dataclass(frozen=True)
class DiscretizationReport:
    """What :func:`snn_delays.discrete.discretize` lost, layer by layer."""

    layers: tuple[LayerReport, ...]

    @property
    def lossless(self) -> bool:
        """Whether the discrete network computes exactly what the original network did."""
        return all(layer.lossless for layer in self.layers)

    def __str__(self) -> str:
        return "\n".join(str(layer) for layer in self.layers)


class DiscreteNetwork(Sequential):
    """A network with integer delays and no norms or dropout: evaluated, streamed, drawn and exported.

    A chain of :class:`DelayedLinear` and :class:`DelayedConv2d` (taps "linear", integer delays, nothing trainable),
    neurons, pooling and :class:`Flatten`, under the names of the network it came from. Discretised for a target that
    computes in integers, its weights are integer codes and its neurons
    :class:`snn_delays.nn.neuron.FixedPointLIF`. ``report`` says what was lost; ``sensor`` is the shape of one step
    of the input, of a convolutional network.
    """

    computes_as = Sequential
    sensor: tuple[int, ...] | None = None

    def __init__(self, report: DiscretizationReport, **named: SpikingModule) -> None:
        super().__init__(**named)
        self.report = report
        self.requires_grad_(False)
        self.eval()


def nested(layers: dict[str, SpikingModule]) -> dict[str, SpikingModule]:
    """Layers by dotted name as chains within chains."""
    groups: dict[str, dict[str, SpikingModule]] = {}
    for name, layer in layers.items():
        head, _, rest = name.partition(".")
        groups.setdefault(head, {})[rest] = layer
    return {head: inside[""] if "" in inside else Sequential(**nested(inside)) for head, inside in groups.items()}


def fixed_delays(
    kind: type[Layer], *sizes: Any, weight: Tensor, delay: Tensor, bias: Tensor | None, **options: Any
) -> Layer:
    """A layer of one tap a delay that learns no delays, in the precision of ``weight``."""
    layer = kind(*sizes, taps="linear", learn_delay=False, bias=bias is not None, **options).to(weight)
    with torch.no_grad():
        layer.weight.copy_(weight)
        layer.delay.copy_(delay)
        if layer.bias is not None and bias is not None:
            layer.bias.copy_(bias)
    return layer


def check_finite(name: str, layer: DelayedLayer) -> None:
    """Raise ExportError for a synapse's weights, delays or biases that are not finite."""
    for what, values in (("weight", layer.weight), ("delay", layer.delay), ("bias", layer.bias)):
        if values is not None and (bad := int((~torch.isfinite(values)).sum())):
            raise ExportError(
                f"{name}.{what}: {bad} of {values.numel()} values are not finite; training diverged, take an earlier "
                "checkpoint or lower the learning rate"
            )
