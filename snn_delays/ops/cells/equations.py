"""Neurons by their equations: one step of each, written once, from which every backend is derived.

A step takes the current, the states and constants of a neuron and ``f``, and returns the spike and the next states.
It is written in ``+``, ``-`` and ``*``, numbers, ``f.spike(u)``, a Heaviside step with a surrogate gradient, and
``f.reset(s)``, a spike that resets: a constant in the backward pass where ``detach_reset`` says so.
"""

from collections import namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any


@dataclass(frozen=True, eq=False)
class Cell:
    """A kind of neurons: its step, and the names of its states and constants in the order in which the step takes them.

    ``strict``: it fires above the threshold alone, not at it.
    """

    name: str
    step: Callable[..., tuple[Any, tuple[Any, ...]]]
    states: tuple[str, ...]
    constants: tuple[str, ...]
    strict: bool = True

    @cached_property
    def Constants(self) -> Any:
        """NamedTuple of the constants."""
        return namedtuple("Constants", self.constants)

    @cached_property
    def States(self) -> Any:
        """NamedTuple of the states."""
        return namedtuple("States", self.states)


def _cuba(x: Any, i: Any, v: Any, decay: Any, gain: Any, syn: Any, syn_gain: Any, th: Any, rest: Any, f: Any) -> Any:
    i = syn * i + syn_gain * x
    h = decay * (v - rest) + rest + gain * i
    s = f.spike(h - th)
    return s, i, h, f.reset(s)


def cuba_hard(*given: Any) -> Any:
    """Current-based LIF, set to its rest by a spike."""
    s, i, h, reset = _cuba(*given)
    return s, (i, reset * given[8] + (1 - reset) * h)


def cuba_soft(*given: Any) -> Any:
    """Current-based LIF, from which a spike takes off the threshold."""
    s, i, h, reset = _cuba(*given)
    return s, (i, h - given[7] * reset)


def se_adlif(x: Any, u: Any, w: Any, alpha: Any, beta: Any, a: Any, b: Any, th: Any, f: Any) -> Any:
    """Adaptive LIF by symplectic Euler: the adaptation sees the membrane and the spike of its own step."""
    h = alpha * u + (1 - alpha) * (x - w)
    s = f.spike(h - th)
    u = h * (1 - f.reset(s))
    return s, (u, beta * w + (1 - beta) * (a * u + b * s))


def ef_adlif(x: Any, u: Any, w: Any, s: Any, alpha: Any, beta: Any, a: Any, b: Any, th: Any, f: Any) -> Any:
    """Adaptive LIF by forward Euler: the adaptation sees the membrane and the spike of the step before."""
    h = alpha * u + (1 - alpha) * (x - w)
    w = beta * w + (1 - beta) * (a * u + b * s)
    s = f.spike(h - th)
    return s, (h * (1 - f.reset(s)), w, s)


def c_adlif(x: Any, u: Any, w: Any, s: Any, alpha: Any, beta: Any, a: Any, b: Any, th: Any, f: Any) -> Any:
    """Adaptive LIF whose adaptation moves first, with a soft reset a step after the spike; SiLIF steps so, too."""
    w = beta * w + a * u + b * s
    u = alpha * (u - th * f.reset(s)) + (1 - alpha) * (x - w)
    s = f.spike(u - th)
    return s, (u, w, s)


def c_silif(x: Any, re: Any, im: Any, s: Any, real: Any, imag: Any, b: Any, th: Any, f: Any) -> Any:
    """A complex membrane that turns and shrinks, seen by twice its real part."""
    re = re - 0.5 * f.reset(s)
    re, im = real * re - imag * im + b * x, real * im + imag * re
    s = f.spike(2 * re - th)
    return s, (re, im, s)


def brf(x: Any, u: Any, v: Any, q: Any, omega: Any, b: Any, dt: Any, th: Any, f: Any) -> Any:
    """Balanced resonate-and-fire: a spike raises the threshold and the damping for a while, and resets nothing."""
    damped = b - q
    u, v = u + dt * (damped * u - omega * v + x), v + dt * (omega * u + damped * v)
    s = f.spike(u - th - q)
    return s, (u, v, 0.9 * q + s)


ADAPTIVE = ("alpha", "beta", "a", "b", "threshold")
CUBA = ("decay", "gain", "syn_decay", "syn_gain", "threshold", "v_reset")
CELLS = {
    cell.name: cell
    for cell in (
        Cell("cuba_hard", cuba_hard, ("i", "v"), CUBA, strict=False),
        Cell("cuba_soft", cuba_soft, ("i", "v"), CUBA, strict=False),
        Cell("se_adlif", se_adlif, ("u", "w"), ADAPTIVE),
        Cell("ef_adlif", ef_adlif, ("u", "w", "s"), ADAPTIVE),
        Cell("c_adlif", c_adlif, ("u", "w", "s"), ADAPTIVE),
        Cell("c_silif", c_silif, ("re", "im", "s"), ("real", "imag", "b", "threshold")),
        Cell("brf", brf, ("u", "v", "q"), ("omega", "b", "dt", "threshold")),
    )
}
