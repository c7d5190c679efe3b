"""Weights on a grid: integer codes times one step per layer."""

import math
from numbers import Integral

import torch
from torch import Tensor

from snn_delays.arguments import shown
from snn_delays.errors import ConfigError, ShapeError

SCALES = ("power_of_two", "free")
# Ternary: weights below this share of the mean magnitude become zero (Li et al., 2016, section 2.3).
TERNARY_THRESHOLD = 0.7


def quantize(weight: Tensor, bits: int | str, scale: str = "power_of_two") -> tuple[Tensor, float]:
    r"""Integer codes ``q`` and the step ``s`` of the grid on which ``q s`` stands for ``weight``.

    .. math::
        q = \operatorname{clip}\left(\operatorname{round}(w / s),\; -(2^{b-1} - 1),\; 2^{b-1} - 1\right), \qquad
        s = \max|w| / (2^{b-1} - 1)

    with ``s`` raised to the next power of two for ``scale="power_of_two"``: sums of such weights are exact in any
    order. Ternary codes are the sign of the weights above 0.7 times the mean magnitude, and ``s`` the mean magnitude of
    those (raised or lowered to the nearest power of two).

    Args:
        weight: of any shape.
        bits: 2 to 16, sign included, or ``"ternary"``.
        scale: ``"power_of_two"`` or ``"free"``.

    Returns:
        Codes, shaped and typed as ``weight``, and the step. Weights that are all zero, or next to it, have step 1.

    Raises:
        ConfigError: unknown bits or scale, or weights that are not finite.
        ShapeError: weights that are no floating-point tensor.

    Source: ternary after Li et al., Ternary Weight Networks, arXiv 1605.04711.
    """
    check_grid(bits, scale)
    if not isinstance(weight, Tensor) or not weight.is_floating_point():
        raise ShapeError(f"weights must be a tensor of floating-point numbers, got {shown(weight)}")
    if wrong := int((~torch.isfinite(weight)).sum()):
        raise ConfigError(f"{wrong} of {weight.numel()} weights are not finite, so they have no place on a grid")
    if bits == "ternary":
        magnitude = weight.abs()
        strong = magnitude > TERNARY_THRESHOLD * magnitude.mean()
        if not bool(strong.any()):
            return torch.zeros_like(weight), 1.0
        step = float(magnitude[strong].mean())
        if scale == "power_of_two":
            step = 2.0 ** round(math.log2(step))
        return weight.sign() * strong, step
    largest = 2 ** (int(bits) - 1) - 1
    peak = float(weight.abs().max()) if weight.numel() else 0.0
    step = peak / largest
    if step < torch.finfo(weight.dtype).tiny:  # nothing, or too small to divide by
        return torch.zeros_like(weight), 1.0
    if scale == "power_of_two":
        step = 2.0 ** math.ceil(math.log2(step))
    return torch.round(weight / step).clamp(-largest, largest), step


def check_grid(bits: int | str, scale: str) -> None:
    """Raise ConfigError for bits or a scale that are unknown."""
    if bits != "ternary" and not (isinstance(bits, Integral) and not isinstance(bits, bool) and 2 <= bits <= 16):
        raise ConfigError(f"weight_bits must lie in 2..16 or be 'ternary', got {bits!r}")
    if scale not in SCALES:
        raise ConfigError(f"the scale of weights must be one of {', '.join(SCALES)}, got {scale!r}")
