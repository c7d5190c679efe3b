"""The taps that matter: each synapse's window cut down to the steps around its delay.

Late in training and after rounding, a synapse has a handful of taps in a window of many: ``start`` says where they
begin and ``values`` holds weight times tap, so that

.. math:: y_t[o] = \\sum_{i,c} \\sum_{m < M} values[m,o,i,c]\\; x_{t - start[o,i,c] - m}[i]

What is cut away is below the rounding of the dtype.
"""

import math

import torch
from torch import Tensor

from snn_delays.ops.delay.taps import NORMALISER_FLOOR, TAPS


def tap_count(delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> int:
    """Number ``M`` of taps that a delay needs; reads ``delay`` and ``sigma`` back."""
    if taps in ("linear", "linear_normalized"):
        # A whole delay has one tap, but learns from the step before it.
        alone = not delay.requires_grad and bool((delay == delay.round()).all())
        return min(max_delay_steps + 1, 1 if alone else 2)
    return min(max_delay_steps + 1, math.floor(2 * _reach(sigma, delay.dtype, taps)) + 1)


def few_taps(
    weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str
) -> tuple[Tensor, Tensor]:
    """``start`` (int32, ``[out, in, count]``) and ``values`` (``[M, out, in, count]``) of the formula above.

    ``values`` is differentiable in ``weight``, ``delay`` and ``sigma``. ``start + M`` never exceeds the window.
    """
    count = tap_count(delay, sigma, max_delay_steps, taps)
    # From the first step within reach: for "linear" the one in [d - 1, d), for a lone tap the delay itself.
    reach = (count - 1.0) if taps in ("linear", "linear_normalized") else _reach(sigma, delay.dtype, taps)
    start = (delay.detach() - reach).ceil().clamp(0, max_delay_steps + 1 - count)
    steps = torch.arange(count, dtype=delay.dtype, device=delay.device).view(-1, 1, 1, 1) + start
    kind = TAPS[taps]
    spread = kind.spread(steps - delay, sigma)
    if kind.normalised:
        spread = spread / (spread.sum(0) + NORMALISER_FLOOR)
    return start.to(torch.int32).expand(weight.shape), spread * weight


def _reach(sigma: Tensor | None, dtype: torch.dtype, taps: str) -> float:
    """Distance from the delay beyond which a tap is zero or lost in rounding, in steps."""
    assert sigma is not None
    widest = float(sigma.detach().max()) if sigma.numel() else 0.0
    if taps == "triangle":
        return 1 + widest
    return widest * math.sqrt(-2 * math.log(torch.finfo(dtype).eps / 16))
