"""The discrete network: whole delays, folded norms, weights on a grid if asked. What is evaluated is exported."""

import copy
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from snn_delays.errors import ExportError
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
    Sequential,
    SpikingModule,
    layers_of,
)
from snn_delays.units import round_delays


@dataclass(frozen=True)
class LayerReport:
    """What making a synapse discrete changed."""

    name: str
    synapses: int
    delays_rounded: int
    mean_rounding_steps: float
    max_rounding_steps: float
    delays_clamped: int
    taps: str
    sigma_steps: float
    norm_folded: bool
    weight_bits: int | None
    weight_step: float | None
    max_weight_error: float
    weights_zeroed: int

    @property
    def lossless(self) -> bool:
        """Whether the layer computes what it did (folding a norm only moves rounding errors)."""
        return not (self.delays_rounded or self.delays_clamped or self.max_weight_error) and self.taps == "linear"

    def __str__(self) -> str:
        parts = [
            f"{self.delays_rounded} delays rounded (by {self.mean_rounding_steps:.3f} steps on average, "
            f"{self.max_rounding_steps:.3f} at most)"
        ]
        if self.delays_clamped:
            parts.append(f"{self.delays_clamped} delays brought back into the window")
        if self.taps != "linear":
            parts.append(f"{self.taps} taps of sigma {self.sigma_steps:.3g} replaced by one tap")
        if self.norm_folded:
            parts.append("norm folded")
        if self.weight_bits is not None:
            parts.append(
                f"weights on {self.weight_bits} bits with step {self.weight_step:g}: error {self.max_weight_error:.3g} "
                f"at most, {self.weights_zeroed} became zero"
            )
        return f"{self.name} ({self.synapses} synapses): " + "; ".join(parts if not self.lossless else ["nothing lost"])


@dataclass(frozen=True)
class DiscretizationReport:
    """What :func:`discretize` lost, layer by layer."""

    layers: tuple[LayerReport, ...]

    @property
    def lossless(self) -> bool:
        """Whether the discrete network computes exactly what the network given did."""
        return all(layer.lossless for layer in self.layers)

    def __str__(self) -> str:
        return "\n".join(str(layer) for layer in self.layers)


class DiscreteNetwork(Sequential):
    """A network with whole delays and no norms or dropout: evaluated, streamed, drawn and exported.

    A chain of :class:`DelayedLinear` and :class:`DelayedConv2d` (taps "linear", whole delays, nothing trainable),
    :class:`LIF`, :class:`LeakyIntegrator`, pooling and :class:`Flatten`, under the names of the network it came from.
    ``report`` says what was lost. Convolutions are evaluated and drawn; streaming and NIR refuse them.
    """

    def __init__(self, report: DiscretizationReport, **named: SpikingModule) -> None:
        super().__init__(**named)
        self.report = report
        self.requires_grad_(False)
        self.eval()


def discretize(network: SpikingModule, *, weight_bits: int | None = None) -> DiscreteNetwork:
    r"""A new network with whole delays, the one on which evaluation, streaming and export run.

    Each delay becomes the nearest step (halves to even) within the window and acts through a single tap; each batch
    norm is folded into the synapse before it, ``w' = scale w``, ``b' = scale b + shift``; dropout is dropped, pooling
    stays. With ``weight_bits`` each synapse's weights are rounded to ``q s`` with whole ``|q| <= 2^(bits-1) - 1`` and
    the smallest power of two ``s`` that fits them; sums of such weights are exact in any order. Idempotent;
    ``network`` stays as it was.

    Args:
        network: a chain of delayed synapses (linear or convolutional), norms, neurons, pooling and dropout, or a
            discrete network.
        weight_bits: 2 to 16, or None to leave the weights alone.

    Raises:
        ExportError: a layer of another kind, a norm that follows no synapse, or weights or delays that are not finite.
    """
    if weight_bits is not None and not 2 <= weight_bits <= 16:
        raise ExportError(f"weight_bits must lie in 2..16, got {weight_bits}")
    layers = layers_of(network)
    reports: list[LayerReport] = []
    kept: dict[str, SpikingModule] = {}
    skip_norm = False
    for (name, layer), (_, following) in zip(layers, [*layers[1:], ("", None)]):
        if isinstance(layer, DelayedLinear | DelayedConv2d):
            norm = following if isinstance(following, BatchNorm) and _fits(following, layer) else None
            kept[name], report = _synapse(name, layer, norm, weight_bits)
            reports.append(report)
            skip_norm = norm is not None
        elif isinstance(layer, BatchNorm) and skip_norm:
            skip_norm = False
        elif isinstance(layer, LIF | LeakyIntegrator | Pool2d | Flatten):
            kept[name] = copy.deepcopy(layer)
        elif not isinstance(layer, Dropout):
            reason = (
                "follows no synapse it could be folded into" if isinstance(layer, BatchNorm) else "has no discrete form"
            )
            raise ExportError(f"layer {name!r} ({type(layer).__name__}) {reason}")
    return DiscreteNetwork(DiscretizationReport(tuple(reports)), **_nested(kept))


def _fits(norm: BatchNorm, synapse: DelayedLayer) -> bool:
    same_kind = isinstance(norm, BatchNorm2d) == isinstance(synapse, DelayedConv2d)
    return same_kind and norm.features == synapse.weight.shape[0]


def _synapse(
    name: str, layer: DelayedLinear | DelayedConv2d, norm: BatchNorm | None, weight_bits: int | None
) -> tuple[DelayedLayer, LayerReport]:
    weight = layer.weight.detach()
    bias: Tensor | None = None if layer.bias is None else layer.bias.detach()
    delay = layer.delay.detach()
    for what, tensor in (("weight", weight), ("delay", delay), ("bias", bias)):
        if tensor is not None and not bool(torch.isfinite(tensor).all()):
            raise ExportError(
                f"{name}.{what}: {int((~torch.isfinite(tensor)).sum())} of {tensor.numel()} values are not finite; "
                "training diverged, take an earlier checkpoint or lower the learning rate"
            )
    if norm is not None:
        scale, shift = (part.detach() for part in norm.scale_and_shift())
        if not bool(torch.isfinite(scale).all() and torch.isfinite(shift).all()):
            raise ExportError(f"the norm after {name} has values that are not finite; training diverged")
        weight = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        bias = shift if bias is None else shift + scale * bias
    rounded = round_delays(delay)
    whole = rounded.clamp(0, layer.max_delay_steps)
    step = None
    quantised = weight
    if weight_bits is not None:
        quantised, step = _on_grid(weight, weight_bits)
    made = _single_tap(layer, bias is not None).to(weight)
    with torch.no_grad():
        made.weight.copy_(quantised)
        made.delay.copy_(whole)
        if made.bias is not None and bias is not None:
            made.bias.copy_(bias)
    moved = (delay - rounded).abs()
    return made, LayerReport(
        name=name,
        synapses=weight.numel(),
        delays_rounded=int((moved > 0).sum()),
        mean_rounding_steps=float(moved.mean()),
        max_rounding_steps=float(moved.max()),
        delays_clamped=int((whole != rounded).sum()),
        taps=layer.taps,
        sigma_steps=float(layer.sigma),
        norm_folded=norm is not None,
        weight_bits=weight_bits,
        weight_step=step,
        max_weight_error=float((quantised - weight).abs().max()),
        weights_zeroed=int(((quantised == 0) & (weight != 0)).sum()),
    )


def _single_tap(layer: DelayedLinear | DelayedConv2d, bias: bool) -> DelayedLayer:
    """A layer of the same sizes whose delays are whole and not learned."""
    if isinstance(layer, DelayedConv2d):
        return DelayedConv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, stride=layer.stride, padding=layer.padding,
            max_delay_steps=layer.max_delay_steps, sharing=layer.sharing, taps="linear", learn_delay=False, bias=bias,
        )  # fmt: skip
    return DelayedLinear(
        layer.in_features, layer.out_features, max_delay_steps=layer.max_delay_steps, sharing=layer.sharing,
        delay_count=layer.delay_count, taps="linear", learn_delay=False, bias=bias,
    )  # fmt: skip


def _on_grid(weight: Tensor, bits: int) -> tuple[Tensor, float]:
    """Weights as whole multiples of a power of two, and that step."""
    largest = 2 ** (bits - 1) - 1
    peak = float(weight.abs().max())
    step = 2.0 ** math.ceil(math.log2(peak / largest)) if peak > 0 else 1.0
    return torch.round(weight / step) * step, step


def _nested(layers: dict[str, SpikingModule]) -> dict[str, SpikingModule]:
    """Layers by dotted name as chains within chains."""
    groups: dict[str, dict[str, SpikingModule]] = {}
    for name, layer in layers.items():
        head, _, rest = name.partition(".")
        groups.setdefault(head, {})[rest] = layer
    return {head: inside[""] if "" in inside else Sequential(**_nested(inside)) for head, inside in groups.items()}
