"""The host's side that both GPU gathers share: which calls they serve, and how signals are laid out for them.

On a GPU a warp is 32 items of the batch, so signals are turned to ``[neuron, step, batch]`` and back.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from snn_delays.ops.backends import capturing
from snn_delays.ops.delay.few_taps import few_taps, tap_count
from snn_delays.ops.delay.gather_function import GatherKernels, gather
from snn_delays.ops.delay.signal import with_past

# A gather does M multiply-adds a synapse on the plain cores. Past this the taps overlap so much that a dense
# convolution on the matrix cores, eight times as fast a multiply-add or more, is the better choice at common windows.
MAX_TAPS = 32
HALF = (torch.bfloat16, torch.float16)
LANES = 32


def refuses(
    x: Tensor,
    history: Tensor | None,
    weight: Tensor,
    delay: Tensor,
    sigma: Tensor | None,
    max_delay_steps: int,
    taps: str,
    kernels_refuse: Callable[[dict[str, Tensor]], str | None],
) -> str | None:
    """Sentence where the kernels refuse, or the taps are too many or cannot be counted."""
    tensors = {"weight": weight, "delay": delay}
    del history  # joins the input, so it is where the input is
    if x.dtype not in HALF:
        tensors = {"input": x, **tensors}
    elif x.device != weight.device:
        return f"the input is on {x.device}, the weight on {weight.device}"
    reason = kernels_refuse(tensors)
    if reason is not None:
        return reason
    if capturing(weight.device) and (sigma is not None or not delay.requires_grad):
        return "the number of taps is read back from the device, which cannot be captured in a CUDA graph"
    count = tap_count(delay, sigma, max_delay_steps, taps)
    return f"it serves up to {MAX_TAPS} taps and these delays have {count}" if count > MAX_TAPS else None


def run(
    x: Tensor,
    history: Tensor | None,
    weight: Tensor,
    delay: Tensor,
    sigma: Tensor | None,
    max_delay_steps: int,
    taps: str,
    kernels: GatherKernels,
) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`. An input in half precision is added up in the weight's dtype."""
    with torch.autocast(x.device.type, enabled=False):
        start, values = few_taps(weight, delay, sigma, max_delay_steps, taps)
    signal, past = with_past(x, history)
    return gather(signal.to(values.dtype), past, start, values, kernels).to(x.dtype)


def trial(kernels: GatherKernels, dtype: torch.dtype, device: torch.device) -> None:
    """Compile and run every kernel on one synapse, and wait for them."""
    with torch.autocast(device.type, enabled=False):
        signal = torch.ones(5, 1, 1, dtype=dtype, device=device)
        start = torch.zeros(1, 1, 1, dtype=torch.int32, device=device)
        for taps in (1, 2, 4):
            values = torch.ones(taps, 1, 1, 1, dtype=dtype, device=device)
            y = kernels.forward(signal, 4, start, values)
            kernels.grad_signal(y, 4, start, values)
            kernels.grad_values(y, signal, 4, start, taps)
    torch.cuda.synchronize(device)


def by_neuron(signal: Tensor) -> Tensor:
    """``[time, batch, neuron]`` as contiguous ``[neuron, time, batch]``."""
    return signal.permute(2, 0, 1).contiguous()


def by_time(signal: Tensor) -> Tensor:
    """``[neuron, time, batch]`` as contiguous ``[time, batch, neuron]``."""
    return signal.permute(1, 2, 0).contiguous()


def parts_of_batch(batch: int, warps: int) -> int:
    """Parts that the batch is cut into so that a sum over it keeps a large GPU busy."""
    return max(1, min(-(-4096 // max(1, warps)), -(-batch // LANES)))
