"""A network in continuous time whose gradients are exact."""

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.arguments import choice, integer, real
from snn_delays.errors import ConfigError
from snn_delays.ops.eventprop import EventPropOutput, eventprop


class EventPropNetwork(nn.Module):
    r"""Layers of current-based LIF neurons, and readouts, in continuous time, by :func:`snn_delays.ops.eventprop`.

    It takes times of spikes, not steps, so it is no layer for :class:`snn_delays.Sequential`; float64, on the CPU.

    Args:
        sizes: channels, neurons of each layer, readouts.
        recurrent: whether each layer of neurons is wired to itself, too.
        delays: ``"learned"``; ``"fixed"``, drawn and kept; ``"none"``, all 0.
        max_delay_ms: delays are drawn uniformly from 0 to this and kept there by :meth:`clamp_delays_`.
        tau_mem_ms, tau_syn_ms, end_ms, max_spikes: as of :func:`snn_delays.ops.eventprop`.
        threshold: of all neurons.
        gain: how strongly a layer is driven at first. Weights have the mean :math:`g \theta / (p n)` and the deviation
            :math:`g \theta / (p \sqrt n)`, with n sources and p the highest membrane that one spike makes through a
            weight of 1; recurrent ones and those of readouts, whose threshold counts as 1, have mean 0.

    Parameters, each ``[synapse]``: ``weight``, and ``delay_ms``. Buffers ``pre`` and ``post`` say what a synapse joins.

        optimiser = torch.optim.Adam([{"params": [net.weight]}, {"params": [net.delay_ms], "lr": 0.1}], lr=0.01)
        optimiser.register_step_post_hook(lambda *_: net.clamp_delays_())

    Raises ConfigError for numbers that cannot be.
    """

    pre: Tensor
    post: Tensor
    threshold: Tensor

    def __init__(
        self,
        sizes: Sequence[int],
        *,
        end_ms: float,
        recurrent: bool = False,
        delays: str = "learned",
        max_delay_ms: float = 10.0,
        tau_mem_ms: float = 20.0,
        tau_syn_ms: float = 5.0,
        threshold: float = 1.0,
        gain: float = 1.0,
        max_spikes: int = 10_000,
    ) -> None:
        super().__init__()
        self.sizes = [integer("sizes", size, 1) for size in sizes]
        if len(self.sizes) < 2:
            raise ConfigError(f"sizes are channels, neurons of each layer, readouts; got {self.sizes}")
        self.delays = choice("delays", delays, ("learned", "fixed", "none"))
        self.max_delay_ms = real("max_delay_ms", max_delay_ms, least=0)
        self.constants: dict[str, Any] = {
            "tau_mem_ms": real("tau_mem_ms", tau_mem_ms, above=0), "end_ms": end_ms,
            "tau_syn_ms": real("tau_syn_ms", tau_syn_ms, above=0), "max_spikes": max_spikes,
        }  # fmt: skip
        theta, gain = real("threshold", threshold, above=0), real("gain", gain, above=0)
        ratio = tau_mem_ms / tau_syn_ms
        top = ratio ** (1 / (1 - ratio)) / ratio if ratio != 1 else math.exp(-1)
        first, joins, weights = 0, [], []
        for k, (before, size) in enumerate(pairwise(self.sizes)):
            last = k == len(self.sizes) - 2
            sources = [(first, before, 0.0 if last else 1.0)]
            if recurrent and not last:
                sources.append((first + before, size, 0.0))
            for start, many, mean in sources:
                target = torch.arange(size) + first + before - self.sizes[0]
                joins.append(torch.cartesian_prod(torch.arange(many) + start, target))
                scale = gain * (1.0 if last else theta) / (top * many)
                weights.append(scale * (mean + math.sqrt(many) * torch.randn(many * size, dtype=torch.float64)))
            first += before
        pre, post = torch.cat(joins).T.contiguous()
        self.register_buffer("pre", pre)
        self.register_buffer("post", post)
        limit = torch.full((sum(self.sizes[1:]),), theta, dtype=torch.float64)
        limit[-self.sizes[-1] :] = math.inf
        self.register_buffer("threshold", limit)
        self.weight = nn.Parameter(torch.cat(weights))
        drawn = torch.rand(len(pre), dtype=torch.float64) * (0.0 if delays == "none" else self.max_delay_ms)
        self.delay_ms = nn.Parameter(drawn, requires_grad=delays == "learned")

    @torch.no_grad()
    def clamp_delays_(self) -> None:
        """Keep delays in ``0..max_delay_ms``; to be called after every optimiser step."""
        self.delay_ms.clamp_(0.0, self.max_delay_ms)

    def forward(self, times_ms: Tensor) -> EventPropOutput:
        """Times of spikes, ``[sample, channel, nth]``, infinite where there is none, to what the network does."""
        return eventprop(times_ms, self.weight, self.delay_ms, self.pre, self.post, self.threshold, **self.constants)
