"""Surrogate gradients: the derivative used in place of that of the Heaviside step.

With u = h - threshold, the forward pass is Θ(u) and the backward pass multiplies by ``derivative(u)``, which is the
exact derivative of the smooth ``primitive(u)``. A surrogate is a frozen value: two with equal numbers are equal.
"""

import math
from dataclasses import dataclass, fields
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from snn_delays.arguments import real, shown
from snn_delays.errors import ConfigError


@runtime_checkable
class Surrogate(Protocol):
    """A smooth primitive and its derivative, elementwise in ``u``, membrane less threshold."""

    def primitive(self, u: Tensor) -> Tensor:
        """Smooth stand-in for the step, up to a constant."""
        ...

    def derivative(self, u: Tensor) -> Tensor:
        """Derivative of the primitive."""
        ...


def checked_surrogate(given: Surrogate | None, default: Surrogate) -> Surrogate:
    """The surrogate given, or the default for None. Raises ConfigError for what is no surrogate."""
    if given is None:
        return default
    if isinstance(given, type) or not isinstance(given, Surrogate):
        raise ConfigError(
            f"surrogate must be one of snn_delays.ops.surrogate, as ATan(5.0), or have its two methods; "
            f"got {shown(given)}"
        )
    return given


@dataclass(frozen=True)
class _Positive:
    """Numbers that are positive, as floats. Raises ConfigError for others."""

    def __post_init__(self) -> None:
        for field in fields(self):
            name = f"{type(self).__name__}.{field.name}"
            value = real(name, getattr(self, field.name))
            object.__setattr__(self, field.name, value)
            if not (math.isfinite(value) and value > 0):
                raise ConfigError(f"{name} must be a positive number, got {value}")


@dataclass(frozen=True)
class ATan(_Positive):
    """Arctangent: ``alpha / 2 / (1 + (pi/2 alpha u)^2)``; height ``alpha / 2`` at the threshold.

    Args:
        alpha: steepness, above 0. Raises ConfigError for any other.

    Source: Fang et al., ICCV 2021 (PLIF), section 3.4, there with alpha = 2; Hammouamri et al., ICLR 2024 use 5.
    """

    alpha: float = 5.0

    def primitive(self, u: Tensor) -> Tensor:
        """``atan(pi/2 alpha u) / pi``."""
        return torch.atan(math.pi / 2 * self.alpha * u) / math.pi

    def derivative(self, u: Tensor) -> Tensor:
        """``alpha / 2 / (1 + (pi/2 alpha u)^2)``."""
        return self.alpha / 2 / (1 + (math.pi / 2 * self.alpha * u) ** 2)


@dataclass(frozen=True)
class FastSigmoid(_Positive):
    """SuperSpike: ``1 / (1 + slope |u|)^2``; height 1 at the threshold.

    Args:
        slope: steepness, above 0. Raises ConfigError for any other.

    Source: Zenke & Ganguli, Neural Computation 2018 (SuperSpike), section 3.3.2.
    """

    slope: float = 25.0

    def primitive(self, u: Tensor) -> Tensor:
        """``u / (1 + slope |u|)``."""
        return u / (1 + self.slope * u.abs())

    def derivative(self, u: Tensor) -> Tensor:
        """``1 / (1 + slope |u|)^2``."""
        return 1 / (1 + self.slope * u.abs()) ** 2


@dataclass(frozen=True)
class Triangle(_Positive):
    """Piecewise linear: ``height max(0, 1 - |u| / width)``.

    Args:
        width: how far from the threshold a gradient passes, above 0. Raises ConfigError for any other.
        height: at the threshold, above 0.

    Source: Esser et al., PNAS 2016 (height 1); Bellec et al., NeurIPS 2018 (LSNN) dampen it with height 0.3.
    """

    width: float = 1.0
    height: float = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        """``height (u - sign(u) u^2 / (2 width))`` inside the triangle, constant outside."""
        inside = u.clamp(-self.width, self.width)
        return self.height * (inside - inside.abs() * inside / (2 * self.width))

    def derivative(self, u: Tensor) -> Tensor:
        """``height max(0, 1 - |u| / width)``."""
        return self.height * (1 - u.abs() / self.width).clamp(min=0)


@dataclass(frozen=True)
class Sigmoid(_Positive):
    """Logistic: ``alpha sigma(alpha u) (1 - sigma(alpha u))``; height ``alpha / 4`` at the threshold.

    Args:
        alpha: steepness, above 0. Raises ConfigError for any other.

    Source: Zenke & Vogels, Neural Computation 2021, table 1; SpikingJelly's default alpha is 4.
    """

    alpha: float = 4.0

    def primitive(self, u: Tensor) -> Tensor:
        """``sigma(alpha u)``."""
        return torch.sigmoid(self.alpha * u)

    def derivative(self, u: Tensor) -> Tensor:
        """``alpha sigma(alpha u) (1 - sigma(alpha u))``."""
        probability = torch.sigmoid(self.alpha * u)
        return self.alpha * probability * (1 - probability)


@dataclass(frozen=True)
class Boxcar(_Positive):
    """``height`` on ``-width < u <= width``, else 0.

    Source: Kaiser et al., Frontiers in Neuroscience 2020 (DECOLLE); Fabre et al., 2025 (SiLIF) with width 0.5.
    """

    width: float = 0.5
    height: float = 1.0

    def primitive(self, u: Tensor) -> Tensor:
        """``height u`` inside, constant outside."""
        return self.height * u.clamp(-self.width, self.width)

    def derivative(self, u: Tensor) -> Tensor:
        """``height`` inside, else 0."""
        inside = ((u > -self.width) & (u <= self.width)) * self.height
        return torch.where(u == u, inside, u)


@dataclass(frozen=True)
class Exponential(_Positive):
    """Two-sided exponential: ``scale alpha / 2 exp(-alpha |u|)``.

    Source: Shrestha & Orchard, NeurIPS 2018 (SLAYER); Baronig et al., 2024 (SE-adLIF) with 5 and 0.4.
    """

    alpha: float = 5.0
    scale: float = 0.4

    def primitive(self, u: Tensor) -> Tensor:
        """``scale / 2 sign(u) (1 - exp(-alpha |u|))``."""
        return self.scale / 2 * u.sign() * -torch.expm1(-self.alpha * u.abs())

    def derivative(self, u: Tensor) -> Tensor:
        """``scale alpha / 2 exp(-alpha |u|)``."""
        return self.scale * self.alpha / 2 * torch.exp(-self.alpha * u.abs())


@dataclass(frozen=True)
class MultiGaussian(_Positive):
    """A narrow Gaussian less a wide one: ``(1 + p) / 2 N(u; sigma) - p N(u; 6 sigma)``; negative far out.

    Source: Yin et al., Nature Machine Intelligence 2021; Higuchi et al., ICML 2024 (BRF) with 0.5 and 0.15.
    """

    sigma: float = 0.5
    p: float = 0.15

    def primitive(self, u: Tensor) -> Tensor:
        """The same with the normal distributions' integrals."""
        z = u / (self.sigma * math.sqrt(2))
        return (1 + self.p) / 4 * torch.erf(z) - self.p / 2 * torch.erf(z / 6)

    def derivative(self, u: Tensor) -> Tensor:
        """``(1 + p) / 2 N(u; sigma) - p N(u; 6 sigma)``."""
        z, peak = (u / self.sigma) ** 2 / 2, 1 / (self.sigma * math.sqrt(2 * math.pi))
        return peak * ((1 + self.p) / 2 * torch.exp(-z) - self.p / 6 * torch.exp(-z / 36))


def _fired(u: Tensor, strict: bool) -> Tensor:
    """1 where u > 0, or u >= 0 unless strict, else 0; NaN where u is NaN, which a comparison would swallow."""
    return u.clamp(0, 1).ceil_().abs_() if strict else u.clamp(-1, 0).floor_().add_(1)


class _Spike(torch.autograd.Function):
    """Θ(u) forward, the surrogate's derivative backward. At u = 0 a ``>=`` threshold fires, a strict one does not."""

    @staticmethod
    def forward(ctx: Any, u: Tensor, surrogate: Surrogate, strict: bool) -> Tensor:
        ctx.save_for_backward(u)
        ctx.surrogate = surrogate
        return _fired(u, strict)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        (u,) = ctx.saved_tensors
        return grads[0] * ctx.surrogate.derivative(u), None, None


def spike(u: Tensor, surrogate: Surrogate, strict: bool = False) -> Tensor:
    """Heaviside step of ``u`` (any shape) with a surrogate gradient; ``strict`` means Θ(0) = 0, NaN stays NaN."""
    if not (u.requires_grad and torch.is_grad_enabled()):
        return _fired(u, strict)  # a step at a time, what autograd would set up costs more than the comparison
    result: Tensor = _Spike.apply(u, surrogate, strict)
    return result
