"""Neurons in integer arithmetic, as chips compute them."""

import math
from typing import Any

import torch
from torch import Tensor

from snn_delays.arguments import shown
from snn_delays.errors import ConfigError, ExportError, ShapeError
from snn_delays.fixed_point import FixedPoint
from snn_delays.nn.door import FLAT, admit, check_device, held
from snn_delays.nn.neuron import MembraneState, Neuron
from snn_delays.ops.tracing import untraced


class _FixedPointNeuron(Neuron):
    """Shared by the two: integer arithmetic in float64, exact below 2^53."""

    bias: Tensor

    def __init__(self, numbers: FixedPoint, bias: Tensor) -> None:
        super().__init__()
        if not isinstance(numbers, FixedPoint):
            raise ConfigError(f"numbers must be a FixedPoint, got {shown(numbers)}")
        if not isinstance(bias, Tensor) or bias.ndim != 1 or not bool((bias == bias.round()).all()):
            raise ShapeError(f"the bias must be a tensor of integers, one per neuron; got {shown(bias)}")
        self.numbers = numbers
        self.register_buffer("bias", bias.detach().double())

    def _enter(self, x: Tensor, state: Any) -> tuple[Tensor, Tensor]:
        """The current, and the membrane before its first step."""
        x = admit(self, x, FLAT)
        check_device(self, x, self.bias)
        if x.shape[-1] != len(self.bias):
            raise ShapeError(f"the current has {x.shape[-1]} neurons, this population {len(self.bias)}")
        v = held(self, state, MembraneState, x, torch.float64)
        if v is None:
            return x, x.new_zeros(x.shape[1:], dtype=torch.float64)
        if v.shape != x.shape[1:]:
            raise ShapeError(
                f"the membrane state has shape {tuple(v.shape)}, the current needs {tuple(x.shape[1:])} (batch, "
                "neuron); pass state=None to start at rest"
            )
        return x, v

    def _currents(self, x: Tensor, v: Tensor) -> Tensor:
        """Currents in units of the membrane, bias added."""
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
        return current + self.bias

    def _integrate(self, v: Tensor, current: Tensor) -> Tensor:
        n = self.numbers
        return (torch.trunc(v * n.decay_code * 2.0**-n.decay_bits) + current).clamp(-n.limit, n.limit)

    def extra_repr(self) -> str:
        """The integers."""
        return str(self.numbers)


class FixedPointLIF(_FixedPointNeuron):
    """Leaky integrate-and-fire neurons in integers (:class:`FixedPoint`).

    Args:
        numbers: of the population.
        bias: integers in units of the membrane, ``[neuron]``, added in every step.

    State: :class:`snn_delays.nn.MembraneState` in float64. Shapes: sums of integer weights ``[time, batch, neuron]`` to
    spikes of the same shape and dtype. No gradients.

    Raises:
        ShapeError: a current of another population.
        ExportError: currents that overflow the membrane's bits.
    """

    @untraced
    def forward(self, x: Tensor, state: MembraneState | None = None) -> tuple[Tensor, MembraneState]:
        """Spikes and the membrane state."""
        x, v = self._enter(x, state)
        n, current = self.numbers, self._currents(x, v)
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
        x, v = self._enter(x, state)
        current = self._currents(x, v)
        trace = torch.empty_like(current)
        for t, now in enumerate(current):
            v = self._integrate(v, now)
            trace[t] = v
        return (trace * self.numbers.scale).to(x.dtype), MembraneState(v)
