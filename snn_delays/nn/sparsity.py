"""Delay sparsity: only some delays of a layer act, all others are the shortest one."""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.arguments import real

MASKS = ("fixed", "learned")


def cubic_sparsity(end: float, done: float, start: float = 0.0) -> float:
    r"""Share of inactive delays when a share ``done`` of the schedule is done.

    .. math:: S_t = S_f - (S_f - S_i)\,(1 - t / t_f)^3

    Source: Zhu & Gupta, arXiv 1710.01878, as Bouhadjar & Neftci, arXiv 2602.09746, use it.
    """
    return end - (end - start) * (1 - min(max(done, 0.0), 1.0)) ** 3


def sparsity_problems(spec: Any, learned: bool) -> Iterator[str]:
    """What is wrong with ``delay_sparsity`` and ``delay_mask`` of a spec or a recipe's section, a sentence each."""
    sparsity = real("delay_sparsity", spec.delay_sparsity, least=0)
    if sparsity >= 1:
        yield f"delay_sparsity is the share of delays that are inactive, below 1; got {sparsity:g}"
    if sparsity and spec.sharing in ("layer", "hybrid"):
        yield f"delay_sparsity needs delays of synapses, channels, axons or dendrites, not sharing = {spec.sharing!r}"
    if spec.delay_mask == "learned" and not (sparsity and learned):
        yield "delay_mask = 'learned' needs delays that are learned, and delay_sparsity above 0"


class DelayMask(nn.Module):
    r"""Which delays of a layer act. A fixed mask is drawn once; a learned one is the top k of scores that are learned.

    .. math:: d' = d_{min} + m\,(d - d_{min}), \quad m = \text{top-k}(s) + (p - \text{stopgrad}(p)), \quad
        p = \mathrm{sigmoid}(s)

    Args:
        shape: that of the delays.
        sparsity: share of them that is inactive; ``round((1 - sparsity) N)`` of N act.
        learned: whether the scores are parameters, by the straight-through estimator of the equation.

    Attributes:
        active: buffer, bool, shaped as the delays; saved with the network.
        count: buffer, how many act.
        scores: parameter, N(0, 1) at first; None of a fixed mask.
    """

    active: Tensor
    count: Tensor
    scores: nn.Parameter | None

    def __init__(self, shape: Iterable[int], sparsity: float, learned: bool, **factory: Any) -> None:
        super().__init__()
        self.sparsity = sparsity
        self.register_parameter("scores", nn.Parameter(torch.empty(*shape, **factory)) if learned else None)
        device = factory.get("device")
        self.register_buffer("active", torch.ones(*shape, dtype=torch.bool, device=device))
        self.register_buffer("count", torch.tensor(0, device=device))

    @torch.no_grad()
    def reset(self) -> None:
        """Draw the scores, and with them the mask, from torch's global generator."""
        scores = torch.randn(self.active.shape, device=self.active.device)
        if self.scores is not None:
            self.scores.copy_(scores)
        self.set_sparsity(self.sparsity, scores)

    @torch.no_grad()
    def set_sparsity(self, sparsity: float, scores: Tensor | None = None) -> None:
        """Have this share of the delays inactive, those of the lowest scores."""
        self.count.fill_(round((1 - sparsity) * self.active.numel()))
        self.update(scores)

    @torch.no_grad()
    def update(self, scores: Tensor | None = None) -> None:
        """Choose the delays that act by the scores as they are now; a fixed mask stays."""
        by = self.scores if scores is None else scores
        if by is not None:
            rank = by.flatten().argsort(descending=True, stable=True).argsort()
            self.active.copy_((rank < self.count).view_as(self.active))

    def applied(self, delay: Tensor, shortest: int) -> Tensor:
        """Delays as they act: the shortest where the mask is off. Differentiable in delays that act, and scores."""
        delays = delay.masked_fill(~self.active, shortest)
        if self.scores is None or not self.scores.requires_grad:
            return delays
        p = self.scores.sigmoid()
        return delays + (p - p.detach()) * (delay.detach() - shortest)  # adds 0, and passes a gradient on
