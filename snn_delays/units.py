"""Milliseconds, steps and decay factors. The only place where time is rounded."""

import math

import torch
from torch import Tensor

from snn_delays.arguments import real
from snn_delays.errors import ConfigError

MAX_DELAY_STEPS = 2**20  # longest delay of any layer: what is above it is a slip of units
MS = " of milliseconds"


def steps_from_ms(duration_ms: float, dt_ms: float) -> int:
    """Steps that fit into a duration: ``floor(duration_ms / dt_ms)``, with exact multiples counted in full.

    Raises ConfigError if either is not finite, ``dt_ms <= 0`` or ``duration_ms < 0``.
    """
    dt_ms = real("dt_ms", dt_ms, above=0, unit=MS)
    return math.floor(real("a duration", duration_ms, least=0, unit=MS) / dt_ms + 1e-9)


def tau_steps_from_ms(tau_ms: float, dt_ms: float) -> float:
    """Time constant in steps (dimensionless, not rounded). Raises ConfigError below one step."""
    tau_ms, dt_ms = real("tau_ms", tau_ms), real("dt_ms", dt_ms, above=0, unit=MS)
    tau_steps = tau_ms / dt_ms
    if not tau_steps >= 1:
        raise ConfigError(
            f"tau of {tau_ms:g} ms is {tau_steps:g} steps of {dt_ms:g} ms; the forward-Euler neuron needs at least "
            "one step: raise tau or lower dt_ms"
        )
    return tau_steps


def decay_from_tau(tau_steps: float) -> float:
    """Factor by which a membrane shrinks in one forward-Euler step: ``1 - 1/tau_steps``, in [0, 1]."""
    tau_steps = real("tau_steps", tau_steps)
    if not tau_steps >= 1:
        raise ConfigError(f"tau must be at least one step, got {tau_steps} steps")
    return 1.0 - 1.0 / tau_steps


def tau_from_decay(decay: float) -> float:
    """Inverse of :func:`decay_from_tau`, in steps."""
    if not 0 <= decay < 1:
        raise ConfigError(f"decay must lie in [0, 1), got {decay}")
    return 1.0 / (1.0 - decay)


def round_delays(delay_steps: Tensor) -> Tensor:
    """Delays rounded to integers, halves to even (as DCLS evaluates them)."""
    return torch.round(delay_steps)
