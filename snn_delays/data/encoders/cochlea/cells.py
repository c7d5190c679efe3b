"""From the velocity of the membrane to spikes: inner hair cells, auditory-nerve fibres, bushy cells.

Hair cell: R. Meddis, J. Acoust. Soc. Am. 79(3), 702 (1986) and 83(3), 1056 (1988), with the constants of Cramer et al.
(2020). Every stage takes arrays [channel, time] and moves its state on to their end.
"""

import math
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.compiling import cached_njit
from snn_delays.data.numbers import plain_numbers
from snn_delays.errors import ConfigError


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


def firing_probability(
    velocity: NDArray[np.float32], state: NDArray[np.float64], hair_cell: HairCell, dt_s: float
) -> NDArray[np.float32]:
    """Probability that a fibre ready to fire does so within a step.

    Release k = g (v + A) / (v + A + B), 0 where v + A <= 0; then by explicit Euler, each kept >= 0,
    dq = y max(M - q, 0) + x w - k q;  dc = k q - (l + r) c;  dw = r c - x w;  probability = h c dt, at most 1.
    """
    probability = np.empty_like(velocity)
    _euler(velocity, state, np.array(astuple(hair_cell)), dt_s, probability)
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


@dataclass(frozen=True)
class Fibres:
    """``per_channel`` fibres that fire independently, each then silent for ``dead_ms``."""

    per_channel: int = 40
    dead_ms: float = 1.0

    def __post_init__(self) -> None:
        plain_numbers(self)
        if not 1 <= self.per_channel <= 255:
            raise ConfigError(f"fibres per channel must lie in 1 to 255, got {self.per_channel}")

    def at_rest(self, channels: int, dt_s: float) -> NDArray[np.uint8]:
        """State [channel, dead steps]: how many fibres fired in each of the last steps, oldest first."""
        return np.zeros((channels, max(round(self.dead_ms / 1e3 / dt_s), 1)), dtype=np.uint8)


def fibre_spikes(
    probability: NDArray[np.float32], recent: NDArray[np.uint8], fibres: Fibres, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """How many of a channel's fibres fire in each step.

    A fibre fires in step t with ``probability[channel, t]`` unless it did within the dead time before. The fibres of a
    channel being alike, their sum is drawn at once: with n of them ready, the first to fire does when the cumulated
    hazard -log(1 - p) reaches an exponential draw of mean 1/n, and so on among those left. The number in a step is then
    binomial (n, p), as if each had been drawn, at one draw per spike instead of one per fibre and step.
    """
    count = np.empty(probability.shape, dtype=np.uint8)
    _thin(probability, recent, fibres.per_channel, rng, count)
    return count


@cached_njit()
def _thin(probability, recent, per_channel, rng, count):  # type: ignore[no-untyped-def]
    steps, dead = probability.shape[1], recent.shape[1]
    for i in range(probability.shape[0]):
        ready = per_channel
        for j in range(dead):
            ready -= recent[i, j]
        # What the exponential draw still lacks. It forgets its past, so a draw per call and channel is no loss.
        lacking = rng.standard_exponential()
        for t in range(steps):
            # Those that fired just before the dead time are ready again.
            ready += count[i, t - dead] if t >= dead else recent[i, t]
            p = probability[i, t]
            fired = 0
            if p >= 1.0:
                fired, ready = ready, 0
            elif ready > 0:
                # The series of -log(1 - p) is much quicker, and below 0.03 exact to 1e-10.
                if p < 0.03:
                    hazard = p * (1 + p * (1 / 2 + p * (1 / 3 + p * (1 / 4 + p * (1 / 5)))))
                else:
                    hazard = -math.log1p(-p)
                while ready > 0 and lacking <= hazard * ready:
                    hazard -= lacking / ready
                    ready -= 1
                    fired += 1
                    lacking = rng.standard_exponential()
                lacking -= hazard * ready
            count[i, t] = fired
        for j in range(dead):
            t = steps - dead + j
            if t >= 0:
                recent[i, j] = count[i, t]
            else:
                recent[i, j] = recent[i, j + steps]


@dataclass(frozen=True)
class BushyCell:
    """Leaky integrate-and-fire cell that sharpens the spikes of a channel's fibres into one train.

    ``weight`` is per second and arriving spike, shared among the fibres.
    """

    tau_mem_ms: float = 1.0
    tau_syn_ms: float = 0.5
    refractory_ms: float = 1.0
    weight: float = 13e3
    threshold: float = 1.0

    def at_rest(self, channels: int) -> NDArray[np.float64]:
        """State [channel, 3]: current, membrane, refractory steps left."""
        return np.zeros((channels, 3))


def bushy_spikes(
    count: NDArray[np.uint8], state: NDArray[np.float64], bushy: BushyCell, fibres: int, dt_s: float
) -> NDArray[np.bool_]:
    """Steps in which the bushy cell of each channel fires; ``count``: fibres firing.

    I <- I exp(-dt/tau_syn) + arrivals;  v <- v exp(-dt/tau_mem) + (weight / fibres) dt I, at most the threshold;
    v at the threshold is a spike, after which v stays 0 for the refractory time while I goes on.
    """
    fired = np.empty(count.shape, dtype=np.bool_)
    decay_syn, decay_mem = (math.exp(-dt_s * 1e3 / tau) for tau in (bushy.tau_syn_ms, bushy.tau_mem_ms))
    refractory = round(bushy.refractory_ms / 1e3 / dt_s)
    _integrate(count, state, decay_syn, decay_mem, bushy.weight / fibres * dt_s, bushy.threshold, refractory, fired)
    return fired


@cached_njit()
def _integrate(count, state, decay_syn, decay_mem, gain, threshold, refractory, fired):  # type: ignore[no-untyped-def]
    for i in range(count.shape[0]):
        current, v, left = state[i, 0], state[i, 1], int(state[i, 2])
        for t in range(count.shape[1]):
            current = current * decay_syn + count[i, t]
            if left > 0:
                left -= 1
                fired[i, t] = False
                continue
            v = v * decay_mem + gain * current
            fired[i, t] = v >= threshold
            if v >= threshold:
                v, left = 0.0, refractory
        state[i, 0], state[i, 1], state[i, 2] = current, v, left
