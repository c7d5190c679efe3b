"""The delay layer as its definition: one matrix product for every step of the window."""

from torch import Tensor

from snn_delays.ops.delay.signal import joined
from snn_delays.ops.delay.taps import delay_kernel


def run(
    x: Tensor, history: Tensor | None, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
    taps: str,
) -> Tensor:  # fmt: skip
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    extended = joined(x, history, max_delay_steps)
    kernel = delay_kernel(weight, delay, sigma, max_delay_steps, taps)
    steps = extended.shape[0] - max_delay_steps
    return sum(
        extended[max_delay_steps - k : max_delay_steps - k + steps] @ kernel[k].T for k in range(1, max_delay_steps + 1)
    ) + (extended[max_delay_steps:] @ kernel[0].T)
