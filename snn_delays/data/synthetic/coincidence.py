"""Which of several planted lag patterns do the channels follow?"""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.synthetic.lags import distinct_orders, ladder
from snn_delays.data.synthetic.task import SyntheticTask
from snn_delays.errors import ConfigError


@dataclass(frozen=True)
class Coincidence(SyntheticTask):
    """Every channel fires once, at ``onset + lags_ms[class, channel]``; the class is the pattern of lags.

    All classes use the same lags, ``0, spacing_ms, 2 spacing_ms, ...``, and differ in which channel has which. So
    counts per channel and the times of all spikes together are the same for all classes, and no two planted spikes of a
    sample fall within ``spacing_ms``: without delays nothing coincides. Delays that undo the lags of a class,

        d[class, channel] = longest_ms - lags_ms[class, channel]   (+ the same offset for all channels)

    make its spikes, and only its, arrive together: that is the planted answer, :attr:`delays_ms`.

    Single channels do say a little by absolute time: a channel fires up to ``longest_ms`` later in one class than in
    another, against an onset that is spread over ``onset_range_ms``.

    Args:
        n_channels, n_classes: how many. The delays of one class bring few channels of another together, a third of them
            where such orders are found (:func:`snn_delays.data.synthetic.lags.distinct_orders`).
        spacing_ms: from one lag to the next.
    """

    n_channels: int = 6
    n_classes: int = 4
    spacing_ms: int = 4

    name: ClassVar[str] = "synthetic-coincidence"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_classes < 2:
            raise ConfigError(f"n_classes must be at least 2, got {self.n_classes}")
        _ = self.lags_ms

    @property
    def class_names(self) -> tuple[str, ...]:
        """``pattern 0``, ``pattern 1``, ..."""
        return tuple(f"pattern {k}" for k in range(self.n_classes))

    @property
    def channels(self) -> int:
        """Input channels."""
        return self.n_channels

    @property
    def longest_ms(self) -> int:
        """The largest lag."""
        return self.spacing_ms * (self.n_channels - 1)

    @cached_property
    def lags_ms(self) -> NDArray[np.int64]:
        """What is planted: lag after the onset, int64 ``[class, channel]``."""
        orders = distinct_orders(self.n_channels, self.n_classes, np.random.default_rng(self.task_seed))
        return ladder(self.n_channels, self.spacing_ms)[orders]

    @property
    def delays_ms(self) -> NDArray[np.int64]:
        """The delays that undo the lags, int64 ``[class, channel]``, the smallest of each class being 0."""
        return self.longest_ms - self.lags_ms

    def planted_ms(self, label: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """The lags of the class; nothing is drawn."""
        del generator
        return self.lags_ms[label]
