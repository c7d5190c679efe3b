"""Inner hair cell of Meddis: membrane velocity to the probability that transmitter makes a fibre fire.

R. Meddis, J. Acoust. Soc. Am. 79(3), 702 (1986) and 83(3), 1056 (1988), with the constants of Cramer et al. (2020).
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.compiling import cached_njit


@dataclass(frozen=True)
class HairCell:
    """Constants of the hair cell: rates in 1/s, amounts of transmitter in units of ``store``."""

    y: float = 5.05  # replenishment of the free pool
    g: float = 2000.0  # largest release rate
    l: float = 2500.0  # loss from the cleft  # noqa: E741
    r: float = 6580.0  # return from the cleft
    x: float = 66.3  # from the reprocessing store to the free pool
    a: float = 5.0  # offset of the permeability, in units of velocity
    b: float = 300.0  # half-saturation of the permeability
    h: float = 50_000.0  # firing rate per amount in the cleft
    store: float = 1.0  # size of the free pool, M

    def at_rest(self, channels: int) -> NDArray[np.float64]:
        """State [channel, 3] in silence: free pool q, cleft c, reprocessing store w."""
        k = self.g * self.a / (self.a + self.b)
        c = self.store * self.y * k / (self.l * k + self.y * (self.l + self.r))
        return np.tile([c * (self.l + self.r) / k, c, c * self.r / self.x], (channels, 1))

    def constants(self) -> NDArray[np.float64]:
        """The constants in the order of the kernel."""
        return np.array([self.y, self.g, self.l, self.r, self.x, self.a, self.b, self.h, self.store])


def firing_probability(
    velocity: NDArray[np.float32], state: NDArray[np.float64], hair_cell: HairCell, dt_s: float
) -> NDArray[np.float32]:
    """Probability that a fibre ready to fire does so within a step, [channel, time].

    Release k = g (v + A) / (v + A + B), 0 where v + A <= 0; then by explicit Euler, each kept >= 0,
    dq = y max(M - q, 0) + x w - k q;  dc = k q - (l + r) c;  dw = r c - x w;  probability = h c dt, at most 1.

    ``velocity`` [channel, time]; ``state`` [channel, 3] is moved on to the end of it.
    """
    probability = np.empty_like(velocity)
    _euler(velocity, state, hair_cell.constants(), dt_s, probability)
    return probability


@cached_njit(error_model="numpy")
def _euler(velocity, state, constants, dt, probability):  # type: ignore[no-untyped-def]
    y, g, l, r, x, a, b, h, store = constants  # noqa: E741
    for i in range(velocity.shape[0]):
        q, c, w = state[i]
        for t in range(velocity.shape[1]):
            drive = max(velocity[i, t] + a, 0.0)
            k = g * drive / (drive + b)
            released, back, renewed = k * q, r * c, x * w
            q = max(q + dt * (y * max(store - q, 0.0) + renewed - released), 0.0)
            c = max(c + dt * (released - l * c - back), 0.0)
            w = max(w + dt * (back - renewed), 0.0)
            probability[i, t] = min(h * c * dt, 1.0)
        state[i, 0], state[i, 1], state[i, 2] = q, c, w
