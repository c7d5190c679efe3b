"""How the matrices of a SpikeGPT begin."""

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from snn_delays.errors import ConfigError
from snn_delays.nn.rwkv import SpikingChannelMix, SpikingTimeMix

if TYPE_CHECKING:
    from snn_delays.models.spikegpt import SpikeGPT

INITS = ("published", "replicated", "torch")


@torch.no_grad()
def initialise(network: "SpikeGPT", init: str) -> None:
    """Draw embedding and matrices anew from torch's global generator; mixtures, decays and norms are left alone.

    ``init``:
        ``"published"``: the special one that SpikeGPT's code takes over from RWKV. Keys, receptances and outputs are
        zero, values orthogonal; the embedding is almost zero, so its spikes are quick to change; the head is orthogonal
        and halved. The training script published with the code does not switch it on.
        ``"replicated"``: normal with deviation 0.01, the embedding 0.001, as an independent replication has it.
        ``"torch"``: PyTorch's own, which is what that training script comes to: an embedding of unit deviation whose
        spikes hardly ever change.

    Raises ConfigError for another name.
    """
    if init not in INITS:
        raise ConfigError(f"init must be one of {', '.join(INITS)}; got {init!r}")
    if init == "torch":
        nn.init.normal_(network.embedding.weight)
        for module in network.modules():
            if isinstance(module, nn.Linear):
                module.reset_parameters()
    if init == "replicated":
        nn.init.normal_(network.embedding.weight, std=0.001)
        for module in network.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
    if init != "published":
        return
    tokens, features = network.embedding.weight.shape
    nn.init.orthogonal_(network.embedding.weight, gain=1e-4 * math.sqrt(max(tokens, features)))
    nn.init.orthogonal_(network.head.weight, gain=0.5 * math.sqrt(max(tokens / features, 1)))
    for module in network.modules():
        if isinstance(module, SpikingTimeMix):
            nn.init.orthogonal_(module.value.weight)
            for matrix in (module.key, module.receptance, module.output):
                nn.init.zeros_(matrix.weight)
        elif isinstance(module, SpikingChannelMix):
            nn.init.orthogonal_(module.key.weight, gain=2.0)
            for matrix in (module.receptance, module.value):
                nn.init.zeros_(matrix.weight)
