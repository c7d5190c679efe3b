"""Lags on a ladder, and orders of channels on it that no shift makes alike."""

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import ConfigError

_TRIES = 2000


def ladder(n_channels: int, spacing_ms: int) -> NDArray[np.int64]:
    """``0, spacing_ms, 2 spacing_ms, ...`` for so many channels. Raises ConfigError below 2 channels or 1 ms."""
    if n_channels < 2 or spacing_ms < 1:
        raise ConfigError(f"lags need 2 channels and a spacing of 1 ms at least, got {n_channels} and {spacing_ms}")
    return spacing_ms * np.arange(n_channels, dtype=np.int64)


def alike(first: NDArray[np.int64], second: NDArray[np.int64]) -> int:
    """How many channels two patterns of lags bring together at best, when one is shifted in time against the other."""
    return int(np.unique(first - second, return_counts=True)[1].max())


def dealt_anew(lags: NDArray[np.int64], max_alike: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """The lags in an order of which the given one brings at most ``max_alike`` together.

    Raises ConfigError where none is found.
    """
    for _ in range(_TRIES):
        dealt = generator.permutation(lags)
        if alike(dealt, lags) <= max_alike:
            return dealt
    raise ConfigError(f"found no order of {lags.size} lags with at most {max_alike} alike; allow a larger max_alike")


def distinct_orders(n_channels: int, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``count`` orders of the channels, int64 ``[count, channel]``, drawn as far apart as can be found.

    Delays that undo one order bring at most ``max(1, n_channels // 3)`` channels of another together; where no such
    orders are found, one more is allowed. Raises ConfigError if there are not so many orders at all.
    """
    if n_channels < 2:
        raise ConfigError(f"an order needs at least 2 channels, got {n_channels}")
    for allowed in range(max(1, n_channels // 3), n_channels):
        found: list[NDArray[np.int64]] = []
        for _ in range(_TRIES):
            order = generator.permutation(n_channels)
            if all(alike(order, other) <= allowed for other in found):
                found.append(order)
            if len(found) == count:
                return np.stack(found)
    raise ConfigError(f"{n_channels} channels have no {count} orders that differ; use more channels or fewer classes")
