r"""Penalties beside the loss, of delays and of firing rates; a weight of 0 leaves the loss as it is.

.. math::
    L + \lambda_d \frac{1}{D} \sum_{k} d_k + \frac{\lambda_s}{2} \sum_n
    \left[ \max(0, r_{min} - r_n) + \max(0, r_n - r_{max}) \right]

``d_k``: the D learned delays as they act, in steps; ``r_n``: spikes of a neuron in a step, the mean over the batch and
its samples' own steps, for all neurons that fire. ``delay_penalty`` is per step, ``spike_penalty`` per spike and step.

Source: the firing rates' after Bouhadjar & Neftci, arXiv 2602.09746.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.nn import DelayedLayer, Neuron, Recurrent, layers_with_delays


@contextmanager
def penalised(training: Any, network: nn.Module, valid: Tensor | None = None) -> Iterator[Callable[[Tensor], Tensor]]:
    """Run the network within: what is given adds the penalties of a recipe's training section to a loss.

    ``valid``: bool ``[time, batch]``, the steps that belong to a sample; None: all.
    """
    spikes: list[Tensor] = []
    hooks = []
    if training.spike_penalty:
        inner = {
            part for module in network.modules() if isinstance(module, Recurrent) for part in module.neuron.modules()
        }
        neurons = [m for m in network.modules() if isinstance(m, Neuron) and m.fires and m not in inner]
        hooks = [neuron.register_forward_hook(lambda _, args, output: spikes.append(output[0])) for neuron in neurons]
    try:
        yield partial(_with_penalties, training, network, spikes, valid)
    finally:
        for hook in hooks:
            hook.remove()


def _with_penalties(
    training: Any, network: nn.Module, spikes: list[Tensor], valid: Tensor | None, loss: Tensor
) -> Tensor:
    if training.delay_penalty:
        loss = loss + training.delay_penalty * mean_delay(network)
    if training.spike_penalty:
        loss = loss + training.spike_penalty * sum(out_of_bounds(each, valid, *training.rate_bounds) for each in spikes)
    return loss


def mean_delay(network: nn.Module) -> Tensor:
    """Mean of the learned delays as they act, in steps."""
    layers = layers_with_delays(network, DelayedLayer).values()
    return torch.cat([layer.effective_delay().flatten() for layer in layers if layer.delay.requires_grad]).mean()


def out_of_bounds(spikes: Tensor, valid: Tensor | None, least: float, most: float) -> Tensor:
    """Half the sum over neurons of how far their rates lie outside ``least..most`` spikes a step."""
    every = spikes.flatten(2)
    if valid is None:
        rate = every.mean((0, 1))
    else:
        rate = (every * valid.unsqueeze(-1)).sum((0, 1)) / valid.sum()
    return 0.5 * (torch.relu(least - rate) + torch.relu(rate - most)).sum()
