"""Depthwise filters in plain torch, one lag at a time."""

from typing import Any

import torch
from torch import Tensor


def refuses(**call: Any) -> None:
    """Serves everything."""


def run(x: Tensor, kernel: Tensor, history: Tensor) -> Tensor:
    """See :func:`snn_delays.ops.depthwise.depthwise`."""
    lags, mixes, neurons = kernel.shape
    line = torch.cat([history, x])
    y = x.new_zeros(mixes, *x.shape)
    for lag in range(lags):
        behind = line[lags - 1 - lag : len(line) - lag]
        y = y + kernel[lag].view(mixes, 1, 1, neurons) * behind
    return y
