"""Neurons: leaky integrate-and-fire, and leaky integrators that never fire."""

from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from snn_delays.errors import ConfigError
from snn_delays.nn.module import SpikingModule
from snn_delays.ops.leaky_integrator import leaky_integrator
from snn_delays.ops.lif import lif
from snn_delays.ops.surrogate import ATan, Surrogate
from snn_delays.units import decay_from_tau


class MembraneState(NamedTuple):
    """Membrane after the last step, ``[batch, ...]`` in the shape of one step of the input."""

    v: Tensor


class Neuron(SpikingModule):
    """A population of neurons: spikes where ``fires``, else membranes."""

    fires: ClassVar[bool] = True


class LIF(Neuron):
    """Leaky integrate-and-fire neurons; equations in :func:`snn_delays.ops.lif.lif`.

    Args:
        tau_steps: membrane time constant in steps, >= 1; ``decay = 1 - 1 / tau_steps``.
        threshold: membrane at which a neuron fires.
        v_reset: resting and reset membrane.
        reset: ``"hard"`` or ``"soft"``.
        detach_reset: treat the spike in the reset as a constant in the backward pass.
        decay_input: scale the input by ``1 / tau_steps``.
        strict: fire only above the threshold, not at it.
        surrogate: derivative in place of the step's.

    State: :class:`MembraneState`. Shapes: ``[time, batch, ...]`` to spikes of the same shape.

    Raises:
        ConfigError: ``tau_steps`` below one, unknown reset, or a threshold not above ``v_reset``.
    """

    def __init__(
        self,
        tau_steps: float,
        *,
        threshold: float = 1.0,
        v_reset: float = 0.0,
        reset: str = "hard",
        detach_reset: bool = True,
        decay_input: bool = False,
        strict: bool = False,
        surrogate: Surrogate | None = None,
    ) -> None:
        super().__init__()
        if not threshold > v_reset:
            raise ConfigError(f"the threshold ({threshold}) must lie above v_reset ({v_reset})")
        if reset not in ("hard", "soft"):
            raise ConfigError(f"reset must be 'hard' or 'soft', got {reset!r}")
        self.decay = decay_from_tau(tau_steps)
        self.tau_steps, self.threshold, self.v_reset, self.reset = tau_steps, threshold, v_reset, reset
        self.detach_reset, self.decay_input, self.strict = detach_reset, decay_input, strict
        self.surrogate: Surrogate = ATan() if surrogate is None else surrogate

    def forward(
        self, x: Tensor, state: MembraneState | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, MembraneState]:
        """Spikes, shaped as ``x``, and the membrane state."""
        del valid
        spikes, v = lif(
            x.flatten(2),
            None if state is None else state.v.flatten(1),
            decay=self.decay,
            **self.options(),
        )
        return spikes.view(x.shape), MembraneState(v.view(x.shape[1:]))

    def options(self) -> dict[str, Any]:
        """What :func:`snn_delays.ops.lif.lif` is given besides current, membrane and decay."""
        names = ("threshold", "v_reset", "reset", "detach_reset", "decay_input", "strict", "surrogate")
        return {name: getattr(self, name) for name in names}

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return (
            f"tau_steps={self.tau_steps:g}, threshold={self.threshold:g}, v_reset={self.v_reset:g}, "
            f"reset={self.reset!r}, detach_reset={self.detach_reset}, decay_input={self.decay_input}, "
            f"strict={self.strict}, surrogate={self.surrogate}"
        )


class LeakyIntegrator(Neuron):
    """Leaky integrators that never fire; the output is the membrane (:func:`snn_delays.ops.leaky_integrator`).

    Args:
        tau_steps: membrane time constant in steps, >= 1.
        decay_input: scale the input by ``1 / tau_steps``.

    State: :class:`MembraneState`. Shapes: ``[time, batch, ...]`` to membranes of the same shape.
    """

    fires = False

    def __init__(self, tau_steps: float, *, decay_input: bool = False) -> None:
        super().__init__()
        self.decay = decay_from_tau(tau_steps)
        self.tau_steps, self.decay_input = tau_steps, decay_input

    def forward(
        self, x: Tensor, state: MembraneState | None = None, valid: Tensor | None = None
    ) -> tuple[Tensor, MembraneState]:
        """Membranes, shaped as ``x``, and the state."""
        del valid
        v0 = None if state is None else state.v.flatten(1)
        trace, v = leaky_integrator(x.flatten(2), v0, decay=self.decay, decay_input=self.decay_input)
        return trace.view(x.shape), MembraneState(v.view(x.shape[1:]))

    def extra_repr(self) -> str:
        """Arguments as one would write them."""
        return f"tau_steps={self.tau_steps:g}, decay_input={self.decay_input}"
