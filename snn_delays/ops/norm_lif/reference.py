"""Norm, neurons and mask one after the other; the neurons by whatever backend of ``lif`` serves."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.lif import lif


def run(
    current: Tensor, gamma: Tensor, beta: Tensor, v0: Tensor, valid: Tensor | None, mask: Tensor | None, eps: float,
    soft_reset: bool, **options: Any,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:  # fmt: skip
    """See :func:`snn_delays.ops.norm_lif.norm_lif`."""
    counted = torch.ones_like(current[..., :1]) if valid is None else valid.unsqueeze(-1).to(current)
    count = counted.sum()
    real = current if valid is None else torch.where(valid.unsqueeze(-1), current, 0)  # padding may hold anything
    mean = real.sum((0, 1)) / count
    centred = (real - mean) * counted
    variance = (centred**2).sum((0, 1)) / count
    y = centred * (torch.rsqrt(variance + eps) * gamma) + beta
    y = y if valid is None else torch.where(valid.unsqueeze(-1), y, 0)
    spikes, v = lif(y, v0, reset="soft" if soft_reset else "hard", **options)
    return (spikes if mask is None else spikes * mask), v, mean.detach(), variance.detach()
