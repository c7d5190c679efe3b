"""Taps: how a real-valued delay is spread over the steps of a window.

For a delay d in 0..D the taps are the weights of the steps k = 0..D, most of them near d. They are what gives a delay
a gradient: moving d moves weight from one step to the next.

=================  =======================================  ===========================  =========================
name               before normalisation                     ``sigma`` (steps)            in DCLS
=================  =======================================  ===========================  =========================
gaussian           ``exp(-(k - d)^2 / (2 sigma^2))``        standard deviation, > 0      "gauss", |SIG| + 0.27
triangle           ``max(0, 1 + sigma - |k - d|)``          width beyond a step, >= 0    "max", |SIG|
linear_normalized  ``max(0, 1 - |k - d|)``                  none                         "v1"
linear             ``1 - (u - d)`` at ``u = ceil(d)``,      none                         "v0"
                   ``u - d`` at ``u - 1``; not normalised
=================  =======================================  ===========================  =========================

All but "linear" are divided by their sum over the window plus 1e-7, so the weight of a synapse is kept near the ends of
the window. DCLS counts positions from the far end, ``d = D - p``; its taps are ours mirrored.

Source: Khalfaoui-Hassani et al., TMLR 2023, section 2, and the gaussian version of Hammouamri et al., ICLR 2024.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

NORMALISER_FLOOR = 1e-7  # as in DCLS, so that results agree to the last digit


@dataclass(frozen=True)
class Taps:
    """A way to spread a delay: ``spread(offset, sigma)`` with ``offset = k - d``."""

    spread: Callable[[Tensor, Tensor | None], Tensor]
    needs_sigma: bool
    normalised: bool


def _gaussian(offset: Tensor, sigma: Tensor | None) -> Tensor:
    assert sigma is not None
    return torch.exp(-0.5 * (offset / sigma) ** 2)


def _triangle(offset: Tensor, sigma: Tensor | None) -> Tensor:
    assert sigma is not None
    return torch.relu(1 + sigma - offset.abs())


def _linear_normalized(offset: Tensor, sigma: Tensor | None) -> Tensor:
    return torch.relu(1 - offset.abs())


def _linear(offset: Tensor, sigma: Tensor | None) -> Tensor:
    # -1 < k - d <= 0 is the step at or before d, 0 < k - d < 1 the one after; at an integer delay only the first
    # counts, and its slope is the one towards shorter delays, as in DCLS.
    after = (offset >= 0) & (offset < 1)
    before = (offset >= -1) & (offset < 0)
    return torch.where(after, 1 - offset, torch.where(before, 1 + offset, torch.zeros_like(offset)))


TAPS = {
    "gaussian": Taps(_gaussian, needs_sigma=True, normalised=True),
    "triangle": Taps(_triangle, needs_sigma=True, normalised=True),
    "linear_normalized": Taps(_linear_normalized, needs_sigma=False, normalised=True),
    "linear": Taps(_linear, needs_sigma=False, normalised=False),
}


def tap_weights(delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> Tensor:
    """Taps of every delay: ``[max_delay_steps + 1, *delay.shape]``, summing to one over the first axis.

    Differentiable in ``delay`` and ``sigma`` (broadcast against ``delay``).
    """
    kind = TAPS[taps]
    steps = torch.arange(max_delay_steps + 1, dtype=delay.dtype, device=delay.device)
    spread = kind.spread(steps.view(-1, *[1] * delay.ndim) - delay, sigma)
    return spread / (spread.sum(0) + NORMALISER_FLOOR) if kind.normalised else spread


def delay_kernel(weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> Tensor:
    """Temporal kernel ``[max_delay_steps + 1, out, in]``: what an input k steps ago adds to the current."""
    return (tap_weights(delay, sigma, max_delay_steps, taps) * weight).sum(-1)
