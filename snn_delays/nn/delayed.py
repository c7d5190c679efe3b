"""What all layers with delays share: weight, delay, the width of the taps, and how they begin."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.errors import ConfigError
from snn_delays.nn.module import SpikingModule
from snn_delays.ops.delay import check_delays
from snn_delays.ops.delay.taps import TAPS
from snn_delays.units import round_delays

DELAY_INIT = ("uniform", "uniform_rounded", "hammouamri_2024")


class DelayLineState(NamedTuple):
    """The last ``max_delay_steps`` inputs, ``[max_delay_steps, batch, ...]`` in the shape of one step of the input."""

    history: Tensor


class DelayedLayer(SpikingModule):
    """Weights with delays: :class:`snn_delays.nn.DelayedLinear` and :class:`snn_delays.nn.DelayedConv2d`.

    Args:
        weight_shape: outputs first.
        delay_shape: as ``weight_shape``, with 1 along every axis that shares a delay.
        fan_in: weights that add up in an output.
        max_delay_steps, sharing, taps, sigma_steps, learn_delay, bias, delay_init: see the layers.

    Attributes:
        weight, delay, bias: parameters (bias may be None); weight is He-uniform with bound ``sqrt(6 / fan_in)``.
        sigma: buffer, width of the taps in steps.
    """

    SHARING: tuple[str, ...] = ()

    def __init__(
        self,
        weight_shape: tuple[int, ...],
        delay_shape: tuple[int, ...],
        fan_in: int,
        *,
        max_delay_steps: int,
        sharing: str,
        taps: str,
        sigma_steps: float | None,
        learn_delay: bool,
        bias: bool,
        delay_init: str,
    ) -> None:
        super().__init__()
        self.max_delay_steps, self.fan_in = max_delay_steps, fan_in
        # A window of one step has nothing to spread; "linear" makes the layer exactly one without delays.
        self.sharing, self.taps, self.delay_init = sharing, taps if max_delay_steps else "linear", delay_init
        self.weight = nn.Parameter(torch.empty(weight_shape))
        # A window of one step leaves nothing to learn.
        self.delay = nn.Parameter(torch.empty(delay_shape), requires_grad=learn_delay and max_delay_steps > 0)
        self.bias = nn.Parameter(torch.zeros(weight_shape[0])) if bias else None
        self.sigma: Tensor
        if sigma_steps is None:
            sigma_steps = max((max_delay_steps + 1) // 2, 1)
        self.register_buffer("sigma", torch.tensor(float(sigma_steps)))
        self.set_sigma(sigma_steps)
        self.reset_parameters()

    @classmethod
    def _check(cls, sharing: str, taps: str, delay_init: str, *numbers: tuple[str, int, int]) -> None:
        """Raise ConfigError for a name that means nothing, or a number (name, value, least) that is too small."""
        for name, value, choices in (
            ("sharing", sharing, cls.SHARING),
            ("taps", taps, tuple(TAPS)),
            ("delay_init", delay_init, DELAY_INIT),
        ):
            if value not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
        for name, number, least in numbers:
            if number < least:
                raise ConfigError(f"{name} must be at least {least}, got {number}")

    def reset_parameters(self) -> None:
        """Draw weights and delays anew from torch's global generator."""
        bound = math.sqrt(6 / self.fan_in)
        nn.init.uniform_(self.weight, -bound, bound)
        published = self.delay_init == "hammouamri_2024" and self.max_delay_steps > 0
        nn.init.uniform_(self.delay, 0, self.max_delay_steps + published)
        with torch.no_grad():
            self.delay.clamp_(max=self.max_delay_steps)
            if self.delay_init == "uniform_rounded":
                self.delay.copy_(round_delays(self.delay))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def set_sigma(self, sigma_steps: float) -> None:
        """Set the width of the taps, in steps. Raises ConfigError if it is not positive (gaussian) or negative."""
        least = "> 0" if self.taps == "gaussian" else ">= 0"
        if not (math.isfinite(sigma_steps) and (sigma_steps > 0 or (sigma_steps == 0 and self.taps != "gaussian"))):
            raise ConfigError(f"sigma_steps of {self.taps} taps must be {least}, got {sigma_steps}")
        self.sigma.fill_(sigma_steps)

    @torch.no_grad()
    def clamp_delays_(self) -> None:
        """Bring every delay back into 0..max_delay_steps, in place: what the recipe does after each optimiser step."""
        self.delay.clamp_(0, self.max_delay_steps)

    def check_delays(self, name: str = "delay") -> None:
        """Raise ConfigError if a delay is NaN or outside the window."""
        check_delays(self.delay, self.max_delay_steps, name)

    def _options(self) -> str:
        return (
            f"taps={self.taps!r}, sigma_steps={self.sigma.item():g}, learn_delay={self.delay.requires_grad}, "
            f"bias={self.bias is not None}"
        )
