"""Adaptive and resonating neurons; their equations are in :func:`snn_delays.ops.cells.cells`.

Each neuron has parameters of its own, all trained, drawn from the ranges of the publication. Those that have bounds
are kept in them by ``clamp_parameters_``, which :func:`snn_delays.keep_delays_in_window` and training by recipes
call after every optimiser step. Exports and streaming refuse these neurons by name: no format here has them.
"""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.arguments import integer, real, shown
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.door import SERIES, admit, fitting, parts_of, summed_in
from snn_delays.nn.neuron import Neuron
from snn_delays.nn.specs import Device
from snn_delays.ops.cells import cells
from snn_delays.ops.state import loadable
from snn_delays.ops.surrogate import Boxcar, Exponential, MultiGaussian, Surrogate, checked_surrogate

Range = tuple[float, float]
UNIT: Range = (0.0, 1.0)


@loadable
class AdaptiveState(NamedTuple):
    """Membrane and adaptation after the last step, each ``[batch, ...]`` in the shape of a step of the input."""

    u: Tensor
    w: Tensor


@loadable
class AdaptiveSpikeState(NamedTuple):
    """The same and the last spike."""

    u: Tensor
    w: Tensor
    s: Tensor


@loadable
class ComplexState(NamedTuple):
    """A complex membrane, and the last spike."""

    re: Tensor
    im: Tensor
    s: Tensor


@loadable
class ResonatorState(NamedTuple):
    """Both parts of a resonator, and by how much threshold and damping are raised."""

    u: Tensor
    v: Tensor
    q: Tensor


class CellNeuron(Neuron):
    """What neurons with several states share.

    Args:
        size: neurons.
        threshold: membrane above which a neuron fires.
        surrogate: derivative in place of the step's; None: that of the publication.
        detach_reset: treat the spike in the reset as a constant in the backward pass; None: as published.
        random_state: without a state begin with random numbers, U(0, 1), as code published with some of them does,
            in evaluation too; otherwise at rest, with zeros.
        device, dtype: of the parameters.

    Shapes: ``[time, batch, ...]`` to spikes of the same shape, everything after time and batch is ``size`` neurons.
    """

    KIND: ClassVar[str]
    STATE: ClassVar[Any]
    SURROGATE: ClassVar[Surrogate] = Boxcar(0.5)
    DETACHED: ClassVar[bool] = False
    BOUNDS: ClassVar[dict[str, Range]] = {}
    SHOWN = ("size", "threshold=")

    def __init__(
        self, size: int, *, threshold: float = 1.0, surrogate: Surrogate | None = None,
        detach_reset: bool | None = None, random_state: bool = False, device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.size, self.random_state = integer("size", size, 1), random_state
        self.threshold = real("threshold", threshold)
        self.surrogate = checked_surrogate(surrogate, self.SURROGATE)
        self.detach_reset = self.DETACHED if detach_reset is None else detach_reset
        self._factory: Any = {"device": device, "dtype": dtype}

    def _draw(self, **ranges: Range) -> None:
        """Parameters by name, uniform over their ranges; those of the publication are given as options."""
        for name, (low, high) in ranges.items():
            self.register_parameter(name, nn.Parameter(low + (high - low) * torch.rand(self.size, **self._factory)))

    def constants(self) -> dict[str, float | Tensor]:
        """The constants of :func:`snn_delays.ops.cells.cells`, from the parameters."""
        raise TypeError(f"{type(self).__name__} has to define constants()")

    @torch.no_grad()
    def clamp_parameters_(self) -> None:
        """Keep parameters within their bounds; to be called after every optimiser step."""
        for name, (low, high) in self.BOUNDS.items():
            getattr(self, name).clamp_(low, high)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        """Spikes, shaped as ``x``, and the state."""
        x = admit(self, x, SERIES, next(self.parameters()))
        if math.prod(x.shape[2:]) != self.size:
            raise ShapeError(f"{type(self).__name__} of {self.size} neurons got a current of shape {tuple(x.shape)}")
        dtype, shape = summed_in(x), x.shape[1:]
        if state is not None:
            parts = [
                fitting(self, part, x, dtype, shape=shape, what=f"state {name}")
                for name, part in zip(self.STATE._fields, parts_of(self, state, self.STATE))
            ]
        else:
            start = torch.rand if self.random_state else torch.zeros
            parts = [start(shape, dtype=dtype, device=x.device) for _ in self.STATE._fields]
        spikes, after = cells(
            self.KIND, x.flatten(2), [part.flatten(1) for part in parts], self.constants(),
            detach_reset=self.detach_reset, surrogate=self.surrogate,
        )  # fmt: skip
        return spikes.view(x.shape), self.STATE(*(part.view(shape) for part in after))


def _range(name: str, given: Range, least: float = -math.inf) -> Range:
    low, high = (real(name, each) for each in given)
    if not least < low <= high < math.inf:
        raise ConfigError(f"{name} is (from, to), finite and above {least:g}, got {shown(given)}")
    return low, high


class SEAdLIF(CellNeuron):
    r"""Adaptive LIF, discretised by symplectic Euler: ``"se_adlif"``.

    Args:
        tau_u_steps, tau_w_steps: ranges of the time constants of membrane and adaptation; in them they are learned,
            :math:`\tau = m\,\tau_{max} + (1 - m)\,\tau_{min}`, with :math:`\alpha = e^{-1/\tau_u}` and
            :math:`\beta = e^{-1/\tau_w}`.
        q: scale of the adaptation's parameters: the constants are ``q a`` and ``q b``.
        size, options: those of :class:`CellNeuron`.

    Parameters, each ``[size]``: ``m_u``, ``m_w`` and ``a`` in 0..1, ``b`` in 0..2. State: :class:`AdaptiveState`.

    Source: Baronig et al., 2024 (arXiv 2408.07517); steps of 4 ms.
    """

    m_u: Tensor
    m_w: Tensor
    a: Tensor
    b: Tensor

    KIND: ClassVar[str] = "se_adlif"
    STATE: ClassVar[Any] = AdaptiveState
    SURROGATE, DETACHED = Exponential(5.0, 0.4), True
    BOUNDS = {"m_u": UNIT, "m_w": UNIT, "a": UNIT, "b": (0.0, 2.0)}  # noqa: RUF012, a ClassVar

    def __init__(
        self, size: int, *, tau_u_steps: Range = (5.0, 25.0), tau_w_steps: Range = (60.0, 300.0), q: float = 120.0,
        **options: Any,
    ) -> None:  # fmt: skip
        super().__init__(size, **options)
        self.tau_u_steps = _range("tau_u_steps", tau_u_steps, 0.0)
        self.tau_w_steps, self.q = _range("tau_w_steps", tau_w_steps, 0.0), real("q", q)
        self._draw(**self.BOUNDS)

    def constants(self) -> dict[str, float | Tensor]:
        """As :meth:`CellNeuron.constants`."""
        (low_u, high_u), (low_w, high_w) = self.tau_u_steps, self.tau_w_steps
        return {
            "alpha": torch.exp(-1 / (low_u + (high_u - low_u) * self.m_u)),
            "beta": torch.exp(-1 / (low_w + (high_w - low_w) * self.m_w)),
            "a": self.q * self.a, "b": self.q * self.b, "threshold": self.threshold,
        }  # fmt: skip


class EFAdLIF(SEAdLIF):
    """The same by forward Euler, which may oscillate: ``"ef_adlif"``. State: :class:`AdaptiveSpikeState`."""

    KIND, STATE = "ef_adlif", AdaptiveSpikeState


class CAdLIF(CellNeuron):
    """Adaptive LIF whose parameters are kept where it is stable: ``"c_adlif"``.

    Parameters, each ``[size]``: ``alpha`` in 0.36..0.96, ``beta`` in 0.96..0.99, ``a`` in 0..1, ``b`` in 0..2; they are
    clamped after every optimiser step, where the published code clamps them in the forward pass. Args:
    :class:`CellNeuron`. State: :class:`AdaptiveSpikeState`.

    Source: Deckers et al., Frontiers in Neuroscience 2024, as Fabre et al., 2025, give it.
    """

    alpha: Tensor
    beta: Tensor
    a: Tensor
    b: Tensor

    KIND, STATE = "c_adlif", AdaptiveSpikeState
    BOUNDS = {"alpha": (0.36, 0.96), "beta": (0.96, 0.99), "a": UNIT, "b": (0.0, 2.0)}  # noqa: RUF012

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(size, **options)
        self._draw(**self.BOUNDS)

    def constants(self) -> dict[str, float | Tensor]:
        """As :meth:`CellNeuron.constants`."""
        return {"alpha": self.alpha, "beta": self.beta, "a": self.a, "b": self.b, "threshold": self.threshold}


class SiLIF(CellNeuron):
    r"""The adaptive LIF of :class:`CAdLIF`, its decays as of a state-space model: ``"c_adlif"`` with

    .. math:: \alpha = e^{-e^A e^D} \qquad \beta = e^{-e^B e^D}

    Parameters, each ``[size]``: ``log_a`` (A) over log 10..250, ``log_b`` (B) over log 2.5..10, ``log_dt`` (D), log
    0.004 at first, ``a`` in 0..1 and ``b`` in 0..2, which are clamped. Args: :class:`CellNeuron`. State:
    :class:`AdaptiveSpikeState`.

    Source: Fabre et al., 2025 ("Structured state space model dynamics and parametrization for spiking neural
    networks"); steps of 4 ms, ``random_state=True``.
    """

    log_a: Tensor
    log_b: Tensor
    log_dt: Tensor
    a: Tensor
    b: Tensor

    KIND, STATE = "c_adlif", AdaptiveSpikeState
    BOUNDS = {"a": UNIT, "b": (0.0, 2.0)}  # noqa: RUF012

    def __init__(self, size: int, **options: Any) -> None:
        super().__init__(size, **options)
        dt = math.log(0.004)
        self._draw(
            log_a=(math.log(10), math.log(250)), log_b=(math.log(2.5), math.log(10)), log_dt=(dt, dt), **self.BOUNDS
        )

    def constants(self) -> dict[str, float | Tensor]:
        """As :meth:`CellNeuron.constants`."""
        alpha, beta = (torch.exp(-torch.exp(log + self.log_dt)) for log in (self.log_a, self.log_b))
        return {"alpha": alpha, "beta": beta, "a": self.a, "b": self.b, "threshold": self.threshold}


class CSiLIF(CellNeuron):
    r"""A complex membrane that turns and shrinks, :math:`\lambda = e^{(-e^A + i B)\,e^D}`: ``"c_silif"``.

    Args:
        dt_max: largest of the steps :math:`e^D` at first, log-uniform from 0.01: 0.5 for SHD, 5 for SSC.
        size, options: those of :class:`CellNeuron`.

    Parameters, each ``[size]``: ``log_a`` (A), log 0.5 at first, ``omega`` (B), pi at first, ``log_dt`` (D), and ``b``,
    over 0..1 at first. State: :class:`ComplexState`. Source: as of :class:`SiLIF`.
    """

    log_a: Tensor
    omega: Tensor
    log_dt: Tensor
    b: Tensor

    KIND, STATE = "c_silif", ComplexState

    def __init__(self, size: int, *, dt_max: float = 0.5, **options: Any) -> None:
        super().__init__(size, **options)
        low, high = _range("dt_max, with the least", (0.01, dt_max), 0.0)
        self._draw(
            log_a=(math.log(0.5),) * 2, omega=(math.pi,) * 2, log_dt=(math.log(low), math.log(high)), b=UNIT
        )  # fmt: skip

    def constants(self) -> dict[str, float | Tensor]:
        """As :meth:`CellNeuron.constants`."""
        dt = torch.exp(self.log_dt)
        size, angle = torch.exp(-torch.exp(self.log_a) * dt), self.omega * dt
        return {
            "real": size * torch.cos(angle), "imag": size * torch.sin(angle), "b": self.b, "threshold": self.threshold
        }  # fmt: skip


class BRF(CellNeuron):
    r"""Balanced resonate-and-fire, ``"brf"``: a spike raises threshold and damping for a while, and resets nothing.

    .. math:: b = \frac{-1 + \sqrt{1 - (dt\,\omega)^2}}{dt} - |b_{offset}|

    Args:
        omega, b_offset: ranges that the parameters of these names, ``[size]``, are drawn from; :math:`dt\,\omega` must
            not pass 1, where the resonator diverges: the membrane becomes NaN and training stops.
        dt: length of a step in the units of omega, 0.01 as published.
        size, options: those of :class:`CellNeuron`; there is no reset to detach.

    State: :class:`ResonatorState`.

    Source: Higuchi et al., ICML 2024; ``dt`` is that of the equation, whatever the length of a step.
    """

    omega: Tensor
    b_offset: Tensor

    KIND, STATE, SURROGATE = "brf", ResonatorState, MultiGaussian(0.5, 0.15)

    def __init__(
        self, size: int, *, omega: Range = (5.0, 10.0), b_offset: Range = (2.0, 3.0), dt: float = 0.01, **options: Any
    ) -> None:
        super().__init__(size, **options)
        if options.get("detach_reset") is not None:
            raise ConfigError("BRF neurons have no reset, so detach_reset does nothing")
        self.dt = real("dt", dt)
        self._draw(omega=_range("omega", omega), b_offset=_range("b_offset", b_offset))
        if not (self.dt > 0 and self.dt * max(map(abs, omega)) <= 1):
            raise ConfigError(f"dt * omega must not pass 1 (dt > 0), got dt = {dt} and omega up to {max(omega)}")

    def constants(self) -> dict[str, float | Tensor]:
        """As :meth:`CellNeuron.constants`."""
        border = (torch.sqrt(1 - (self.dt * self.omega) ** 2) - 1) / self.dt
        b = border - self.b_offset.abs()
        return {"omega": self.omega, "b": b, "dt": self.dt, "threshold": self.threshold}
