"""What the tasks with a known answer share: splits by seed, balanced classes, background spikes, sorted events."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.events import Events, Sample
from snn_delays.data.numbers import plain_numbers
from snn_delays.errors import ConfigError

SPLITS = {"train": 1000, "valid": 400, "test": 400}


@dataclass(frozen=True)
class SyntheticTask(ABC):
    """A classification task whose answer is in the times of spikes and nowhere else.

    A sample has one planted spike per channel, counted from a random onset, and background spikes that know no class.
    Times are integer microseconds; planted lags and gaps are integer milliseconds, so that they are integer steps when
    binned at ``dt_ms`` 1 with the rule ``"fixed"``.

    Args:
        onset_range_ms: the onset is drawn from so many milliseconds.
        background_hz: rate of the background, Poisson, per channel, over ``duration_ms``.
        jitter_ms: each planted spike is moved by a time drawn uniformly from ``-jitter_ms..jitter_ms``.
        task_seed: what is planted is drawn from it. Train, valid and test of a task share it.
        n_channels: input channels.

    Raises ConfigError for numbers that cannot be.
    """

    onset_range_ms: int = 80
    background_hz: float = 2.0
    jitter_ms: int = 0
    task_seed: int = 0
    n_channels: int = 6

    name: ClassVar[str]

    def __post_init__(self) -> None:
        plain_numbers(self)
        if self.onset_range_ms < 1:
            raise ConfigError(f"onset_range_ms must be at least 1, got {self.onset_range_ms}")
        for name in ("background_hz", "jitter_ms", "task_seed"):
            if not (np.isfinite(value := getattr(self, name)) and value >= 0):
                raise ConfigError(f"{name} must be a number >= 0, got {value}")

    @property
    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """A name for every class."""

    @property
    @abstractmethod
    def longest_ms(self) -> int:
        """From the onset to the last planted spike at most: the delays a solution needs."""

    @abstractmethod
    def planted_ms(self, label: int, generator: np.random.Generator) -> NDArray[np.int64]:
        """When each channel fires after the onset, int64 ``[channel]``, for one sample of a class."""

    @property
    def channels(self) -> int:
        """Input channels."""
        return self.n_channels

    @property
    def duration_ms(self) -> int:
        """Length of a sample: no onset puts a planted spike beyond it."""
        return self.onset_range_ms + self.longest_ms + 2 * self.jitter_ms

    def generate(self, n_samples: int, seed: int) -> list[Sample]:
        """Samples in random order, classes equally often (up to one); the same seed gives the same samples.

        Raises ConfigError for fewer samples than classes or a negative seed.
        """
        return self._draw(n_samples, seed)

    def split(self, split: str, seed: int = 0, n_samples: int | None = None) -> list[Sample]:
        """The samples of ``"train"``, ``"valid"`` or ``"test"``: seeds of their own, drawn from (seed, split).

        Splits are independent draws of one distribution; a sample as simple as these may come up twice by chance.
        ``n_samples``: 1,000, 400 and 400 by default. Raises ConfigError for another split.
        """
        if split not in SPLITS:
            raise ConfigError(f"unknown split {split!r}; choose one of {', '.join(SPLITS)}")
        return self._draw(SPLITS[split] if n_samples is None else n_samples, seed, list(SPLITS).index(split))

    def _draw(self, n_samples: int, seed: int, *split: int) -> list[Sample]:
        classes = len(self.class_names)
        if seed < 0:
            raise ConfigError(f"seed must be >= 0, got {seed}")
        if n_samples < classes:
            raise ConfigError(f"{n_samples} samples cannot hold {classes} classes")
        generator = np.random.default_rng((seed, *split))
        labels = generator.permutation(np.arange(n_samples) % classes)
        return [Sample(events=self._events(int(label), generator), label=int(label)) for label in labels]

    def _events(self, label: int, generator: np.random.Generator) -> Events:
        onset_us = generator.integers(self.onset_range_ms * 1000)
        moved_us = generator.integers(2000 * self.jitter_ms, size=self.channels, endpoint=True)
        planted_us = onset_us + 1000 * self.planted_ms(label, generator) + moved_us
        noise = generator.poisson(self.background_hz * self.duration_ms / 1000, self.channels)
        t_us = np.concatenate([planted_us, generator.integers(self.duration_ms * 1000, size=noise.sum())])
        channel = np.concatenate([np.arange(self.channels), np.repeat(np.arange(self.channels), noise)])
        order = np.argsort(t_us, kind="stable")
        return Events(t_us=t_us[order], channel=channel[order], n_channels=self.channels)
