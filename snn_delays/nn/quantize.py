"""Weights on a grid, integer codes times one step per layer: as they are, and during training."""

import math
from numbers import Integral

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snn_delays.arguments import choice, shown
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.delayed import DelayedLayer

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
    choice("the scale of weights", scale, SCALES)


class WeightGrid(nn.Module):
    r"""Rounds a weight to the grid in the forward pass; the gradient passes unchanged (straight-through).

    .. math::
        \hat w = q s, \quad (q, s) = \operatorname{quantize}(w, \ldots) \qquad
        \frac{\partial L}{\partial w} := \frac{\partial L}{\partial \hat w}

    The step follows the weights, so none lies beyond the grid. Weights that are not finite pass unrounded, for the loss
    to show them.

    Args:
        together: the real-valued weights that share the step, in an order that is the same for each of them.
        place: which of them this grid rounds.
        bits, scale: see :func:`quantize`.

    Source: straight-through estimator after Bengio et al., arXiv 1308.3432.
    """

    def __init__(self, together: tuple[Tensor, ...], place: int, bits: int | str, scale: str) -> None:
        super().__init__()
        check_grid(bits, scale)
        # In a tuple they are known to this module, yet belong to their layers alone.
        self.together, self.place, self.scale = together, place, scale
        self.bits = bits if isinstance(bits, str) else int(bits)

    @property
    def step(self) -> float:
        """What a code of one is worth now."""
        return self._quantized()[1]

    @property
    def codes(self) -> Tensor:
        """Integer codes of this weight now, in its shape and dtype; times ``step`` they are the layer's weight."""
        return self._quantized()[0]

    @torch.no_grad()
    def _quantized(self) -> tuple[Tensor, float]:
        together = torch.cat([weight.flatten() for weight in self.together])
        codes, step = quantize(together, self.bits, self.scale)
        # In the weights' precision, so that codes times the step are rounded alike wherever they are multiplied.
        step = float(torch.tensor(step, dtype=together.dtype))
        part = codes.split([weight.numel() for weight in self.together])[self.place]
        return part.view_as(self.together[self.place]), step

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on its grid."""
        if not all(bool(torch.isfinite(part).all()) for part in self.together):
            return weight
        codes, step = self._quantized()
        rounded: Tensor = _StraightThrough.apply(weight, codes * step)
        return rounded

    def extra_repr(self) -> str:
        """Bits and scale."""
        return f"weight_bits={self.bits!r}, scale={self.scale!r}"


class _StraightThrough(torch.autograd.Function):
    """The second argument; its gradient goes to the first."""

    @staticmethod
    def forward(ctx: object, weight: Tensor, rounded: Tensor) -> Tensor:
        return rounded

    @staticmethod
    def backward(ctx: object, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


def quantize_weights(*layers: DelayedLayer, bits: int | str, scale: str = "power_of_two") -> None:
    """Put the weights of layers on one grid with one step, in place: ``layer.weight`` is on it from now on.

    The parameter that was ``layer.weight`` stays the same object, found at ``layer.parametrizations.weight.original``;
    an optimiser trains it, and the rounding follows. Give one layer, or those that feed one population, whose currents
    a chip adds up in integers: the synapse from the layer before and the recurrent one. Ternary codes of weights
    that are all far smaller than those beside them are all zero.

    Raises ConfigError for bits or a scale that are unknown, or a layer whose weight is on a grid, pruned or
    parametrised already.
    """
    check_grid(bits, scale)
    for layer in layers:
        if grid_of(layer) is not None:
            raise ConfigError(f"the weights of {type(layer).__name__} are on a grid already; pass the layer without it")
        if "weight" not in layer._parameters:
            raise ConfigError(
                f"the weight of {type(layer).__name__} is pruned or parametrised; make that permanent first, with "
                "torch.nn.utils.prune.remove or parametrize.remove_parametrizations"
            )
    together = tuple(layer.weight for layer in layers)
    for place, layer in enumerate(layers):
        parametrize.register_parametrization(layer, "weight", WeightGrid(together, place, bits, scale))


def grid_of(layer: nn.Module) -> WeightGrid | None:
    """The grid on which a layer's weights lie, or None."""
    if not parametrize.is_parametrized(layer, "weight"):
        return None
    *_, grid = layer.parametrizations["weight"]  # type: ignore[index]
    return grid if isinstance(grid, WeightGrid) else None
