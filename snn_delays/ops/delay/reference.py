"""The delay layer as its definition: one matrix product for every step of the window."""

from typing import Any

from torch import Tensor

from snn_delays.ops.delay.signal import joined
from snn_delays.ops.delay.taps import delay_kernel


def run(x: Tensor, history: Tensor | None, **synapses: Any) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    longest = synapses["max_delay_steps"]
    extended, kernel = joined(x, history, longest), delay_kernel(**synapses)
    steps = extended.shape[0] - longest
    return sum(extended[longest - k : longest - k + steps] @ kernel[k].T for k in range(1, longest + 1)) + (
        extended[longest:] @ kernel[0].T
    )
