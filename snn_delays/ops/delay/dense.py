"""The delay layer as one dense convolution along time.

The convolution is two-dimensional with a height of one and channels last: the layout in which the CPU library reads
``[batch, time, feature]`` as it lies, a good deal faster than ``conv1d``, and which cuDNN likes too.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.delay.signal import joined
from snn_delays.ops.delay.taps import delay_kernel


def run(x: Tensor, history: Tensor | None, **synapses: Any) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    longest = synapses["max_delay_steps"]
    extended, kernel = joined(x, history, longest), delay_kernel(**synapses)
    if longest == 0:
        return F.linear(extended, kernel[0])
    if extended.shape[0] == longest:
        return extended.new_zeros(0, extended.shape[1], kernel.shape[1])
    # The convolution slides the kernel forward in time, so the longest delay comes first.
    # [out, tap, in]: channels last in memory. A clone, since contiguous() keeps odd strides of a lone output neuron,
    # on which the float64 convolution's backward pass stumbles.
    filters = kernel.flip(0).permute(1, 0, 2).clone(memory_format=torch.contiguous_format)
    signal = extended.transpose(0, 1).contiguous()  # [batch, time, in]
    current = F.conv2d(signal.unsqueeze(1).permute(0, 3, 1, 2), filters.unsqueeze(1).permute(0, 3, 1, 2))
    return current.squeeze(2).permute(2, 0, 1)
