"""The networks of the language models' cases, and their text."""

from typing import Any

import torch
from torch import Tensor, nn

from experiments.benchmarks.gpt_softmax import SoftmaxGPT
from experiments.benchmarks.sizes import LanguageSizes
from snn_delays.models import SpikeGPT
from snn_delays.models.spikegpt import delay_shifts

GAIN = 2.0  # of every matrix: at it, a tenth to a quarter of the neurons fire
DELAYS: dict[str, Any] = {"kind": "learned", "max_delay_steps": 32, "points": 2}
DELAYED_WEIGHT = 0.2  # deviation of the weights of delayed inputs, which begin at zero


def language_network(sizes: LanguageSizes, delays: bool = False, narrow: bool = False) -> SpikeGPT:
    """SpikeGPT with token shift, or with :class:`DelayShift`; neurons after, always with the same parameters.

    Matrices are drawn wider than networks begin with, under which no neuron fires. ``narrow``: at the size of the
    checks in float64.
    """
    torch.manual_seed(0)
    features, layers = (sizes.check_features, sizes.check_layers) if narrow else (sizes.features, sizes.layers)
    network = SpikeGPT(sizes.tokens, features, layers, shift=DELAYS if delays else None, init="torch")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.weight.normal_(0, GAIN / module.in_features**0.5, generator=generator)
        for shift in delay_shifts(network).values():
            assert shift.weight is not None
            shift.weight.normal_(0, DELAYED_WEIGHT, generator=generator)
    return network


def softmax_network(sizes: LanguageSizes, positions: int, narrow: bool = False) -> SoftmaxGPT:
    """The GPT without spikes of the same width and depth, with room for so many positions."""
    torch.manual_seed(0)
    features, layers = (sizes.check_features, sizes.check_layers) if narrow else (sizes.features, sizes.layers)
    return SoftmaxGPT(sizes.tokens, features, layers, sizes.heads, positions)


def text(sizes: LanguageSizes, context: int, batch: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random tokens ``[time, batch]``, and those that follow each."""
    drawn = torch.randint(sizes.tokens, (context + 1, batch), generator=torch.Generator().manual_seed(0)).to(device)
    return drawn[:-1], drawn[1:]


def parameters(network: nn.Module) -> int:
    """How many numbers a network learns."""
    return sum(p.numel() for p in network.parameters())
