"""Layers with a delay on every synapse: what they share, and the linear one."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.arguments import choice, integer, real
from snn_delays.errors import ConfigError
from snn_delays.nn.door import FLAT, Form, admit, held
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.sparsity import DelayMask
from snn_delays.nn.specs import DelayOptions, DelaySpec, Device, spec_from
from snn_delays.ops.delay import check_delays, delayed_linear
from snn_delays.ops.delay.signal import in_window
from snn_delays.ops.state import loadable
from snn_delays.units import round_delays

if TYPE_CHECKING:
    from typing_extensions import Unpack


@loadable
class DelayLineState(NamedTuple):
    """The last ``max_delay_steps`` inputs, ``[max_delay_steps, batch, ...]`` in the shape of one step of the input."""

    history: Tensor


class Delays(nn.Module):
    """Learned delays of a layer, within a window, and sigma, the width of the taps over which they are spread.

    With ``width``, a parameter that begins at 0, taps are as wide as ``2 sigma sigmoid(width)``.
    """

    delay: nn.Parameter | None
    width: nn.Parameter | None
    sigma: Tensor
    taps: str
    max_delay_steps: int
    min_delay_steps: int = 0
    delay_rounding: str = "anneal"
    fixed_steps: int = 0  # of the window, for fixed parts of delays

    def effective_delay(self) -> Tensor:
        """Delays in steps as they act, before any rounding: ``delay``, masked, and with what is added to it."""
        assert self.delay is not None
        return self.delay

    def acting_delay(self) -> Tensor:
        """The delay that acts in this pass: an integer whose gradient is that of ``delay``, or ``delay`` itself.

        See ``delay_rounding`` of :class:`snn_delays.nn.DelaySpec`. Source: straight-through estimator after Bengio et
        al., arXiv 1308.3432.
        """
        delay = self.effective_delay()
        if self.delay_rounding not in ("straight_through", "stochastic"):
            return delay
        fixed = delay.detach()
        drawn = self.delay_rounding == "stochastic" and self.training
        integer = (fixed + torch.rand_like(fixed)).floor() if drawn else round_delays(fixed)
        return integer.clamp(self.min_delay_steps, self.max_delay_steps) + (delay - fixed)  # the bracket is 0

    @torch.no_grad()
    def round_after_epoch_(self) -> None:
        """Round delays in place where ``delay_rounding`` is ``"epoch"``; call it before every validation."""
        if self.delay is not None and self.delay.requires_grad and self.delay_rounding == "epoch":
            self.delay.copy_(round_delays(self.delay))

    def _register_sigma(self, sigma_steps: float, factory: dict[str, Any]) -> None:
        self.register_buffer("sigma", torch.tensor(0.0, **factory))
        self.set_sigma(sigma_steps)

    @property
    def tap_width(self) -> Tensor:
        """Width of the taps in steps, one number or such that it broadcasts against the weight."""
        return self.sigma if self.width is None else 2 * self.sigma * self.width.sigmoid()

    def set_sigma(self, sigma_steps: float) -> None:
        """Set the width of the taps, in steps. Raises ConfigError if it is not positive (gaussian) or negative."""
        bound: Any = {"above" if self.taps == "gaussian" else "least": 0}
        self.sigma.fill_(real(f"sigma_steps of {self.taps} taps", sigma_steps, **bound))

    @torch.no_grad()
    def clamp_delays_(self) -> None:
        """Bring every delay back into the window, in place: as :func:`snn_delays.keep_delays_in_window` does."""
        if self.delay is not None:
            self.delay.clamp_(self.min_delay_steps, self.max_delay_steps - self.fixed_steps)

    def check_delays(self, name: str = "delay") -> None:
        """Raise ConfigError if a delay is NaN or outside the window."""
        if self.delay is None:
            return
        delay = self.effective_delay()
        early = int((delay < self.min_delay_steps).sum()) if self.min_delay_steps else 0
        if early:
            raise ConfigError(
                f"{name}: {early} of {delay.numel()} delays are shorter than min_delay_steps = "
                f"{self.min_delay_steps} (the shortest is {float(delay.detach().min()):g}); call clamp_delays_() "
                "after every optimiser step (keep_delays_in_window does), or lower min_delay_steps"
            )
        check_delays(delay, self.max_delay_steps, name)


class DelayedLayer(Delays, SpikingModule):
    """Weights with delays: :class:`snn_delays.nn.DelayedLinear` and :class:`snn_delays.nn.DelayedConv2d`.

    ``weight_shape`` has the outputs first, then the inputs; ``delay_shape`` the same with 1 along every axis that
    shares a delay.

    Attributes:
        weight, delay, bias, width: parameters (the last two may be None).
        sigma: buffer, width of the taps in steps.
        fixed_delay: buffer, what is added to ``delay``; None unless ``sharing`` is ``"hybrid"``.
        mask: :class:`snn_delays.nn.sparsity.DelayMask`, or None where all delays act.
    """

    SHARING: ClassVar[tuple[str, ...]] = ()
    FORM: ClassVar[Form] = FLAT
    delay: nn.Parameter
    fixed_delay: Tensor | None
    mask: DelayMask | None

    def __init__(
        self, weight_shape: tuple[int, ...], delay_shape: tuple[int, ...], spec: DelaySpec, bias: bool,
        width_shape: tuple[int, ...] | None = None, **factory: Any,
    ) -> None:  # fmt: skip
        super().__init__()
        self.max_delay_steps, self.min_delay_steps = spec.max_delay_steps, spec.min_delay_steps
        # A window of one step has nothing to spread, and nothing to learn; "linear" makes the layer exactly one without
        # delays.
        self.sharing, self.taps, self.delay_init = spec.sharing, spec.taps if spec.spread else "linear", spec.delay_init
        self.delay_range_steps, self.delay_std_steps = spec.delay_range_steps, spec.delay_std_steps
        self.weight = nn.Parameter(torch.empty(weight_shape, **factory))
        learned = spec.learn_delay and spec.spread > 0
        self.delay_rounding = spec.delay_rounding if learned else "anneal"
        self.delay = nn.Parameter(torch.empty(delay_shape, **factory), requires_grad=learned)
        self.bias = nn.Parameter(torch.zeros(weight_shape[0], **factory)) if bias else None
        self._register_sigma(spec.initial_sigma, factory)
        width = nn.Parameter(torch.empty(width_shape, **factory)) if width_shape is not None and spec.spread else None
        self.register_parameter("width", width)
        hybrid, learned_mask = spec.sharing == "hybrid", spec.delay_mask == "learned"
        self.fixed_steps = spec.spread // 2 if hybrid else 0
        self.register_buffer("fixed_delay", torch.empty(weight_shape, **factory) if hybrid else None)
        sparse = spec.delay_sparsity > 0 and spec.spread > 0
        self.mask = DelayMask(delay_shape, spec.delay_sparsity, learned_mask, **factory) if sparse else None
        self.reset_parameters()

    @classmethod
    def _spec(cls, delays: DelaySpec | None, options: Any) -> DelaySpec:
        """The spec that the arguments make. Raises ConfigError for a sharing that this layer does not have."""
        spec = spec_from(DelaySpec, delays, options)
        choice("sharing", spec.sharing, cls.SHARING)
        return spec

    def reset_parameters(self) -> None:
        """Draw weights and delays anew from torch's global generator."""
        bound = math.sqrt(6 / math.prod(self.weight.shape[1:]))
        nn.init.uniform_(self.weight, -bound, bound)
        published = self.delay_init.startswith("hammouamri_2024") and self.max_delay_steps > self.min_delay_steps
        with torch.no_grad():
            if self.delay_std_steps is None:
                first, last = self.delay_range_steps or (self.min_delay_steps, self.max_delay_steps + published)
                nn.init.uniform_(self.delay, first, last)
            else:
                nn.init.normal_(self.delay, 0.0, self.delay_std_steps).abs_().add_(self.min_delay_steps)
            self.delay.clamp_(max=self.max_delay_steps - self.fixed_steps)
            if self.delay_init.endswith("_rounded"):
                self.delay.copy_(round_delays(self.delay))
        if self.bias is not None:
            nn.init.zeros_(self.bias)
        if self.width is not None:
            nn.init.zeros_(self.width)
        if self.fixed_delay is not None:
            self.fixed_delay.copy_(torch.randint_like(self.fixed_delay, self.fixed_steps + 1))
        if self.mask is not None:
            self.mask.reset()

    def effective_delay(self) -> Tensor:
        """As :meth:`Delays.effective_delay`."""
        delay: Tensor = self.delay
        if self.mask is not None:
            delay = self.mask.applied(delay, self.min_delay_steps)
        return delay if self.fixed_delay is None else delay + self.fixed_delay

    @torch.no_grad()
    def clamp_delays_(self) -> None:
        """As :meth:`Delays.clamp_delays_`; a mask that is learned follows its scores."""
        super().clamp_delays_()
        if self.mask is not None:
            self.mask.update()

    @torch.no_grad()
    def unmask_(self) -> None:
        """Write the delays that act into ``delay``, and let all of them act."""
        if self.mask is not None:
            self.delay.copy_(self.mask.applied(self.delay, self.min_delay_steps))
            self.mask = None

    def _run(
        self, operation: Callable[..., tuple[Tensor, Tensor]], x: Tensor, state: DelayLineState | None, **options: Any
    ) -> tuple[Tensor, DelayLineState]:
        """Current, without bias, and state by an operation on delays."""
        weight = self.weight  # once: where weights are kept on a grid this rounds them
        x = admit(self, x, self.FORM, weight)
        if self.min_delay_steps and self.delay.device.type == "cpu":
            self.check_delays()  # the operation would name shifted numbers
        shape = (self.max_delay_steps, *x.shape[1:])
        history = held(self, state, DelayLineState, x, shape=shape, what="delay line's state")
        current, history = in_window(
            operation, x, history, weight, self.acting_delay(), self.tap_width, min_delay_steps=self.min_delay_steps,
            max_delay_steps=self.max_delay_steps, taps=self.taps, **options,
        )  # fmt: skip
        return current, DelayLineState(history)

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        least = f", min_delay_steps={self.min_delay_steps}" if self.min_delay_steps else ""
        mask = self.mask
        sparsity = "" if mask is None else f"delay_sparsity={mask.sparsity:g}, "
        rounding = f"delay_rounding={self.delay_rounding!r}, " if self.delay_rounding != "anneal" else ""
        return (
            f"{super().extra_repr()}, max_delay_steps={self.max_delay_steps}{least}, sharing={self.sharing!r}, "
            f"taps={self.taps!r}, sigma_steps={self.sigma.item():g}, learn_delay={self.delay.requires_grad}, "
            f"{sparsity}{rounding}bias={self.bias is not None}"
        )


class DelayedLinear(DelayedLayer):
    r"""Linear layer whose synapses have delays, learned with the weights.

    .. math:: y_t[o] = b[o] + \sum_{i,c} w[o,i,c]\; x_{t - d[o,i,c]}[i]

    where a delay that is no integer is spread over neighbouring steps by ``taps``
    (:mod:`snn_delays.ops.delay.taps`). Parameters are complete after construction; ``delay`` is the delay, in steps,
    min_delay_steps..max_delay_steps, larger is later. An optimiser knows no window:
    :func:`snn_delays.keep_delays_in_window` clamps delays after each of its steps.

    Args:
        in_features: neurons before the synapse.
        out_features: neurons after it.
        delays: their window, sharing, number, taps, width and initial values; any field of :class:`DelaySpec` can
            be given by keyword, as in ``DelayedLinear(140, 64, max_delay_steps=24, sharing="axon")``.
        bias: add a constant to each output neuron.
        device, dtype: of the parameters, as for :class:`torch.nn.Linear`.

    Attributes:
        weight: ``[out, in, delay_count]``, He-uniform with bound ``sqrt(6 / (in * delay_count))``.
        delay: steps; ``[out, in, delay_count]``, with 1 for ``out`` (axon, hybrid), for ``in`` (dendrite), or both
            (layer).
        sigma: buffer, width of the taps in steps.
        width: parameter of ``tap_width``, ``2 sigma sigmoid(width)``, with ``learn_width``; else None.
        bias: ``[out]`` or None.

    State: :class:`DelayLineState`. Shapes: ``[time, batch, in]`` to ``[time, batch, out]``.

    Raises ConfigError for an argument that names nothing or cannot be.

    Source: Hammouamri et al., ICLR 2024, section 3.2; sharing after Bouhadjar & Neftci, arXiv 2602.09746;
    width after Queant et al., arXiv 2509.24852.
    """

    SHARING = ("synapse", "axon", "dendrite", "layer", "hybrid")
    SHOWN = ("in_features", "out_features", "delay_count=")

    def __init__(
        self,
        in_features: int,
        out_features: int,
        delays: DelaySpec | None = None,
        *,
        bias: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: "Unpack[DelayOptions]",
    ) -> None:
        spec = self._spec(delays, options)
        in_features, out_features = integer("in_features", in_features, 1), integer("out_features", out_features, 1)
        weight_shape = (out_features, in_features, spec.delay_count)
        shapes = {
            "synapse": weight_shape, "axon": (1, *weight_shape[1:]), "dendrite": (out_features, 1, spec.delay_count),
            "layer": (1, 1, spec.delay_count), "hybrid": (1, *weight_shape[1:]), "none": None,
        }  # fmt: skip
        delay_shape, width_shape = shapes[spec.sharing], shapes[spec.learn_width]
        assert delay_shape is not None
        super().__init__(weight_shape, delay_shape, spec, bias, width_shape, device=device, dtype=dtype)
        self.in_features, self.out_features, self.delay_count = in_features, out_features, spec.delay_count

    def forward(self, x: Tensor, state: DelayLineState | None = None) -> tuple[Tensor, DelayLineState]:
        """Current ``[time, batch, out]`` and the delay line's state."""
        current, after = self._run(delayed_linear, x, state)
        return current if self.bias is None else current + self.bias, after
