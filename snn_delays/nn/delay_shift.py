"""DelayShift: the token shift of RWKV, generalised by learned delays."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.arguments import integer, shown
from snn_delays.errors import ShapeError
from snn_delays.nn.delayed import DelayLineState, Delays
from snn_delays.nn.door import FLAT, admit, held, summed_in
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.specs import Device, ShiftSpec, spec_from
from snn_delays.ops.delay.taps import tap_weights
from snn_delays.ops.depthwise import depthwise
from snn_delays.units import round_delays


class DelayShift(Delays):
    r"""Several mixtures of each neuron's present and past, side by side: one for each use that is made of them.

    .. math::
        y_t[m, c] = \mu_{m,c}\, x_t[c] + (1 - \mu_{m,c})\, x_{t-1}[c] + \sum_{j=1}^{P} a_{j,m,c}\, x_{t - d_{j,m,c}}[c]

    The first two terms are RWKV's token shift. Each further point has a weight ``a``, zero at first, so that the layer
    begins as a token shift, and a delay ``d``: real-valued, spread over neighbouring steps by ``taps`` while it is
    learned (:mod:`snn_delays.ops.delay.taps`), integers in the form that is evaluated (:meth:`freeze_`).

    Args:
        mix: ``mu`` at first, ``[mixes, features]``; it decides both numbers.
        delays: their kind, window, number, taps and width; any field of :class:`ShiftSpec` can be given by keyword.
        device, dtype: of the parameters.

    Delays are drawn log-uniformly from ``1..max_delay_steps``: recent tokens matter most.

    Attributes:
        mix: ``[mixes, features]``.
        weight: ``a``, ``[points, mixes, features]``; None for ``"token"`` and ``"dense"``.
        delay: ``d``, in steps, as ``weight``; not trained for ``"fixed"``.
        lags: of ``"dense"``, what is added to the token shift, ``[max_delay_steps + 1, mixes, features]``; else None.
        sigma: buffer, width of the taps in steps.

    State: :class:`DelayLineState`, the last ``max_delay_steps`` inputs. Shapes: ``[time, batch, features]`` to
    ``[mixes, time, batch, features]``; it obeys the chunk law, but is no layer for a ``Sequential``, since time comes
    second (:class:`NeuronDelays` is one).

    Raises:
        ConfigError: an argument that names nothing or cannot be, or, on the CPU, a delay that is NaN or outside the
            window. ShapeError: an input of other features.

    Source: the token shift of Peng et al., EMNLP Findings 2023 (RWKV); delays as depthwise DCLS, Khalfaoui-Hassani et
    al., TMLR 2023. The combination is this package's own.
    """

    def __init__(
        self,
        mix: Tensor,
        delays: ShiftSpec | None = None,
        *,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: Any,
    ) -> None:
        super().__init__()
        factory: Any = {"device": device, "dtype": dtype}
        spec = spec_from(ShiftSpec, delays, options)
        if not isinstance(mix, Tensor) or mix.ndim != 2 or not mix.is_floating_point():
            raise ShapeError(f"mix must be a floating-point tensor [mixes, features], got {shown(mix)}")
        self.kind, self.points = spec.kind, spec.points
        self.max_delay_steps = 1 if spec.kind == "token" else spec.max_delay_steps
        self.taps = "linear" if spec.kind == "fixed" else spec.taps
        self.mix = nn.Parameter(mix.to(**factory, copy=True))
        self.weight: nn.Parameter | None = None
        self.delay: nn.Parameter | None = None
        self.lags: nn.Parameter | None = None
        # Drawn for every kind, so that networks of the same seed that differ in it begin with the same matrices.
        drawn = torch.exp(torch.rand(spec.points, *mix.shape, **factory) * math.log(spec.max_delay_steps))
        if spec.kind in ("learned", "fixed"):
            self.weight = nn.Parameter(torch.zeros(spec.points, *mix.shape, **factory))
            self.delay = nn.Parameter(drawn, requires_grad=spec.kind == "learned")
            if spec.kind == "fixed":
                self.round_delays_()
        elif spec.kind == "dense":
            self.lags = nn.Parameter(torch.zeros(spec.max_delay_steps + 1, *mix.shape, **factory))
        self.frozen: Tensor | None
        self.register_buffer("frozen", None, persistent=False)
        self._register_sigma(spec.initial_sigma, factory)

    def forward(self, x: Tensor, state: DelayLineState | None = None) -> tuple[Tensor, DelayLineState]:
        """The mixtures ``[mixes, time, batch, features]`` and the delay line's state."""
        x = admit(self, x, FLAT, self.mix)
        if x.shape[-1] != self.mix.shape[1]:
            raise ShapeError(f"a shift of {self.mix.shape[1]} neurons got an input of shape {tuple(x.shape)}")
        y, history = depthwise(x, self.kernel(), held(self, state, DelayLineState, x, summed_in(x)))
        return y, DelayLineState(history)

    def kernel(self) -> Tensor:
        """What an input k steps ago counts for: ``[max_delay_steps + 1, mixes, features]``."""
        if self.frozen is not None:
            return self.frozen
        now_and_before = torch.stack([self.mix, 1 - self.mix])
        if self.lags is not None:
            rest: Tensor = self.lags
        elif self.weight is not None and self.delay is not None:
            if self.delay.device.type == "cpu":
                self.check_delays()
            rest = (tap_weights(self.delay, self.sigma, self.max_delay_steps, self.taps) * self.weight).sum(1)
        else:
            return now_and_before
        return torch.cat([rest[:2] + now_and_before, rest[2:]])

    def set_sigma(self, sigma_steps: float) -> None:
        """Set the width of the taps, in steps. Raises ConfigError as every layer with delays."""
        super().set_sigma(sigma_steps)
        self.frozen = None

    def clamp_delays_(self) -> None:
        """Bring every delay back into the window, in place: as training does after each optimiser step."""
        super().clamp_delays_()
        self.frozen = None

    @torch.no_grad()
    def round_delays_(self) -> None:
        """Round every delay to an integer, spread over no other step, in place."""
        if self.delay is not None:
            self.delay.copy_(round_delays(self.delay))
            self.delay.requires_grad_(False)
            self.taps = "linear"

    @torch.no_grad()
    def freeze_(self) -> None:
        """Round every delay, in place, and keep the kernel: the form that is evaluated, a step at a time too."""
        self.round_delays_()
        self.frozen = self.kernel().detach().clone()

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self.frozen = None  # it is of the weights that were
        super()._load_from_state_dict(*args, **kwargs)

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        mixes, features = self.mix.shape
        if self.kind == "token":
            return f"{mixes} x {features}, kind='token'"
        points = f", points={self.points}, taps={self.taps!r}" if self.weight is not None else ""
        return f"{mixes} x {features}, kind={self.kind!r}, max_delay_steps={self.max_delay_steps}{points}"


class NeuronDelays(SpikingModule):
    """Each neuron's own signal with delays: axonal where it is its spikes, dendritic where it is its input current.

    A :class:`DelayShift` of one mixture that begins as the signal itself; arguments and state are its own.

    Shapes: ``[time, batch, features]`` to the same.
    """

    def __init__(self, features: int, delays: ShiftSpec | None = None, **options: Any) -> None:
        super().__init__()
        self.shift = DelayShift(torch.ones(1, integer("features", features, 1)), delays, **options)

    def forward(self, x: Tensor, state: DelayLineState | None = None) -> tuple[Tensor, DelayLineState]:
        """The signal with its delayed copies, and the delay line's state."""
        y, after = self.shift(x, state)
        return y[0], after
