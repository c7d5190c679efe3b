"""The forms of a trained network that differ in how its delays act: as trained, between two steps, rounded."""

import copy
from typing import Any, cast

import torch
from torch import nn

from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ExportError
from snn_delays.nn import Sequential
from snn_delays.nn.optimise import layers_with_delays
from snn_delays.units import round_delays


def with_integer_delays(network: nn.Module) -> Any:
    """The form that is evaluated: discretised, or where a network is no chain of layers, a copy with rounded delays."""
    try:
        return discretize(cast(Sequential, network))
    except ExportError:
        rounded = with_fractional_delays(network)
        for layer in layers_with_delays(rounded).values():
            layer.delay.copy_(round_delays(layer.delay))
        return rounded


def with_fractional_delays(network: nn.Module) -> Any:
    """A copy in which every delay acts as it was learned, between the two steps beside it: sigma is 0."""
    copied = copy.deepcopy(network).eval().requires_grad_(False)
    for layer in layers_with_delays(copied).values():
        layer.taps, layer.delay_rounding = "linear", "anneal"
    return copied


@torch.no_grad()
def rounding_facts(network: nn.Module) -> dict[str, Any]:
    """Entries of an evaluation: ``mean_rounding_steps``, the mean of ``|d - round(d)|`` over the learned delays."""
    learned = [each.effective_delay() for each in layers_with_delays(network).values() if each.delay.requires_grad]
    if not learned:
        return {"delay_rounding": "", "mean_rounding_steps": None}
    moved = torch.cat([(delay - round_delays(delay)).abs().flatten() for delay in learned])
    layers = layers_with_delays(network).values()
    used = sorted({layer.delay_rounding for layer in layers if layer.delay.requires_grad})
    return {"delay_rounding": " ".join(used), "mean_rounding_steps": float(moved.mean())}
