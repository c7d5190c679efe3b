"""Delays that all weights of an input map, or of an output map, share: a convolution in space and one along time.

A delay for each input channel (axon) is applied to the maps before they are convolved, one for each output channel
(dendrite) to what the convolution gives. Along time each channel is multiplied with the band matrix of its taps, which
is several times quicker than a depthwise convolution.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.delay.dynamic_range import set_apart
from snn_delays.ops.delay.signal import with_past
from snn_delays.ops.delay.taps import tap_weights

LEAST_BLOCK = 32  # steps that one product computes, unless the window is longer


def refuses(delay: Tensor, max_delay_steps: int, **_: Any) -> str | None:
    """Serves delays shared along the kernel and along input or output channels, and layers without delays."""
    if max_delay_steps and (1 not in delay.shape[:2] or tuple(delay.shape[2:]) != (1, 1)):
        return f"it needs a delay per input or per output channel; delays of shape {tuple(delay.shape)} are not shared"
    return None


def run(
    x: Tensor, history: Tensor | None, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
    taps: str, stride: tuple[int, int], padding: tuple[int, int],
) -> Tensor:  # fmt: skip
    """See :func:`snn_delays.ops.delay_conv.delayed_conv2d`."""
    spread = tap_weights(delay, sigma, max_delay_steps, taps)  # [tap, out or 1, in or 1, 1, 1]

    def convolved(maps: Tensor, filters: Tensor) -> Tensor:
        rows = F.conv2d(maps.flatten(0, 1), filters.to(maps.dtype), stride=stride, padding=padding)
        return rows.view(*maps.shape[:2], *rows.shape[1:])

    if max_delay_steps == 0:
        return convolved(x, spread[0] * weight)
    signal, past = with_past(x, history)
    per_channel = spread.flatten(1).to(x.dtype)
    if delay.shape[0] == 1:
        return convolved(_along_time(signal, past, per_channel.expand(-1, x.shape[2])), weight)
    return _along_time(convolved(signal, weight), past, per_channel)


def _along_time(signal: Tensor, past: int, spread: Tensor) -> Tensor:
    """``y[t,b,c] = sum_k spread[k,c] signal[past + t - k,b,c]``, silent before; ``[time, batch, channel, y, x]``."""
    window, steps = spread.shape[0], signal.shape[0] - past
    signal, bad = set_apart(signal, past, window)  # zero times NaN would reach the steps before it
    by_channel = signal.flatten(3).permute(1, 2, 0, 3)  # [batch, channel, time, position]
    size = max(LEAST_BLOCK, window)
    blocks = []
    for begin in range(past, past + steps, size):
        end, first = min(begin + size, past + steps), max(0, begin - window + 1)
        now = torch.arange(begin, end, device=signal.device)
        lag = now.unsqueeze(1) - torch.arange(first, end, device=signal.device)
        band = spread[lag.clamp(0, window - 1)].permute(2, 0, 1) * ((lag >= 0) & (lag < window))
        blocks.append(band @ by_channel[:, :, first:end])
    current = torch.cat(blocks, 2).permute(2, 0, 1, 3).unflatten(3, signal.shape[3:])
    return current if bad is None else current + bad
