"""The tasks: which lag pattern, is a pattern in the noise, in which order."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.synthetic.task import SyntheticTask
from snn_delays.errors import ConfigError

_TRIES = 2000
Lags = NDArray[np.int64]


class _LagTask(SyntheticTask):
    """Planted lags ``0, spacing_ms, 2 spacing_ms, ...``, dealt to the channels."""

    spacing_ms: int

    @cached_property
    @abstractmethod
    def lags_ms(self) -> Lags:
        """What is planted: lag after the onset, int64 ``[channel]``, or ``[class, channel]`` where classes differ."""

    @property
    def delays_ms(self) -> Lags:
        """The delays that undo the lags, int64 as :attr:`lags_ms`, the smallest of a class being 0."""
        return self.longest_ms - self.lags_ms

    @property
    def longest_ms(self) -> int:
        """The largest lag."""
        return self.spacing_ms * (self.n_channels - 1)

    def _lags(self, count: int) -> Lags:
        _check_lags(self.n_channels, self.spacing_ms)
        return self.spacing_ms * distinct_orders(self.n_channels, count, np.random.default_rng(self.task_seed))


@dataclass(frozen=True)
class Coincidence(_LagTask):
    """Every channel fires once, at ``onset + lags_ms[class, channel]``; the class is the pattern of lags.

    All classes use the same lags, ``0, spacing_ms, 2 spacing_ms, ...``, and differ in which channel has which. So
    counts per channel and the times of all spikes together are the same for all classes, and no two planted spikes of a
    sample fall within ``spacing_ms``: without delays nothing coincides. The planted answer, :attr:`delays_ms`, makes
    the spikes of a class, and only its, arrive together:

        d[class, channel] = longest_ms - lags_ms[class, channel]   (+ the same offset for all channels)

    Single channels do say a little by absolute time: a channel fires up to ``longest_ms`` later in one class than in
    another, against an onset that is spread over ``onset_range_ms``.

    Args:
        n_channels, n_classes: how many. The delays of one class bring few channels of another together, a third of them
            where such orders are found (:func:`distinct_orders`).
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

    @cached_property
    def lags_ms(self) -> Lags:
        """What is planted: lag after the onset, int64 ``[class, channel]``."""
        return self._lags(self.n_classes)

    def planted_ms(self, label: int, generator: np.random.Generator) -> Lags:
        """The lags of the class; nothing is drawn."""
        del generator
        return self.lags_ms[label]


@dataclass(frozen=True)
class PatternDetection(_LagTask):
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

    @cached_property
    def lags_ms(self) -> Lags:
        """What is planted: lag after the onset, int64 ``[channel]``."""
        return self._lags(1)[0]

    def planted_ms(self, label: int, generator: np.random.Generator) -> Lags:
        """The pattern, or its times dealt anew."""
        if label == 1:
            return self.lags_ms
        for _ in range(_TRIES):
            dealt = generator.permutation(self.lags_ms)
            if alike(dealt, self.lags_ms) <= self.max_alike:
                return dealt
        raise ConfigError(
            f"found no order of {self.n_channels} lags with at most {self.max_alike} alike; allow a larger max_alike"
        )


@dataclass(frozen=True)
class Ordering(SyntheticTask):
    """Every channel fires once; the class is their order. The gap from one to the next is drawn anew every time.

    With two channels: A before B, or B before A. Gaps are integer milliseconds, uniform on ``min_gap_ms..max_gap_ms``,
    both included. Counts per channel and the times of all spikes together are the same for all classes.

    Planted answer: a unit that waits for ``first`` before ``second`` delays ``first`` by the gap more than ``second``,
    and since the gap varies it takes several delays, or several units: :attr:`delays_ms` holds those of ``first``.

    Args:
        n_channels: channels.
        n_classes: orders, drawn without repetition; with two channels both.
        min_gap_ms, max_gap_ms: the gap.
    """

    background_hz: float = 0.0
    n_channels: int = 2
    n_classes: int = 2
    min_gap_ms: int = 6
    max_gap_ms: int = 12

    name: ClassVar[str] = "synthetic-ordering"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_lags(self.n_channels, self.min_gap_ms)
        if self.max_gap_ms < self.min_gap_ms:
            raise ConfigError(f"max_gap_ms ({self.max_gap_ms}) must be at least min_gap_ms ({self.min_gap_ms})")
        if not 2 <= self.n_classes <= math.factorial(self.n_channels):
            raise ConfigError(
                f"{self.n_channels} channels have {math.factorial(self.n_channels)} orders; n_classes must lie between "
                f"2 and that, got {self.n_classes}"
            )

    @property
    def class_names(self) -> tuple[str, ...]:
        """The order in letters, as ``A before B``; channels beyond Z by number."""
        letters = [chr(ord("A") + k) if k < 26 else str(k) for k in range(self.n_channels)]
        return tuple(" before ".join(letters[k] for k in order) for order in self.orders)

    @property
    def longest_ms(self) -> int:
        """From the first to the last channel at most."""
        return self.max_gap_ms * (self.n_channels - 1)

    @cached_property
    def orders(self) -> NDArray[np.int64]:
        """What is planted: channels in the order in which they fire, int64 ``[class, place]``."""
        if self.n_channels == 2:
            return np.array([[0, 1], [1, 0]], dtype=np.int64)
        generator = np.random.default_rng(self.task_seed)
        orders: dict[tuple[int, ...], None] = {}
        while len(orders) < self.n_classes:
            orders[tuple(generator.permutation(self.n_channels).tolist())] = None
        return np.array(list(orders), dtype=np.int64)

    @property
    def delays_ms(self) -> NDArray[np.int64]:
        """Delays by which the earlier of two neighbours in the order meets the later one, int64 ``[gap]``."""
        return np.arange(self.min_gap_ms, self.max_gap_ms + 1, dtype=np.int64)

    def planted_ms(self, label: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """Times by order and fresh gaps."""
        gaps = generator.integers(self.min_gap_ms, self.max_gap_ms + 1, self.n_channels - 1)
        times = np.zeros(self.n_channels, dtype=np.int64)
        times[self.orders[label]] = np.concatenate([[0], np.cumsum(gaps)])
        return times


def alike(first: Lags, second: Lags) -> int:
    """How many channels two patterns of lags bring together at best, when one is shifted in time against the other."""
    return int(np.unique(first - second, return_counts=True)[1].max())


def distinct_orders(n_channels: int, count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """``count`` orders of the channels, int64 ``[count, channel]``, drawn as far apart as can be found.

    Delays that undo one order bring at most ``max(1, n_channels // 3)`` channels of another together; where no such
    orders are found, one more is allowed. Raises ConfigError if there are not so many orders at all.
    """
    for allowed in range(max(1, n_channels // 3), n_channels):
        orders: list[NDArray[np.int64]] = []
        for _ in range(_TRIES):
            order = generator.permutation(n_channels)
            if all(alike(order, other) <= allowed for other in orders):
                orders.append(order)
            if len(orders) == count:
                return np.stack(orders)
    raise ConfigError(f"{n_channels} channels have no {count} orders that differ; use more channels or fewer classes")


def _check_lags(n_channels: int, spacing_ms: int) -> None:
    if n_channels < 2 or spacing_ms < 1:
        raise ConfigError(f"lags need at least 2 channels and a spacing of 1 ms, got {n_channels} and {spacing_ms}")
