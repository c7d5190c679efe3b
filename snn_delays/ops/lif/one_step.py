"""One step of LIF neurons without gradients, in the arithmetic of the reference and few operations.

On so few numbers an operation costs what calling it costs, and NumPy's calls cost half of torch's.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.backends import one_step_of, refuses_off_cpu

_serves = one_step_of("current")


def refuses(**call: Any) -> str | None:
    """Serves a small step on the CPU, in float32 or float64."""
    if not _serves(call):
        return "it serves one short step on the CPU without gradients"
    return refuses_off_cpu(**{name: call[name] for name in ("current", "v0", "decay", "threshold")})


def run(
    current: Tensor, v0: Tensor, decay: Tensor, threshold: Tensor, v_reset: float, soft_reset: bool, decay_input: bool,
    strict: bool, **_: Any,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """See :func:`snn_delays.ops.lif.lif`."""
    x, v, d, theta = (
        (tensor.detach() if tensor.requires_grad else tensor).numpy() for tensor in (current, v0, decay, threshold)
    )
    h = d * (v - v_reset) + v_reset if v_reset else d * v
    h = h + ((1 - d) * x[0] if decay_input else x[0])
    s = np.heaviside(h - theta, 0.0 if strict else 1.0)  # of NaN, NaN
    if soft_reset:
        h -= theta * s
    else:
        np.copyto(h, v_reset, where=s > 0)
    return torch.from_numpy(s[None]), torch.from_numpy(h)
