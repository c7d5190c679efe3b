r"""Taps as a short sum of products: a function of the step times a function of the delay.

.. math:: \text{taps}(d)[k] \approx \sum_{p < P} c_p[k]\, T_p(2 d / D - 1)

with Chebyshev polynomials :math:`T_p`. Wide taps are so smooth in the delay that a dozen terms reach the rounding of
the dtype, whatever the number of steps in the window: the kernel and its gradient are then built from P numbers per
synapse and not from D + 1.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.delay.taps import tap_weights

MOST_TERMS = 32


@lru_cache(maxsize=256)
def expansion(sigma: float, max_delay_steps: int, taps: str, tolerance: float) -> np.ndarray | None:
    """Coefficients ``c [D + 1, P]`` in float64, to ``tolerance`` of the largest tap; None if P would be too large.

    Found by interpolation in the Chebyshev points and checked between them.
    """
    if taps != "gaussian" or max_delay_steps < 1 or not sigma > 0:
        return None
    between = torch.linspace(0, max_delay_steps, 8 * MOST_TERMS + 1, dtype=torch.float64)
    exact = _taps(between, sigma, max_delay_steps, taps)
    for terms in range(6, min(MOST_TERMS, (max_delay_steps + 1) // 2) + 1, 2):
        angles = (np.arange(terms) + 0.5) * np.pi / terms
        points = torch.from_numpy((np.cos(angles) + 1) / 2 * max_delay_steps)
        values = _taps(points, sigma, max_delay_steps, taps)
        cosines = np.cos(np.outer(angles, np.arange(terms))) * (2 / terms)
        cosines[:, 0] /= 2
        coefficients = values @ cosines
        basis = polynomials(between, max_delay_steps, terms).numpy()
        if np.abs(coefficients @ basis - exact).max() <= tolerance * np.abs(exact).max():
            return np.asarray(coefficients)
    return None


def polynomials(delay: Tensor, max_delay_steps: int, terms: int) -> Tensor:
    """``T_p(2 d / D - 1)`` for p < terms: ``[terms, *delay.shape]``."""
    x = delay * (2 / max_delay_steps) - 1
    values = [torch.ones_like(x), x]
    while len(values) < terms:
        values.append(2 * x * values[-1] - values[-2])
    return torch.stack(values[:terms])


def _taps(delay: Tensor, sigma: float, max_delay_steps: int, taps: str) -> Any:
    return tap_weights(delay, torch.tensor(sigma, dtype=torch.float64), max_delay_steps, taps).numpy()


def tolerance_of(dtype: torch.dtype) -> float:
    """Half a unit in the last place; for float64, in which coefficients are computed, what rounding leaves of them."""
    return max(torch.finfo(dtype).eps / 2, 2e-14)
