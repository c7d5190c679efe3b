"""Is a spatio-temporal pattern in the noise, or the same spikes in another order?"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.synthetic.lags import dealt_anew, distinct_orders, ladder
from snn_delays.data.synthetic.task import SyntheticTask
from snn_delays.errors import ConfigError


@dataclass(frozen=True)
class PatternDetection(SyntheticTask):
    """One pattern, ``onset + lags_ms[channel]``, in Poisson noise, against the same spikes dealt to other channels.

    Class 1 holds the pattern. In class 0 the pattern's times are given to the channels in an order drawn for each
    sample, in which at most ``max_alike`` channels keep their lags to one another. Both classes have one planted spike
    per channel, at the same times taken together, and the same noise: the rate of a channel and the rate of all
    channels together at any instant are the same for both. What remains is which channel fired how long after which.

    Planted answer, :attr:`delays_ms`: ``d[channel] = longest_ms - lags_ms[channel]`` (+ one offset for all).

    Args:
        n_channels: channels, all of them in the pattern.
        spacing_ms: from one spike of the pattern to the next.
        max_alike: how many channels of class 0 may arrive together through the planted delays.
    """

    background_hz: float = 6.0
    n_channels: int = 8
    spacing_ms: int = 3
    max_alike: int = 3

    name: ClassVar[str] = "synthetic-pattern"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.max_alike < self.n_channels:
            raise ConfigError(f"max_alike must lie in 2..{self.n_channels - 1}, got {self.max_alike}")
        self.planted_ms(0, np.random.default_rng(0))

    @property
    def class_names(self) -> tuple[str, ...]:
        """``shuffled``, ``pattern``."""
        return ("shuffled", "pattern")

    @property
    def channels(self) -> int:
        """Input channels."""
        return self.n_channels

    @property
    def longest_ms(self) -> int:
        """Length of the pattern."""
        return self.spacing_ms * (self.n_channels - 1)

    @cached_property
    def lags_ms(self) -> NDArray[np.int64]:
        """What is planted: lag after the onset, int64 ``[channel]``."""
        order = distinct_orders(self.n_channels, 1, np.random.default_rng(self.task_seed))[0]
        return ladder(self.n_channels, self.spacing_ms)[order]

    @property
    def delays_ms(self) -> NDArray[np.int64]:
        """The delays that bring the pattern together, int64 ``[channel]``, the smallest being 0."""
        return self.longest_ms - self.lags_ms

    def planted_ms(self, label: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """The pattern, or its times dealt anew."""
        if label == 1:
            return self.lags_ms
        return dealt_anew(self.lags_ms, self.max_alike, generator)
