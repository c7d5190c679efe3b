"""What all layers with delays share: weight, delay, the width of the taps, and how they begin."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.arguments import real
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.door import FLAT, Form, admit, held
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.specs import DelaySpec, Device, spec_from
from snn_delays.ops.delay import check_delays
from snn_delays.ops.state import loadable
from snn_delays.units import round_delays


@loadable
class DelayLineState(NamedTuple):
    """The last ``max_delay_steps`` inputs, ``[max_delay_steps, batch, ...]`` in the shape of one step of the input."""

    history: Tensor


def in_window(
    operation: Callable[..., tuple[Tensor, Tensor]],
    x: Tensor,
    history: Tensor | None,
    weight: Tensor,
    delay: Tensor,
    sigma: Tensor | None,
    *,
    min_delay_steps: int,
    max_delay_steps: int,
    **options: Any,
) -> tuple[Tensor, Tensor]:
    """Current and history by an operation whose window begins at 0, for one that begins at ``min_delay_steps``.

    It is given the input as much later and the delays as much shorter, so that no tap reaches a shorter lag.

    Raises ShapeError for a history that does not fit the input.
    """
    least, spread = min_delay_steps, max_delay_steps - min_delay_steps
    if not least:
        return operation(x, weight, delay, sigma, history, max_delay_steps=spread, **options)
    expected = (max_delay_steps, *x.shape[1:])
    if history is not None and tuple(history.shape) != expected:
        raise ShapeError(
            f"the delay line's state has shape {tuple(history.shape)}, the input needs {expected} "
            "(max_delay_steps, batch, ...); pass state=None to start in silence"
        )
    before = x.new_zeros(least, *x.shape[1:]) if history is None else history[spread:]
    delayed, waiting = torch.cat([before, x]).split([len(x), least])
    early = None if history is None else history[:spread]
    current, early = operation(delayed, weight, delay - least, sigma, early, max_delay_steps=spread, **options)
    return current, torch.cat([early, waiting])


class DelayedLayer(SpikingModule):
    """Weights with delays: :class:`snn_delays.nn.DelayedLinear` and :class:`snn_delays.nn.DelayedConv2d`.

    Args:
        weight_shape: outputs first.
        delay_shape: as ``weight_shape``, with 1 along every axis that shares a delay.
        fan_in: weights that add up in an output.
        spec: the delays.
        bias, device, dtype: see the layers.

    Attributes:
        weight, delay, bias: parameters (bias may be None); weight is He-uniform with bound ``sqrt(6 / fan_in)``.
        sigma: buffer, width of the taps in steps.
    """

    SHARING: ClassVar[tuple[str, ...]] = ()
    FORM: ClassVar[Form] = FLAT

    def __init__(
        self,
        weight_shape: tuple[int, ...],
        delay_shape: tuple[int, ...],
        fan_in: int,
        spec: DelaySpec,
        *,
        bias: bool,
        device: Device,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        factory: Any = {"device": device, "dtype": dtype}
        self.max_delay_steps, self.min_delay_steps, self.fan_in = spec.max_delay_steps, spec.min_delay_steps, fan_in
        # A window of one step has nothing to spread, and nothing to learn; "linear" makes the layer exactly one without
        # delays.
        self.sharing, self.taps, self.delay_init = spec.sharing, spec.taps if spec.spread else "linear", spec.delay_init
        self.weight = nn.Parameter(torch.empty(weight_shape, **factory))
        self.delay = nn.Parameter(
            torch.empty(delay_shape, **factory), requires_grad=spec.learn_delay and spec.spread > 0
        )
        self.bias = nn.Parameter(torch.zeros(weight_shape[0], **factory)) if bias else None
        self.sigma: Tensor
        self.register_buffer("sigma", torch.tensor(0.0, **factory))
        self.set_sigma(spec.initial_sigma)
        self.reset_parameters()

    @classmethod
    def _spec(cls, delays: DelaySpec | None, options: Any) -> DelaySpec:
        """The spec that the arguments make. Raises ConfigError for a sharing that this layer does not have."""
        spec = spec_from(DelaySpec, delays, options)
        if spec.sharing not in cls.SHARING:
            raise ConfigError(f"sharing must be one of {', '.join(cls.SHARING)}; got {spec.sharing!r}")
        return spec

    def reset_parameters(self) -> None:
        """Draw weights and delays anew from torch's global generator."""
        bound = math.sqrt(6 / self.fan_in)
        nn.init.uniform_(self.weight, -bound, bound)
        published = self.delay_init.startswith("hammouamri_2024") and self.max_delay_steps > self.min_delay_steps
        nn.init.uniform_(self.delay, self.min_delay_steps, self.max_delay_steps + published)
        with torch.no_grad():
            self.delay.clamp_(max=self.max_delay_steps)
            if self.delay_init.endswith("_rounded"):
                self.delay.copy_(round_delays(self.delay))
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def set_sigma(self, sigma_steps: float) -> None:
        """Set the width of the taps, in steps. Raises ConfigError if it is not positive (gaussian) or negative."""
        least, sigma_steps = "> 0" if self.taps == "gaussian" else ">= 0", real("sigma_steps", sigma_steps)
        if not (math.isfinite(sigma_steps) and (sigma_steps > 0 or (sigma_steps == 0 and self.taps != "gaussian"))):
            raise ConfigError(f"sigma_steps of {self.taps} taps must be {least}, got {sigma_steps}")
        self.sigma.fill_(sigma_steps)

    @torch.no_grad()
    def clamp_delays_(self) -> None:
        """Bring every delay back into the window, in place: as :func:`snn_delays.keep_delays_in_window` does."""
        self.delay.clamp_(self.min_delay_steps, self.max_delay_steps)

    def check_delays(self, name: str = "delay") -> None:
        """Raise ConfigError if a delay is NaN or outside the window."""
        early = int((self.delay < self.min_delay_steps).sum()) if self.min_delay_steps else 0
        if early:
            raise ConfigError(
                f"{name}: {early} of {self.delay.numel()} delays are shorter than min_delay_steps = "
                f"{self.min_delay_steps} (the shortest is {float(self.delay.detach().min()):g}); call clamp_delays_() "
                "after every optimiser step (keep_delays_in_window does), or lower min_delay_steps"
            )
        check_delays(self.delay, self.max_delay_steps, name)

    def _run(
        self,
        operation: Callable[..., tuple[Tensor, Tensor]],
        x: Tensor,
        state: DelayLineState | None,
        **options: Any,
    ) -> tuple[Tensor, DelayLineState]:
        """Current and state by an operation on delays."""
        weight = self.weight  # once: where weights are kept on a grid this rounds them
        x = admit(self, x, self.FORM, weight)
        if self.min_delay_steps and self.delay.device.type == "cpu":
            self.check_delays()  # the operation would name shifted numbers
        history = held(self, state, DelayLineState, x)
        current, history = in_window(
            operation, x, history, weight, self.delay, self.sigma, min_delay_steps=self.min_delay_steps,
            max_delay_steps=self.max_delay_steps, taps=self.taps, **options,
        )  # fmt: skip
        return current, DelayLineState(history)

    def _window(self) -> str:
        least = f", min_delay_steps={self.min_delay_steps}" if self.min_delay_steps else ""
        return f"max_delay_steps={self.max_delay_steps}{least}"

    def _options(self) -> str:
        return (
            f"taps={self.taps!r}, sigma_steps={self.sigma.item():g}, learn_delay={self.delay.requires_grad}, "
            f"bias={self.bias is not None}"
        )
