"""DCLS: its convolution over time as our layer with delays."""

from typing import Any

import torch

from snn_delays.arguments import shown
from snn_delays.errors import ConfigError
from snn_delays.nn import DelayedLinear

# Our taps for its version, and what it adds to |SIG|; None where it has no width.
TAPS = {
    "gauss": ("gaussian", 0.27),
    "max": ("triangle", 0.0),
    "v1": ("linear_normalized", None),
    "v0": ("linear", None),
}


def from_dcls(layer: Any) -> DelayedLinear:
    r"""A ``Dcls1d`` over time as a layer with delays; parameters are copied.

    .. math:: d = K - 1 - (P + \lfloor K / 2 \rfloor) \qquad \sigma = |SIG| + 0.27 \text{ (gauss)}

    ``K`` is ``dilated_kernel_size``. It computes on ``[time, batch, in]`` what the convolution computes on
    ``[batch, in, time]`` with ``K - 1`` zeros in front: as many steps out as in.

    Raises ConfigError for padding, stride or groups of its own, positions outside its window, where DCLS loses weight,
    and a ``SIG`` that is not the same for all synapses.

    Source: Khalfaoui-Hassani et al., ICLR 2023; ``Dcls1d`` of the package dcls 0.1.1.
    """
    from DCLS.construct.modules import Dcls1d

    if type(layer) is not Dcls1d or layer.version not in TAPS:
        raise ConfigError(f"from_dcls takes a Dcls1d of version {', '.join(TAPS)}; got {shown(layer)}")
    for name, want in (("stride", (1,)), ("padding", (0,)), ("groups", 1), ("padding_mode", "zeros")):
        if (got := getattr(layer, name)) != want:
            raise ConfigError(f"Dcls1d with {name}={got} is no synapse with delays: expected {want}")
    taps, offset = TAPS[layer.version]
    (window,) = layer.dilated_kernel_size
    delay = window - 1 - (layer.P.detach()[0] + window // 2)
    if not 0 <= float(delay.min()) <= float(delay.max()) <= window - 1:
        raise ConfigError("Dcls1d has positions outside its window, where it loses weight: layer.clamp_parameters()")
    sigma = None
    if offset is not None:
        if len(widths := layer.SIG.detach().abs().unique()) > 1:
            raise ConfigError("Dcls1d has a SIG for each synapse; here one width serves the layer: make them equal")
        sigma = float(widths) + offset
    new = DelayedLinear(
        layer.in_channels, layer.out_channels, max_delay_steps=window - 1, delay_count=layer.kernel_count, taps=taps,
        bias=layer.bias is not None, device=layer.weight.device, dtype=layer.weight.dtype,
    )  # fmt: skip
    with torch.no_grad():
        new.weight.copy_(layer.weight)
        new.delay.copy_(delay)
        if sigma is not None:  # of a network of integer delays, 0
            new.sigma.fill_(sigma)
        if layer.bias is not None and new.bias is not None:
            new.bias.copy_(layer.bias)
    return new.train(layer.training)
