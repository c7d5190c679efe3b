"""Depthwise filters in plain torch, one step at a time."""

import torch
from torch import Tensor


def run(x: Tensor, kernel: Tensor, history: Tensor) -> Tensor:
    """See :func:`snn_delays.ops.depthwise.depthwise`."""
    lags = len(kernel)
    line = torch.cat([history, x]).unsqueeze(1)
    oldest_first = kernel.flip(0).unsqueeze(2)
    steps = [(oldest_first * line[t : t + lags]).sum(0) for t in range(len(x))]
    return torch.stack(steps, 1) if steps else kernel[0, :, None, None] * x
