"""One step of LIF neurons without gradients, in the arithmetic of the reference and few operations."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.backends import one_step_of
from snn_delays.ops.surrogate import Surrogate, spike

_serves = one_step_of("current")


def refuses(**call: Any) -> str | None:
    """Serves a small step on the CPU."""
    return None if _serves(call) else "it serves one short step on the CPU without gradients"


def run(
    current: Tensor, v0: Tensor, decay: Tensor, threshold: Tensor, v_reset: float, soft_reset: bool, decay_input: bool,
    strict: bool, surrogate: Surrogate, **_: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See :func:`snn_delays.ops.lif.lif`."""
    h = decay * (v0 - v_reset) + v_reset if v_reset else decay * v0
    h = h + ((1 - decay) * current if decay_input else current)
    s = spike(h - threshold, surrogate, strict)
    return s, h[0] - threshold * s[0] if soft_reset else torch.where(s > 0, v_reset, h)[0]
