"""In which order did the channels fire?"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.synthetic.lags import ladder
from snn_delays.data.synthetic.task import SyntheticTask
from snn_delays.errors import ConfigError


@dataclass(frozen=True)
class Ordering(SyntheticTask):
    """Every channel fires once; the class is their order. The gap from one to the next is drawn anew every time.

    With two channels: A before B, or B before A. Gaps are whole milliseconds, uniform on ``min_gap_ms..max_gap_ms``,
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
        ladder(self.n_channels, self.min_gap_ms)
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
    def channels(self) -> int:
        """Input channels."""
        return self.n_channels

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
        found: dict[tuple[int, ...], None] = {}
        while len(found) < self.n_classes:
            found[tuple(generator.permutation(self.n_channels).tolist())] = None
        return np.array(list(found), dtype=np.int64)

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
