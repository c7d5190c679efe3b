"""Neurons: leaky integrate-and-fire, and leaky integrators that never fire."""

import math
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from snn_delays.arguments import real, shown
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.door import SERIES, admit, held, summed_in
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.specs import Device
from snn_delays.ops.leaky_integrator import leaky_integrator
from snn_delays.ops.lif import lif
from snn_delays.ops.state import loadable
from snn_delays.ops.surrogate import ATan, Surrogate, checked_surrogate
from snn_delays.units import decay_from_tau


@loadable
class MembraneState(NamedTuple):
    """Membrane after the last step, ``[batch, ...]`` in the shape of one step of the input."""

    v: Tensor


class Neuron(SpikingModule):
    """A population of neurons: spikes where ``fires``, else membranes.

    A constant of its neurons is a float, or where they differ a buffer ``[neuron]`` in float64, whatever the precision
    of the network: rounded to half precision, a time constant is another one.
    """

    fires: ClassVar[bool] = True
    tau_steps: float | Tensor

    def per_neuron(self) -> dict[str, int]:
        """The constants that are not the same for all neurons, and how many numbers each has."""
        constants = {name: getattr(self, name, None) for name in ("tau_steps", "threshold")}
        return {name: value.numel() for name, value in constants.items() if isinstance(value, Tensor)}

    @property
    def decay(self) -> float | Tensor:
        """Factor by which a membrane shrinks in a step, ``1 - 1 / tau_steps``."""
        tau = self.tau_steps
        # Read at every step, so what was checked on construction is not checked again.
        plain = tau.__class__ is float and tau >= 1
        return 1.0 - 1.0 / tau if plain or isinstance(tau, Tensor) else decay_from_tau(tau)

    def _set_tau(self, tau_steps: float | Tensor) -> None:
        self._set_constant("tau_steps", tau_steps)
        decay_from_tau(_least(self.tau_steps))

    def _enter(self, x: Tensor, state: Any) -> tuple[Tensor, Tensor | None]:
        """The current and the membrane before it, ``[batch, neuron]``, as the operations take them."""
        x = admit(self, x, SERIES)
        if self._buffers:
            for name, count in self.per_neuron().items():
                if count != math.prod(x.shape[2:]):
                    raise ShapeError(
                        f"{name} has {count} numbers, one for each neuron, and the current of shape {tuple(x.shape)} "
                        f"has {math.prod(x.shape[2:])} neurons"
                    )
        v0 = held(self, state, MembraneState, x, summed_in(x))
        if v0 is not None:
            if v0.shape != x.shape[1:]:
                raise ShapeError(
                    f"the membrane state has shape {tuple(v0.shape)}, the current needs {tuple(x.shape[1:])} (batch, "
                    "neuron); pass state=None to start at rest"
                )
            v0 = v0.flatten(1)
        return x, v0

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


class LIF(Neuron):
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

    def forward(self, x: Tensor, state: MembraneState | None = None) -> tuple[Tensor, MembraneState]:
        """Spikes, shaped as ``x``, and the membrane state."""
        x, v0 = self._enter(x, state)
        spikes, v = lif(x.flatten(2), v0, decay=self.decay, **self.options())
        return spikes.view(x.shape), MembraneState(v.view(x.shape[1:]))

    def options(self) -> dict[str, Any]:
        """What :func:`snn_delays.ops.lif.lif` is given besides current, membrane and decay."""
        return {
            "threshold": self.threshold, "v_reset": self.v_reset, "reset": self.reset,
            "detach_reset": self.detach_reset, "decay_input": self.decay_input, "strict": self.strict,
            "surrogate": self.surrogate,
        }  # fmt: skip

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return (
            f"tau_steps={_number(self.tau_steps)}, threshold={_number(self.threshold)}, v_reset={self.v_reset:g}, "
            f"reset={self.reset!r}, detach_reset={self.detach_reset}, decay_input={self.decay_input}, "
            f"strict={self.strict}, surrogate={self.surrogate}"
        )


class LeakyIntegrator(Neuron):
    """Leaky integrators that never fire; the output is the membrane (:func:`snn_delays.ops.leaky_integrator`).

    Args:
        tau_steps: membrane time constant in steps, >= 1; a number, or a tensor ``[neuron]``, kept as a buffer.
        decay_input: scale the input by ``1 / tau_steps``.
        device, dtype: see :class:`LIF`.

    State: :class:`MembraneState`. Shapes: ``[time, batch, ...]`` to membranes of the same shape.
    """

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
        trace, v = leaky_integrator(x.flatten(2), v0, decay=self.decay, decay_input=self.decay_input)
        return trace.view(x.shape), MembraneState(v.view(x.shape[1:]))

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return f"tau_steps={_number(self.tau_steps)}, decay_input={self.decay_input}"


def _least(value: float | Tensor) -> float:
    return float(value.min()) if isinstance(value, Tensor) else value


def _number(value: float | Tensor) -> str:
    return f"[{len(value)} neurons]" if isinstance(value, Tensor) else f"{value:g}"
