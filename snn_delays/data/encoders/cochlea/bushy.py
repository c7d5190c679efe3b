"""Bushy cell: a leaky integrate-and-fire neuron that sharpens the spikes of a channel's fibres into one train."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from snn_delays.compiling import cached_njit


@dataclass(frozen=True)
class BushyCell:
    """Constants of the bushy cell; ``weight`` is per second and arriving spike, shared among the fibres."""

    tau_mem_ms: float = 1.0
    tau_syn_ms: float = 0.5
    refractory_ms: float = 1.0
    weight: float = 13e3
    threshold: float = 1.0

    def at_rest(self, channels: int) -> NDArray[np.float64]:
        """State [channel, 3]: current, membrane, refractory steps left."""
        return np.zeros((channels, 3))


def spikes(
    count: NDArray[np.uint8], state: NDArray[np.float64], bushy: BushyCell, fibres: int, dt_s: float
) -> NDArray[np.bool_]:
    """Steps in which the bushy cell of each channel fires, [channel, time].

    I <- I exp(-dt/tau_syn) + arrivals;  v <- v exp(-dt/tau_mem) + (weight / fibres) dt I, at most the threshold;
    v at the threshold is a spike, after which v stays 0 for the refractory time while I goes on.

    ``count`` [channel, time] fibres firing; ``state`` [channel, 3] is moved on to the end of it.
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
