"""Taps: how a real-valued delay is spread over the steps of a window.

For a delay d in 0..D the taps are the weights of the steps k = 0..D, most of them near d. They are what gives a delay
a gradient: moving d moves weight from one step to the next.

=================  =======================================  ===========================  =========================
name               before normalisation                     ``sigma`` (steps)            in DCLS
=================  =======================================  ===========================  =========================
gaussian           ``exp(-(k - d)^2 / (2 sigma^2))``        standard deviation, > 0      "gauss", |SIG| + 0.27
triangle           ``max(0, 1 + sigma - |k - d|)``          width beyond a step, >= 0    "max", |SIG|
delrec             ``max(0, s - |k - d|) / s^2``,           width beyond a step, >= 0    none
                   ``s = 1 + sigma``; not normalised
linear_normalized  ``max(0, 1 - |k - d|)``                  none                         "v1"
linear             ``1 - (u - d)`` at ``u = ceil(d)``,      none                         "v0"
                   ``u - d`` at ``u - 1``; not normalised
=================  =======================================  ===========================  =========================

"linear" and "delrec" are not normalised: what of "delrec" lies beyond an end of the window is lost. All others are
divided by their sum over the window plus 1e-7, so the weight of a synapse is kept near the ends of the window. DCLS
counts positions from the far end, ``d = D - p``; its taps are ours mirrored.

Late in training and after rounding, a synapse has a handful of taps that matter in a window of many:
:func:`few_taps` cuts the window down to them. What is cut away is below the rounding of the dtype.

Source: Khalfaoui-Hassani et al., TMLR 2023, section 2, and the gaussian version of Hammouamri et al., ICLR 2024;
Queant et al., arXiv 2509.24852, whose delays count from the next step, so that ours are one more.
"""

import math
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from snn_delays.errors import ConfigError

NORMALISER_FLOOR = 1e-7  # as in DCLS, so that results agree to the last digit


@dataclass(frozen=True)
class Taps:
    """A way to spread a delay: ``spread(offset, sigma)`` with ``offset = k - d``."""

    spread: Callable[[Tensor, Any], Tensor]
    needs_sigma: bool
    normalised: bool


def _linear(offset: Tensor, _: Any) -> Tensor:
    # -1 < k - d <= 0 is the step at or before d, 0 < k - d < 1 the one after; at an integer delay only the first
    # counts, and its slope is the one towards shorter delays, as in DCLS.
    after = (offset >= 0) & (offset < 1)
    before = (offset >= -1) & (offset < 0)
    return torch.where(after, 1 - offset, torch.where(before, 1 + offset, torch.zeros_like(offset)))


TAPS = {
    "gaussian": Taps(lambda offset, sigma: torch.exp(-0.5 * (offset / sigma) ** 2), True, True),
    "triangle": Taps(lambda offset, sigma: torch.relu(1 + sigma - offset.abs()), True, True),
    "delrec": Taps(lambda offset, sigma: torch.relu(1 + sigma - offset.abs()) / (1 + sigma) ** 2, True, False),
    "linear_normalized": Taps(lambda offset, _: torch.relu(1 - offset.abs()), False, True),
    "linear": Taps(_linear, False, False),
}
WITHOUT_SIGMA = tuple(name for name, kind in TAPS.items() if not kind.needs_sigma)


class Synapses(NamedTuple):
    """What a delay layer's current depends on besides its input, in the order in which functions here take it.

    ``weight [out, in, count]``; ``delay`` and ``sigma``, in steps, broadcast against it.
    """

    weight: Tensor
    delay: Tensor
    sigma: Tensor | None
    max_delay_steps: int
    taps: str

    def rows(self, rows: slice) -> "Synapses":
        """Those of some output neurons."""
        return self._replace(**{name: self.part(getattr(self, name), rows) for name in ("weight", "delay", "sigma")})

    def part(self, tensor: Any, rows: slice) -> Any:
        """The rows of a tensor that broadcasts against the weight; None of None."""
        return tensor if tensor is None or tensor.ndim < 3 or len(tensor) != len(self.weight) else tensor[rows]

    def parts(self, kernel_bytes: int) -> list[slice]:
        """Output neurons whose temporal kernels are built together, within a number of bytes."""
        each = (self.max_delay_steps + 1) * self.weight[:1].numel() * self.weight.element_size()
        size, outputs = max(1, kernel_bytes // each), len(self.weight)
        return [slice(o, min(o + size, outputs)) for o in range(0, outputs, size)]


def tap_weights(delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> Tensor:
    """Taps of every delay: ``[max_delay_steps + 1, *delay.shape]``, summing to one over the first axis.

    Differentiable in ``delay`` and ``sigma`` (broadcast against ``delay``).
    """
    steps = torch.arange(max_delay_steps + 1, dtype=delay.dtype, device=delay.device)
    return _spread(steps.view(-1, *[1] * delay.ndim) - delay, sigma, taps)


def _spread(offset: Tensor, sigma: Tensor | None, taps: str) -> Tensor:
    kind = TAPS[taps]
    spread = kind.spread(offset, sigma)
    return spread / (spread.sum(0) + NORMALISER_FLOOR) if kind.normalised else spread


def delay_kernel(weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> Tensor:
    """Temporal kernel ``[max_delay_steps + 1, out, in]``: what an input k steps ago adds to the current."""
    return (tap_weights(delay, sigma, max_delay_steps, taps) * weight).sum(-1)


def check_delays(delay: Tensor, max_delay_steps: int, name: str = "delay") -> None:
    """Raise ConfigError unless every delay lies in ``0..max_delay_steps``."""
    if not delay.numel():
        return
    low, high = (float(bound) for bound in torch.aminmax(delay.detach()))
    if low >= 0 and high <= max_delay_steps:
        return
    outside = int(((delay < 0) | (delay > max_delay_steps)).sum())
    if outside:
        raise ConfigError(
            f"{name}: {outside} of {delay.numel()} delays lie outside 0..{max_delay_steps} steps "
            f"(from {low:g} to {high:g}); call clamp_delays_() after every optimiser step, or raise max_delay_steps"
        )
    raise ConfigError(
        f"{name}: {int(delay.isnan().sum())} of {delay.numel()} delays are NaN; lower the learning rate of the delays"
    )


def tap_count(delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str) -> int:
    """Number ``M`` of taps that a delay needs; reads ``delay`` and ``sigma`` back."""
    if taps in WITHOUT_SIGMA:
        # An integer delay has one tap, but learns from the step before it.
        return min(max_delay_steps + 1, 1 if _has_one_tap(delay) else 2)
    return min(max_delay_steps + 1, math.floor(2 * _reach(sigma, delay.dtype, taps)) + 1)


def what_counts_taps(call: Mapping[str, Any]) -> Hashable:
    """What :func:`tap_count` reads of the numbers of a delay layer's call; None on an accelerator, to be left alone."""
    delay, sigma = call["delay"], call["sigma"]
    if delay.device.type != "cpu":
        return None
    if call["taps"] in WITHOUT_SIGMA:
        return _has_one_tap(delay)
    return sigma.item() if sigma.numel() == 1 else _widest(sigma)


def few_taps(
    weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str
) -> tuple[Tensor, Tensor]:
    r"""Where the taps that matter begin, ``start``, int32 ``[out, in, count]``, and weight times tap, ``values``.

    .. math:: y_t[o] = \sum_{i,c} \sum_{m < M} values[m,o,i,c]\; x_{t - start[o,i,c] - m}[i]

    ``values [M, out, in, count]`` is differentiable in ``weight``, ``delay`` and ``sigma``. ``start + M`` never exceeds
    the window.
    """
    count = tap_count(delay, sigma, max_delay_steps, taps)
    # From the first step within reach: for "linear" the one in [d - 1, d), for a lone tap the delay itself.
    reach = (count - 1.0) if taps in WITHOUT_SIGMA else _reach(sigma, delay.dtype, taps)
    start = (delay.detach() - reach).ceil().clamp(0, max_delay_steps + 1 - count)
    steps = torch.arange(count, dtype=delay.dtype, device=delay.device).view(-1, 1, 1, 1) + start
    return start.to(torch.int32).expand(weight.shape), _spread(steps - delay, sigma, taps) * weight


def _has_one_tap(delay: Tensor) -> bool:
    """Whether delays are integers that do not learn, so that a tap of ``WITHOUT_SIGMA`` needs no neighbour."""
    return not delay.requires_grad and torch.equal(delay, delay.round())


def _reach(sigma: Tensor | None, dtype: torch.dtype, taps: str) -> float:
    """Distance from the delay beyond which a tap is zero or lost in rounding, in steps."""
    assert sigma is not None
    if taps in ("triangle", "delrec"):
        return 1 + _widest(sigma)
    return _widest(sigma) * math.sqrt(-2 * math.log(torch.finfo(dtype).eps / 16))


def _widest(sigma: Tensor) -> float:
    return float(sigma.detach().max()) if sigma.numel() else 0.0
