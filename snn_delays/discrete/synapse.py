"""A discretised synapse: integer delays within a limit, norm folded, weights on a grid."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from snn_delays.chips.profiles import Profile
from snn_delays.discrete.network import LayerReport, check_finite, fixed_delays
from snn_delays.errors import ExportError
from snn_delays.nn import BatchNorm, DelayedConv2d, DelayedLinear
from snn_delays.nn.quantize import WeightGrid, grid_of, quantize
from snn_delays.units import round_delays


@dataclass(frozen=True)
class Plan:
    """The options of :func:`snn_delays.discrete.discretize`; ``bits``, ``scale`` None: as the network's own grid."""

    target: Profile | None
    integers: bool
    bits: int | str | None
    scale: str | None
    limit: int | None
    clamp: bool

    def holds(self, bits: int | str) -> bool:
        """Whether weights may have so many bits."""
        widths = () if self.target is None else self.target.weight_bits
        return not widths or bits in widths or (bits == "ternary" and max(widths) >= 2)


@dataclass
class Part:
    """A discretised synapse, its weights still as they were, and its report so far."""

    layer: DelayedLinear | DelayedConv2d
    report: LayerReport
    grid: WeightGrid | None


def on_grid(parts: list[Part], plan: Plan) -> None:
    """Put the weights of synapses onto the same neurons on one grid: codes times the step, or the codes themselves."""
    grid = parts[0].grid
    if grid is not None and not (len(grid.together) == len(parts) and all(part.grid is not None for part in parts)):
        grid = None  # fine-tuned in other company
    bits = plan.bits
    if bits is None and grid is not None and plan.holds(grid.bits):
        bits = grid.bits
    elif bits is None and plan.target is not None:
        bits = plan.target.default_weight_bits
    if bits is None:
        return
    weights = [part.layer.weight.detach().double() for part in parts]
    if grid is not None and grid.bits == bits and plan.scale in (None, grid.scale):  # on this very grid already
        step = grid.step
        codes = [torch.round(weight / step) for weight in weights]
    else:
        # Integers have any step that the target has; sums of real numbers are exact with a power of two.
        default = plan.target.weight_scale if plan.target is not None and plan.integers else "power_of_two"
        together, step = quantize(torch.cat([weight.flatten() for weight in weights]), bits, plan.scale or default)
        codes = [q.view_as(w) for q, w in zip(together.split([w.numel() for w in weights]), weights)]
    for part, weight, code in zip(parts, weights, codes):
        part.report = replace(
            part.report,
            weight_bits=bits,
            weight_step=step,
            max_weight_error=float(((code * step).to(part.layer.weight.dtype).double() - weight).abs().max()),
            weights_zeroed=int(((code == 0) & (weight != 0)).sum()),
        )
        with torch.no_grad():
            part.layer.weight.copy_(code if plan.integers else code * step)


def discrete_synapse(
    name: str, layer: DelayedLinear | DelayedConv2d, norm: BatchNorm | None, plan: Plan, *, least: int = 0
) -> Part:
    """A synapse with integer delays and the norm after it folded in; its weights are still what they were.

    ``least``: the shortest delay that it may have, however short the longest is to be: 1 for recurrent ones.

    Raises ExportError for numbers that are not finite, and for delays beyond the limit unless they may be clamped.
    """
    check_finite(name, layer)
    weight, delay = layer.weight.detach(), layer.effective_delay().detach()
    bias: Tensor | None = None if layer.bias is None else layer.bias.detach()
    if norm is not None:
        scale, shift = (part.detach() for part in norm.scale_and_shift())
        if not bool(torch.isfinite(scale).all() and torch.isfinite(shift).all()):
            raise ExportError(f"the norm after {name} has values that are not finite; training diverged")
        weight = weight * scale.view(-1, *[1] * (weight.ndim - 1))
        bias = shift if bias is None else shift + scale * bias
    rounded = round_delays(delay)
    inside = rounded.clamp(layer.min_delay_steps, layer.max_delay_steps)
    longest = layer.max_delay_steps if plan.limit is None else min(layer.max_delay_steps, max(plan.limit, least))
    over = int(((inside > longest) & (weight != 0)).sum())
    if over and not plan.clamp:
        what = f"target {plan.target.name}" if plan.target is not None else "max_delay_steps"
        raise ExportError(
            f"{name}: {over:,} of {weight.numel():,} synapses have delays above {longest} steps (longest "
            f"{int(inside.max())}), which {what} does not allow; train with a shorter max_delay_ms, or have them "
            "clamped: --clamp, clamp=True"
        )
    sharing, delays = layer.sharing, inside.clamp(max=longest)
    if sharing == "layer":  # what chips and formats know as axons that are all alike
        sharing, delays = "axon", delays.expand(1, weight.shape[1], -1)
    sharing = "synapse" if sharing == "hybrid" else sharing  # the rounded sum
    options: dict[str, Any] = {
        "min_delay_steps": min(layer.min_delay_steps, longest), "max_delay_steps": longest, "sharing": sharing,
        "weight": weight, "delay": delays, "bias": bias,
    }  # fmt: skip
    discrete: DelayedLinear | DelayedConv2d
    if isinstance(layer, DelayedConv2d):
        options |= {"stride": layer.stride, "padding": layer.padding}
        discrete = fixed_delays(DelayedConv2d, layer.in_channels, layer.out_channels, layer.kernel_size, **options)
    else:
        options["delay_count"] = layer.delay_count
        discrete = fixed_delays(DelayedLinear, layer.in_features, layer.out_features, **options)
    moved = (delay - rounded).abs()
    report = LayerReport(
        name=name,
        synapses=weight.numel(),
        delays_rounded=int((moved > 0).sum()),
        mean_rounding_steps=float(moved.mean()),
        max_rounding_steps=float(moved.max()),
        delays_clamped=int((inside != rounded).sum()),
        taps=layer.taps,
        sigma_steps=float(layer.sigma),
        norm_folded=norm is not None,
        delays_over_limit=over,
        limit_steps=longest if over else None,
    )
    return Part(discrete, report, grid_of(layer) if norm is None else None)
