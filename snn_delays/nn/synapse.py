"""A linear layer with a delay on every synapse."""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.errors import ConfigError
from snn_delays.nn.module import SpikingModule
from snn_delays.ops.delay import check_delays, delayed_linear
from snn_delays.ops.delay.taps import TAPS
from snn_delays.units import round_delays

SHARING = ("synapse", "axon", "dendrite")
DELAY_INIT = ("uniform", "uniform_rounded", "hammouamri_2024")


class DelayLineState(NamedTuple):
    """The last ``max_delay_steps`` inputs, ``[max_delay_steps, batch, in_features]``."""

    history: Tensor


class DelayedLinear(SpikingModule):
    r"""Linear layer whose synapses have delays, learned with the weights.

    .. math:: y_t[o] = b[o] + \sum_{i,c} w[o,i,c]\; x_{t - d[o,i,c]}[i]

    where a delay that is not a whole number of steps is spread over neighbouring steps by ``taps``
    (:mod:`snn_delays.ops.delay.taps`). Parameters are complete after construction; ``delay`` is the delay, in steps,
    0..max_delay_steps, larger is later. The optimiser can push it out of that window: call :meth:`clamp_delays_` after
    every step.

    Args:
        in_features: neurons before the synapse.
        out_features: neurons behind it.
        max_delay_steps: longest delay; 0 makes a plain linear layer.
        sharing: ``"synapse"``, a delay of its own for each; ``"axon"``, one per input neuron; ``"dendrite"``, one per
            output neuron.
        delay_count: synapses for each pair of neurons, each with a weight and a delay.
        taps: ``"gaussian"``, ``"triangle"``, ``"linear"``, ``"linear_normalized"``.
        sigma_steps: initial width of the taps; None: half the window, ``(max_delay_steps + 1) // 2``.
        learn_delay: whether ``delay`` is trained.
        bias: add a constant to each output neuron.
        delay_init: ``"uniform"`` over the window; ``"uniform_rounded"``, so in whole steps; ``"hammouamri_2024"``,
            uniform on 0..max_delay_steps + 1, then clamped, which doubles the mass at the longest delay.

    Attributes:
        weight: ``[out, in, delay_count]``, He-uniform with bound ``sqrt(6 / (in * delay_count))``.
        delay: steps; ``[out, in, delay_count]``, with 1 for ``out`` (axon) or for ``in`` (dendrite).
        sigma: buffer, width of the taps in steps.
        bias: ``[out]`` or None.

    State: :class:`DelayLineState`. Shapes: ``[time, batch, in]`` to ``[time, batch, out]``.

    Raises:
        ConfigError: an argument that names nothing or cannot be.

    Source: Hammouamri et al., ICLR 2024, section 3.2; sharing after Bouhadjar & Neftci, arXiv 2602.09746.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        max_delay_steps: int,
        sharing: str = "synapse",
        delay_count: int = 1,
        taps: str = "gaussian",
        sigma_steps: float | None = None,
        learn_delay: bool = True,
        bias: bool = False,
        delay_init: str = "uniform",
    ) -> None:
        super().__init__()
        for name, value, choices in (
            ("sharing", sharing, SHARING),
            ("taps", taps, TAPS),
            ("delay_init", delay_init, DELAY_INIT),
        ):
            if value not in choices:
                raise ConfigError(f"{name} must be one of {', '.join(choices)}; got {value!r}")
        for name, number, least in (
            ("in_features", in_features, 1), ("out_features", out_features, 1), ("delay_count", delay_count, 1),
            ("max_delay_steps", max_delay_steps, 0),
        ):  # fmt: skip
            if number < least:
                raise ConfigError(f"{name} must be at least {least}, got {number}")
        self.in_features, self.out_features = in_features, out_features
        self.max_delay_steps, self.delay_count = max_delay_steps, delay_count
        # A window of one step has nothing to spread; "linear" makes the layer exactly F.linear.
        self.sharing, self.taps, self.delay_init = sharing, taps if max_delay_steps else "linear", delay_init
        self.weight = nn.Parameter(torch.empty(out_features, in_features, delay_count))
        delay_shape = (
            out_features if sharing != "axon" else 1,
            in_features if sharing != "dendrite" else 1,
            delay_count,
        )
        # A window of one step leaves nothing to learn.
        self.delay = nn.Parameter(torch.empty(delay_shape), requires_grad=learn_delay and max_delay_steps > 0)
        self.bias = nn.Parameter(torch.zeros(out_features)) if bias else None
        self.sigma: Tensor
        if sigma_steps is None:
            sigma_steps = max((max_delay_steps + 1) // 2, 1)
        self.register_buffer("sigma", torch.tensor(float(sigma_steps)))
        self.set_sigma(sigma_steps)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw weights and delays anew from torch's global generator."""
        bound = math.sqrt(6 / (self.in_features * self.delay_count))
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

    def forward(
        self, x: Tensor, state: DelayLineState | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, DelayLineState]:
        """Current ``[time, batch, out]`` and the delay line's state."""
        del valid
        current, history = delayed_linear(
            x,
            self.weight,
            self.delay,
            self.sigma,
            None if state is None else state.history,
            max_delay_steps=self.max_delay_steps,
            taps=self.taps,
        )
        if self.bias is not None:
            current = current + self.bias
        return current, DelayLineState(history)

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return (
            f"{self.in_features}, {self.out_features}, max_delay_steps={self.max_delay_steps}, "
            f"sharing={self.sharing!r}, delay_count={self.delay_count}, taps={self.taps!r}, "
            f"sigma_steps={self.sigma.item():g}, learn_delay={self.delay.requires_grad}, bias={self.bias is not None}"
        )
