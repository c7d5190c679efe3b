"""Neurons: leaky integrate-and-fire, and leaky integrators that never fire; both in real numbers and in integers."""

import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from snn_delays.arguments import real, shown
from snn_delays.errors import ConfigError, ExportError, ShapeError
from snn_delays.fixed_point import FixedPoint
from snn_delays.nn.door import FLAT, SERIES, Form, admit, check_device, held, summed_in
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.specs import Device, NeuronSpec
from snn_delays.ops.leaky_integrator import leaky_integrator
from snn_delays.ops.lif import lif
from snn_delays.ops.state import loadable
from snn_delays.ops.surrogate import ATan, Surrogate, checked_surrogate
from snn_delays.ops.tracing import untraced
from snn_delays.units import decay_from_tau

CONSTANTS = ("tau_steps", "threshold", "bias")  # that may be a buffer of one number for each neuron


@loadable
class MembraneState(NamedTuple):
    """Membrane after the last step, ``[batch, ...]`` in the shape of one step of the input."""

    v: Tensor


class Neuron(SpikingModule):
    """A population of neurons: spikes where ``fires``, else membranes.

    A constant of its neurons is a float, or where they differ a buffer ``[neuron]`` in float64, whatever the precision
    of the network: rounded to half precision, a time constant is another one.
    """

    FORM: ClassVar[Form] = SERIES
    fires: ClassVar[bool] = True
    tau_steps: float | Tensor

    def per_neuron(self) -> dict[str, int]:
        """The constants that are not the same for all neurons, and how many numbers each has."""
        constants = {name: getattr(self, name, None) for name in ("tau_steps", "tau_syn_steps", "threshold")}
        return {name: value.numel() for name, value in constants.items() if isinstance(value, Tensor) and value.ndim}

    @property
    def decay(self) -> float | Tensor:
        """Factor by which a membrane shrinks in a step, ``1 - 1 / tau_steps``."""
        return decay_of(self.tau_steps)

    def _set_tau(self, tau_steps: float | Tensor, name: str = "tau_steps") -> None:
        self._set_constant(name, tau_steps)
        decay_from_tau(_least(getattr(self, name)))

    def _enter(self, x: Tensor, state: Any, dtype: torch.dtype | None = None) -> tuple[Tensor, Tensor | None]:
        """The current, and the membrane before it in the dtype it is summed in."""
        x = admit(self, x, self.FORM, next(iter(self._parameters.values()), None))
        if self._buffers:
            neurons = math.prod(x.shape[2:])
            for name in CONSTANTS:
                constant = self._buffers.get(name)
                if constant is not None:
                    check_device(self, x, constant)
                    if constant.numel() != neurons:
                        raise ShapeError(
                            f"{name} has {constant.numel()} numbers, one for each neuron, and the current of shape "
                            f"{tuple(x.shape)} has {neurons} neurons"
                        )
        v = held(self, state, MembraneState, x, dtype or summed_in(x), shape=x.shape[1:], what="membrane state")
        return x, v

    def _set_constant(self, name: str, value: float | Tensor) -> None:
        """Keep a float as an attribute, a tensor ``[neuron]`` as a buffer."""
        if not isinstance(value, Tensor):
            setattr(self, name, real(name, value))
            return
        if value.requires_grad:
            raise ConfigError(
                f"{name} is a constant of the layer, the tensor given learns: detach it, or call snn_delays.ops.lif, "
                "which has gradients to decay and threshold"
            )
        if value.ndim > 1 or not value.numel() or value.dtype is torch.bool or value.is_complex():
            raise ConfigError(f"{name} is a number, or a tensor [neuron] of one for each neuron; got {shown(value)}")
        if value.ndim:
            self.register_buffer(name, value.double().clone())
        else:
            setattr(self, name, float(value))

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Any:
        """Move constants with the layer, in the precision they have."""
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, value in before.items():
            after = self._buffers[name]
            if value is not None and after is not None and after.dtype != value.dtype:
                self._buffers[name] = after.double() if value.is_meta else value.to(after.device)
        return self


def decay_of(tau: float | Tensor) -> float | Tensor:
    """``1 - 1 / tau``."""
    # Read at every step, so what was checked on construction is not checked again.
    plain = tau.__class__ is float and tau >= 1
    return 1.0 - 1.0 / tau if plain or isinstance(tau, Tensor) else decay_from_tau(tau)


def _least(value: float | Tensor) -> float:
    return float(value.min()) if isinstance(value, Tensor) else value


class ThresholdNeuron(Neuron):
    """Neurons that fire at a threshold and are reset: what :class:`LIF` and neurons like it share, their options."""

    SHOWN = tuple(f"{field.name}=" for field in fields(NeuronSpec))
    threshold: float | Tensor

    def __init__(
        self,
        tau_steps: float | Tensor,
        *,
        threshold: float | Tensor = 1.0,
        v_reset: float = 0.0,
        reset: str = "hard",
        detach_reset: bool = True,
        decay_input: bool = False,
        strict: bool = False,
        surrogate: Surrogate | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._set_tau(tau_steps)
        self._set_constant("threshold", threshold)
        self.v_reset = real("v_reset", v_reset)
        if not _least(self.threshold) > self.v_reset:
            raise ConfigError(f"the threshold ({shown(threshold)}) must lie above v_reset ({v_reset})")
        if not math.isfinite(self.v_reset):
            raise ConfigError(f"v_reset must be a finite number, got {v_reset}")
        if reset not in ("hard", "soft"):
            raise ConfigError(f"reset must be 'hard' or 'soft', got {reset!r}")
        if len(set(self.per_neuron().values())) > 1:
            raise ConfigError(f"constants of different numbers of neurons: {self.per_neuron()}")
        self.reset, self.detach_reset, self.decay_input, self.strict = reset, detach_reset, decay_input, strict
        self.surrogate: Surrogate = checked_surrogate(surrogate, ATan())
        if device is not None:
            self.to(device)

    def options(self) -> dict[str, Any]:
        """What :func:`snn_delays.ops.lif.lif` is given besides current, membrane and decay."""
        return {
            "threshold": self.threshold, "v_reset": self.v_reset, "reset": self.reset,
            "detach_reset": self.detach_reset, "decay_input": self.decay_input, "strict": self.strict,
            "surrogate": self.surrogate,
        }  # fmt: skip


class LIF(ThresholdNeuron):
    """Leaky integrate-and-fire neurons; equations in :func:`snn_delays.ops.lif.lif`.

    Args:
        tau_steps: membrane time constant in steps, >= 1; ``decay = 1 - 1 / tau_steps``. A number, or a tensor
            ``[neuron]``, kept as a buffer.
        threshold: membrane at which a neuron fires; a number, or a tensor ``[neuron]``, kept as a buffer.
        v_reset: resting and reset membrane.
        reset: ``"hard"`` or ``"soft"``.
        detach_reset: treat the spike in the reset as a constant in the backward pass.
        decay_input: scale the input by ``1 / tau_steps``.
        strict: fire only above the threshold, not at it.
        surrogate: derivative in place of the step's.
        device, dtype: as torch's layers take them; constants per neuron move to the device and stay in float64.

    State: :class:`MembraneState`. Shapes: ``[time, batch, ...]`` to spikes of the same shape; with constants per
    neuron, everything after time and batch is that many neurons. Constants per neuron are trained around and
    evaluated; export and streaming refuse them by name.

    Raises:
        ConfigError: ``tau_steps`` below one, unknown reset, or a threshold not above ``v_reset``.
        ShapeError: see :mod:`snn_delays.nn.door`; a current of other neurons than the constants.
    """

    def forward(self, x: Tensor, state: MembraneState | None = None) -> tuple[Tensor, MembraneState]:
        """Spikes, shaped as ``x``, and the membrane state."""
        x, v0 = self._enter(x, state)
        if x.ndim == 3:  # nothing to lay out flat: views would cost a small step a quarter of its time
            spikes, v = lif(x, v0, decay=self.decay, **self.options())
            return spikes, MembraneState(v)
        before = None if v0 is None else v0.flatten(1)
        spikes, v = lif(x.flatten(2), before, decay=self.decay, **self.options())
        return spikes.view(x.shape), MembraneState(v.view(x.shape[1:]))


class LeakyIntegrator(Neuron):
    r"""Leaky integrators that never fire; the output is the membrane.

    .. math:: v_t = d\,v_{t-1} + g\,x_t \qquad d = 1 - 1/\tau \qquad g = 1 - d \text{ if decay\_input else } 1

    Args:
        tau_steps: membrane time constant in steps, >= 1: a number, or a tensor ``[neuron]``, kept as a buffer.
        decay_input: scale the input by ``1 / tau_steps``.
        device, dtype: as for :class:`LIF`.

    State: :class:`MembraneState`. Shapes: ``[time, batch, ...]`` to membranes of the same shape. Errors: those of
    :class:`LIF`.
    """

    SHOWN = ("tau_steps=", "decay_input=")
    fires = False

    def __init__(
        self,
        tau_steps: float | Tensor,
        *,
        decay_input: bool = False,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self._set_tau(tau_steps)
        self.decay_input = decay_input
        if device is not None:
            self.to(device)

    def forward(self, x: Tensor, state: MembraneState | None = None) -> tuple[Tensor, MembraneState]:
        """Membranes, shaped as ``x``, and the state."""
        x, v0 = self._enter(x, state)
        before = None if v0 is None else v0.flatten(1)
        trace, v = leaky_integrator(x.flatten(2), before, decay=self.decay, decay_input=self.decay_input)
        return trace.view(x.shape), MembraneState(v.view(x.shape[1:]))


class _FixedPointNeuron(Neuron):
    """Shared by the two: integer arithmetic in float64, exact below 2^53."""

    FORM = FLAT
    SHOWN = ("numbers",)
    bias: Tensor

    def __init__(self, numbers: FixedPoint, bias: Tensor) -> None:
        super().__init__()
        if not isinstance(numbers, FixedPoint):
            raise ConfigError(f"numbers must be a FixedPoint, got {shown(numbers)}")
        if not isinstance(bias, Tensor) or bias.ndim != 1 or not bool((bias == bias.round()).all()):
            raise ShapeError(f"the bias must be a tensor of integers, one per neuron; got {shown(bias)}")
        self.numbers = numbers
        self.register_buffer("bias", bias.detach().double())

    def _start(self, x: Tensor, state: MembraneState | None) -> tuple[Tensor, Tensor, Tensor]:
        """The input, the currents with bias in units of the membrane, and the membrane before the first step."""
        x, v = self._enter(x, state, torch.float64)
        if v is None:
            v = x.new_zeros(x.shape[1:], dtype=torch.float64)
        current = x.double().round() * 2.0**self.numbers.weight_shift
        peak = float(current.abs().max()) if current.numel() else 0.0
        if math.isnan(peak) or not bool(v.isfinite().all()):
            raise ExportError(
                "a current is NaN, or a membrane NaN or infinite, which no integer is; look for NaN in the weights"
            )
        if peak > self.numbers.limit:
            raise ExportError(
                f"a current of {peak:.0f} overflows {self.numbers.state_bits} bits, where chips wrap around; fewer "
                "weight bits or a smaller input avoid it"
            )
        return x, current + self.bias, v

    def _integrate(self, v: Tensor, current: Tensor) -> Tensor:
        n = self.numbers
        return (torch.trunc(v * n.decay_code * 2.0**-n.decay_bits) + current).clamp(-n.limit, n.limit)


class FixedPointLIF(_FixedPointNeuron):
    """Leaky integrate-and-fire neurons in integers (:class:`FixedPoint`).

    Args:
        numbers: of the population.
        bias: integers in units of the membrane, ``[neuron]``, added in every step.

    State: :class:`snn_delays.nn.MembraneState` in float64. Shapes: sums of integer weights ``[time, batch, neuron]`` to
    spikes of the same shape and dtype. No gradients.

    Raises ShapeError for a current of another population, ExportError for one that overflows the membrane's bits.
    """

    @untraced
    def forward(self, x: Tensor, state: MembraneState | None = None) -> tuple[Tensor, MembraneState]:
        """Spikes and the membrane state."""
        n = self.numbers
        x, current, v = self._start(x, state)
        spikes = torch.empty_like(x)
        for t, now in enumerate(current):
            h = self._integrate(v, now)
            fired = h > n.threshold if n.strict else h >= n.threshold
            v = torch.where(fired, h - n.threshold if n.reset == "soft" else 0.0, h)
            spikes[t] = fired
        return spikes, MembraneState(v)


class FixedPointIntegrator(_FixedPointNeuron):
    """Leaky integrators in integers; the output is the membrane times ``numbers.scale``, in the dtype given.

    Args, state and shapes as :class:`FixedPointLIF`; the threshold is not used.
    """

    fires = False

    @untraced
    def forward(self, x: Tensor, state: MembraneState | None = None) -> tuple[Tensor, MembraneState]:
        """Membranes in the units of the network it came from, and the state."""
        x, current, v = self._start(x, state)
        trace = torch.empty_like(current)
        for t, now in enumerate(current):
            v = self._integrate(v, now)
            trace[t] = v
        return (trace * self.numbers.scale).to(x.dtype), MembraneState(v)
