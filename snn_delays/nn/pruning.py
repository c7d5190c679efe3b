"""Which delays of a trained network matter least, and the network without them."""

import copy
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.arguments import real
from snn_delays.errors import ConfigError
from snn_delays.nn.delayed import DelayedLayer
from snn_delays.nn.optimise import layers_with_delays
from snn_delays.nn.sparsity import DelayMask


def delay_sensitivity(network: nn.Module, losses: Iterable[Tensor]) -> dict[str, Tensor]:
    r"""How much the loss would change, to first order, if a delay became its layer's shortest; by layer.

    .. math:: s = \sum_{batches} \left| \frac{\partial L}{\partial d}\,(d - d_{min}) \right|

    Args:
        network: trained; its delays are learned.
        losses: the network's loss on batches, computed one by one, as by a generator.

    Returns tensors shaped as the delays, without gradients. Raises ConfigError for a network that learns no delays.

    Source: the Taylor criterion of Molchanov et al., ICLR 2017, applied to delays.
    """
    layers = {
        name: layer for name, layer in layers_with_delays(network, DelayedLayer).items() if layer.delay.requires_grad
    }
    if not layers:
        raise ConfigError(f"{type(network).__name__} learns no delays, so the loss has no gradient in them")
    delays = [layer.delay for layer in layers.values()]
    found = [torch.zeros_like(delay) for delay in delays]
    for loss in losses:
        for total, layer, gradient in zip(found, layers.values(), torch.autograd.grad(loss, delays)):
            total += (gradient * (layer.delay.detach() - layer.min_delay_steps)).abs()
    return dict(zip(layers, found))


@torch.no_grad()
def prune_delays(network: nn.Module, sensitivity: dict[str, Tensor], sparsity: float) -> Any:
    """A copy whose delays of least sensitivity, this share of each layer's, are the layer's shortest.

    Trained on, they would learn again: prune last, before :func:`snn_delays.discrete.discretize`. Layers that are not
    in ``sensitivity`` stay as they are. Raises ConfigError for a share outside 0 to 1.
    """
    share = real("sparsity", sparsity, least=0)
    if share > 1:
        raise ConfigError(f"sparsity is a share, 0 to 1; got {sparsity}")
    pruned = copy.deepcopy(network)
    for name, layer in layers_with_delays(pruned, DelayedLayer).items():
        if name in sensitivity:
            mask = DelayMask(layer.delay.shape, share, learned=False, device=layer.delay.device)
            mask.set_sparsity(share, sensitivity[name])
            layer.delay.copy_(mask.applied(layer.delay, layer.min_delay_steps))
    return pruned
