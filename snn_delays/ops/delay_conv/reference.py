"""The delayed convolution as its definition: one dense convolution over time, y and x with the kernel of all taps."""

import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.delay.signal import joined
from snn_delays.ops.delay.taps import tap_weights


def run(
    x: Tensor, history: Tensor | None, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
    taps: str, stride: tuple[int, int], padding: tuple[int, int],
) -> Tensor:  # fmt: skip
    """See :func:`snn_delays.ops.delay_conv.delayed_conv2d`."""
    kernel = tap_weights(delay, sigma, max_delay_steps, taps) * weight  # [tap, out, in, ky, kx]
    # The convolution slides the kernel forward in time, so the longest delay comes first.
    current = F.conv3d(
        joined(x, history, max_delay_steps).permute(1, 2, 0, 3, 4),
        kernel.flip(0).permute(1, 2, 0, 3, 4).to(x.dtype),
        stride=(1, *stride),
        padding=(0, *padding),
    )
    return current.permute(2, 0, 1, 3, 4)
