"""Neurons as their publications write them: loops over time in torch, one equation a line.

``spike`` is a step forwards and the given primitive backwards, by autograd; nothing of the package is used. Parameters
are those of the publications: time constants, not decays.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Spike = Callable[[Tensor], Tensor]
Run = tuple[Tensor, Tensor]  # spikes, and membranes as the threshold sees them


def spike_with(primitive: Callable[[Tensor], Tensor], strict: bool = True) -> Spike:
    """A Heaviside step whose gradient is that of the primitive."""

    def spike(u: Tensor) -> Tensor:
        soft = primitive(u)
        return ((u > 0) if strict else (u >= 0)).to(u.dtype).detach() + soft - soft.detach()

    return spike


def cuba(x: Tensor, tau: float, tau_syn: float, spike: Spike, *, soft: bool, gain: bool, th: float, rest: float) -> Run:
    """``tau_syn di/dt = -i + x``, ``tau dv/dt = rest - v + i`` by forward Euler; each gain is one step's share or 1."""
    i, v, out = torch.zeros_like(x[0]), torch.full_like(x[0], rest), []
    for now in x:
        i = i - i / tau_syn + (now / tau_syn if gain else now)
        v = v + (rest - v) / tau + (i / tau if gain else i)
        s = spike(v - th)
        out.append((s, v))
        v = v - th * s if soft else v * (1 - s) + rest * s
    return _stacked(out)


def adlif(
    x: Tensor, tau_u: Tensor, tau_w: Tensor, a: Tensor, b: Tensor, q: float, spike: Spike, *, symplectic: bool
) -> Run:
    """Baronig et al.: forward Euler takes membrane and spike of the step before, symplectic Euler those of this one."""
    alpha, beta = torch.exp(-1 / tau_u), torch.exp(-1 / tau_w)
    u = w = z = torch.zeros_like(x[0])
    out = []
    for now in x:
        hat = alpha * u + (1 - alpha) * (now - w)
        new = spike(hat - 1)
        after = hat * (1 - new.detach())
        seen = (after, new) if symplectic else (u, z)
        w = beta * w + (1 - beta) * q * (a * seen[0] + b * seen[1])
        u, z = after, new
        out.append((z, hat))
    return _stacked(out)


def c_adlif(x: Tensor, alpha: Tensor, beta: Tensor, a: Tensor, b: Tensor, spike: Spike, start: list[Tensor]) -> Run:
    """Deckers et al., as Fabre et al. give it; ``start`` has membrane, adaptation and spike."""
    u, w, s = start
    out = []
    for now in x:
        w = beta * w + a * u + b * s
        u = alpha * (u - s) + (1 - alpha) * (now - w)
        s = spike(u - 1)
        out.append((s, u))
    return _stacked(out)


def silif_decays(log_a: Tensor, log_b: Tensor, log_dt: Tensor) -> tuple[Tensor, Tensor]:
    """Both decays of SiLIF from its parameters."""
    return torch.exp(-torch.exp(log_a + log_dt)), torch.exp(-torch.exp(log_b + log_dt))


def c_silif(x: Tensor, log_a: Tensor, omega: Tensor, log_dt: Tensor, b: Tensor, spike: Spike) -> Run:
    """Fabre et al.: a complex membrane."""
    decay = torch.exp(torch.complex(-torch.exp(log_a), omega) * torch.exp(log_dt))
    u, s, out = torch.zeros_like(x[0]) * 1j, torch.zeros_like(x[0]), []
    for now in x:
        u = decay * (u - 0.5 * s) + b * now
        s = spike(2 * u.real - 1)
        out.append((s, 2 * u.real))
    return _stacked(out)


def brf(x: Tensor, omega: Tensor, b_offset: Tensor, dt: float, spike: Spike) -> Run:
    """Higuchi et al.: the threshold and the damping rise with every spike."""
    border = (-1 + torch.sqrt(1 - (dt * omega) ** 2)) / dt
    u = v = q = torch.zeros_like(x[0])
    out = []
    for now in x:
        b = border - b_offset.abs() - q
        du, dv = b * u - omega * v + now, omega * u + b * v
        u, v = u + dt * du, v + dt * dv
        z = spike(u - (1 + q))
        out.append((z, u - q))
        q = q * 0.9 + z
    return _stacked(out)


def _stacked(out: list[tuple[Tensor, Tensor]]) -> Run:
    spikes, membranes = zip(*out)
    return torch.stack(spikes), torch.stack(membranes)
