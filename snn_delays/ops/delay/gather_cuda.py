"""The host's side that both GPU gathers share: which calls they serve, and how signals are laid out for them.

On a GPU a warp is 32 items of the batch, so signals are turned to ``[neuron, step, batch]`` and back.
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.backends import without_reading
from snn_delays.ops.checks import HALF
from snn_delays.ops.cuda.support import Trial
from snn_delays.ops.delay.gather import GatherKernels
from snn_delays.ops.delay.signal import with_past
from snn_delays.ops.delay.taps import few_taps, tap_count

# A gather does M multiply-adds a synapse on the plain cores. Past this the taps overlap so much that a dense
# convolution on the matrix cores, eight times as fast a multiply-add or more, is the better choice at common windows.
MAX_TAPS = 32
LANES = 32


def refuses(
    x: Tensor, history: Tensor | None, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
    taps: str, kernels_refuse: Callable[[dict[str, Tensor]], str | None],
) -> str | None:  # fmt: skip
    """Sentence where the kernels refuse, or the taps are too many or cannot be counted."""
    tensors = {"weight": weight, "delay": delay}
    del history  # joins the input, so it is where the input is
    if x.dtype not in HALF:
        tensors = {"input": x, **tensors}
    elif x.device != weight.device:
        return f"the input is on {x.device}, the weight on {weight.device}"
    if reason := kernels_refuse(tensors):
        return reason
    if without_reading(weight.device) and (sigma is not None or not delay.requires_grad):
        return "the number of taps is read back from the device, which cannot be captured in a CUDA graph"
    count = tap_count(delay, sigma, max_delay_steps, taps)
    return f"it serves up to {MAX_TAPS} taps and these delays have {count}" if count > MAX_TAPS else None


class GatherOnCuda(GatherKernels):
    """Serves float32 and float64, up to ``MAX_TAPS`` taps a synapse."""

    def __init__(self, kernels_refuse: Callable[[dict[str, Tensor], Trial], str | None]) -> None:
        self._kernels_refuse = kernels_refuse

    def refuses(self, **call: Any) -> str | None:
        """See :func:`refuses`."""
        return refuses(**call, kernels_refuse=lambda tensors: self._kernels_refuse(tensors, self._trial))

    def run(self, x: Tensor, history: Tensor | None, **synapses: Any) -> Tensor:
        """See :func:`snn_delays.ops.delay.delayed_linear`. An input in half precision is added up as the weight is."""
        with torch.autocast(x.device.type, enabled=False):
            start, values = few_taps(**synapses)
        signal, past = with_past(x, history)
        return self.gather(signal.to(values.dtype), past, start, values).to(x.dtype)

    def _trial(self, dtype: torch.dtype, device: torch.device) -> None:
        with torch.autocast(device.type, enabled=False):
            signal = torch.ones(5, 1, 1, dtype=dtype, device=device)
            start = torch.zeros(1, 1, 1, dtype=torch.int32, device=device)
            for taps in (1, 2, 4):
                values = torch.ones(taps, 1, 1, 1, dtype=dtype, device=device)
                y = self.forward(signal, 4, start, values)
                self.grad_signal(y, 4, start, values)
                self.grad_values(y, signal, 4, start, taps)
        torch.cuda.synchronize(device)

    def forward(self, signal: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
        """See :class:`GatherKernels`."""
        out = signal.new_empty(values.shape[1], signal.shape[0] - past, signal.shape[1])
        self._fill(out, signal, past, start, values, forward=True)
        return out.permute(1, 2, 0).contiguous()

    def grad_signal(self, grad_y: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
        """See :class:`GatherKernels`."""
        out = grad_y.new_empty(values.shape[2], grad_y.shape[0] + past, grad_y.shape[1])
        self._fill(out, grad_y, past, start, values, forward=False)
        return out.permute(1, 2, 0).contiguous()

    @abstractmethod
    def _fill(self, out: Tensor, signal: Tensor, past: int, start: Tensor, values: Tensor, forward: bool) -> None:
        """Fill ``out [neuron, step, batch]`` from ``signal [time, batch, source]``, forwards or backwards in time."""


def by_neuron(signal: Tensor) -> Tensor:
    """``[time, batch, neuron]`` as contiguous ``[neuron, time, batch]``."""
    return signal.permute(2, 0, 1).contiguous()


def parts_of_batch(batch: int, warps: int) -> int:
    """Parts that the batch is cut into so that a sum over it keeps a large GPU busy."""
    return max(1, min(-(-4096 // max(1, warps)), -(-batch // LANES)))
