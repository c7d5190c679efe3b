"""Layers that are quicker together: batch norm in training, the neurons behind it, and their dropout."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from snn_delays.nn.door import FLAT, admit, check_stateless
from snn_delays.nn.dropout import Dropout
from snn_delays.nn.hooks import has_hooks
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.neuron import LIF
from snn_delays.nn.norm import BatchNorm


def run_together(
    layers: Sequence[SpikingModule], states: Sequence[Any], x: Tensor, valid: Tensor | None
) -> tuple[Tensor, list[Any]] | None:
    """Output and states of as many of the first layers as can run as one, or None if they cannot.

    Layers with hooks run on their own, so that the hooks see what they expect.
    """
    if len(layers) < 2 or type(layers[0]) is not BatchNorm or type(layers[1]) is not LIF or x.ndim != 3:
        return None
    norm, neuron, *rest = layers
    dropout = rest[0] if rest and type(rest[0]) is Dropout else None
    group = [norm, neuron] if dropout is None else [norm, neuron, dropout]
    if not norm.training or any(has_hooks(layer) for layer in group):
        return None
    assert isinstance(norm, BatchNorm)
    assert isinstance(neuron, LIF)
    check_stateless(norm, states[0])
    x = admit(norm, x, FLAT, valid, norm.weight)
    kept = None if dropout is None else dropout.mask_for(x, states[2])
    spikes, state = norm.spikes(x, neuron, states[1], valid, None if kept is None else kept.mask)
    return spikes, [None, state] if dropout is None else [None, state, kept]
