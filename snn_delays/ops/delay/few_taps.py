"""The taps that matter: each synapse's window cut down to the steps around its delay.

Late in training and after rounding, a synapse has a handful of taps in a window of many: ``start`` says where they
begin and ``values`` holds weight times tap, so that

.. math:: y_t[o] = \\sum_{i,c} \\sum_{m < M} values[m,o,i,c]\\; x_{t - start[o,i,c] - m}[i]

What is cut away is below the rounding of the dtype.
"""

import math
from collections.abc import Hashable, Mapping
from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.delay.taps import NORMALISER_FLOOR, TAPS

WITHOUT_SIGMA = tuple(name for name, kind in TAPS.items() if not kind.needs_sigma)


def tap_count(delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> int:
    """Number ``M`` of taps that a delay needs; reads ``delay`` and ``sigma`` back."""
    if taps in WITHOUT_SIGMA:
        # An integer delay has one tap, but learns from the step before it.
        return min(max_delay_steps + 1, 1 if has_one_tap(delay) else 2)
    return min(max_delay_steps + 1, math.floor(2 * _reach(sigma, delay.dtype, taps)) + 1)


def what_counts_taps(call: Mapping[str, Any]) -> Hashable:
    """What :func:`tap_count` reads of the numbers of a delay layer's call; None on an accelerator, to be left alone."""
    delay, sigma = call["delay"], call["sigma"]
    if delay.device.type != "cpu":
        return None
    if call["taps"] in WITHOUT_SIGMA:
        return has_one_tap(delay)
    return sigma.item() if sigma.numel() == 1 else _widest(sigma)


def has_one_tap(delay: Tensor) -> bool:
    """Whether delays are integers that do not learn, so that a tap of ``WITHOUT_SIGMA`` needs no neighbour."""
    return not delay.requires_grad and torch.equal(delay, delay.round())


def few_taps(
    weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str
) -> tuple[Tensor, Tensor]:
    """``start`` (int32, ``[out, in, count]``) and ``values`` (``[M, out, in, count]``) of the formula above.

    ``values`` is differentiable in ``weight``, ``delay`` and ``sigma``. ``start + M`` never exceeds the window.
    """
    count = tap_count(delay, sigma, max_delay_steps, taps)
    # From the first step within reach: for "linear" the one in [d - 1, d), for a lone tap the delay itself.
    reach = (count - 1.0) if taps in WITHOUT_SIGMA else _reach(sigma, delay.dtype, taps)
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
    widest = _widest(sigma)
    if taps == "triangle":
        return 1 + widest
    return widest * math.sqrt(-2 * math.log(torch.finfo(dtype).eps / 16))


def _widest(sigma: Tensor) -> float:
    return float(sigma.detach().max()) if sigma.numel() else 0.0
