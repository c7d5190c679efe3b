"""Depthwise filters as torch's convolution with a group per neuron."""

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.depthwise import reference


def run(x: Tensor, kernel: Tensor, history: Tensor) -> Tensor:
    """See :func:`snn_delays.ops.depthwise.depthwise`."""
    lags, mixes, neurons = kernel.shape
    # torch convolves nothing empty, and one group is no depthwise convolution: a GPU would take it in TF32.
    if neurons == 1 or not x.numel() or not mixes:
        return reference.run(x, kernel, history)
    line = torch.cat([history.permute(1, 2, 0), x.permute(1, 2, 0)], dim=2)  # contiguous, as the convolution wants it
    weight = kernel.flip(0).permute(2, 1, 0).reshape(neurons * mixes, 1, lags)  # its filters begin with the oldest lag
    with torch.autocast(x.device.type, enabled=False):
        y = F.conv1d(line, weight, groups=neurons)
    return y.unflatten(1, (neurons, mixes)).permute(2, 3, 0, 1)
