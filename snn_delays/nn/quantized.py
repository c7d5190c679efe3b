"""Layers whose weights lie on a grid while the real-valued weights they are rounded from are trained."""

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from snn_delays.errors import ConfigError
from snn_delays.nn.delayed import DelayedLayer
from snn_delays.nn.quantize import check_grid, quantize


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
        bits, scale: see :func:`snn_delays.nn.quantize`.

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
        return self._quantized()[0].view_as(self.together[self.place])

    @torch.no_grad()
    def _quantized(self) -> tuple[Tensor, float]:
        together = torch.cat([weight.flatten() for weight in self.together])
        codes, step = quantize(together, self.bits, self.scale)
        # In the weights' precision, so that codes times the step are rounded alike wherever they are multiplied.
        step = float(torch.tensor(step, dtype=together.dtype))
        return codes.split([weight.numel() for weight in self.together])[self.place], step

    def forward(self, weight: Tensor) -> Tensor:
        """The weight on its grid."""
        if not all(bool(torch.isfinite(one).all()) for one in self.together):
            return weight
        codes, step = self._quantized()
        rounded: Tensor = _StraightThrough.apply(weight, (codes * step).view_as(weight))
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
