"""Recurrent delays as DelRec (Queant et al., arXiv 2509.24852) computes them, with every derivative by autograd.

I_t[i] = x_t[i] + m[i] sum_j W[i,j] sum_{l >= 1} h_ij(l) s_{t-l}[j] with h(l) = max(0, s - |l - (1 + d)|) / s^2 and the
width s = 1 + sigma, or 1 + 2 sigma sigmoid(p_j); spikes of s_t = lif(I_t), soft reset, a triangle as surrogate.
"""

import torch
from torch import Tensor


def spikes_and_membrane(
    x: Tensor, weight: Tensor, d: Tensor, p: Tensor | None, sigma: float, decay: float, mask: Tensor | float = 1.0
) -> tuple[Tensor, Tensor]:
    """For ``x [time, batch, neuron]``, ``weight [post, pre]``, ``d [1 or post, 1 or pre]``, ``p [pre]``."""
    width = torch.as_tensor(1.0 + sigma) if p is None else 1 + 2 * sigma * torch.sigmoid(p)
    v, spikes = torch.zeros_like(x[0]), []
    for t in range(len(x)):
        current = torch.zeros_like(x[0])
        for lag in range(1, t + 1):
            h = torch.clamp(width - (lag - (1 + d)).abs(), min=0) / width**2
            current = current + spikes[t - lag] @ (weight * h).T
        membrane = decay * v + x[t] + mask * current
        u = membrane - 1
        smooth = u.clamp(-1, 1) - u.clamp(-1, 1) * u.clamp(-1, 1).abs() / 2  # its derivative is max(0, 1 - |u|)
        fired = (u >= 0).to(x.dtype) + smooth - smooth.detach()
        v = membrane - fired
        spikes.append(fired)
    return torch.stack(spikes), v
