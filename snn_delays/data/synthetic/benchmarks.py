"""Generated benchmarks of the field: autonomous localisation, Yin-Yang, and XOR of two lags. Nothing to download."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.events import Events, Sample
from snn_delays.data.synthetic.task import SyntheticTask
from snn_delays.errors import ConfigError

_SPLITS = ("train", "valid", "test")
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class _Drawn(Sequence[Sample]):
    """Samples whose events are made when they are requested: times in microseconds by sample, and their channels."""

    task: "Benchmark"
    numbers: NDArray[np.generic]
    labels: Integers

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Sample:  # type: ignore[override]
        return Sample(events=self.task.events(self.numbers[i]), label=int(self.labels[i]))


@dataclass(frozen=True)
class Benchmark:
    """A task that is drawn whole from a seed: ``draw`` gives what describes each sample, ``events`` its spikes."""

    name: ClassVar[str]
    channels: ClassVar[int]
    class_names: ClassVar[tuple[str, ...]]
    sizes: ClassVar[dict[str, int]]

    def split(self, split: str, seed: int = 0, n_samples: int | None = None) -> Sequence[Sample]:
        """The samples of a split, drawn from (seed, split). Raises ConfigError for a split that there is not."""
        if split not in self.sizes:
            raise ConfigError(f"unknown split {split!r}; choose one of {', '.join(self.sizes)}")
        generator = np.random.default_rng((seed, _SPLITS.index(split)))
        numbers = self.draw(self.sizes[split] if n_samples is None else n_samples, generator)
        return _Drawn(self, numbers, self.labels(numbers))

    def draw(self, n_samples: int, generator: np.random.Generator) -> NDArray[np.generic]:
        """What describes each sample, ``[sample, ...]``."""
        raise NotImplementedError

    def labels(self, numbers: NDArray[np.generic]) -> Integers:
        """The class of each sample."""
        raise NotImplementedError

    def events(self, numbers: NDArray[np.generic]) -> Events:
        """The spikes of a sample."""
        raise NotImplementedError


@dataclass(frozen=True)
class AutonomousLocalization(Benchmark):
    r"""Where does a walk end? Actions come one a millisecond; the class is whether the last place lies at ``x > 0``.

    At each of ``steps`` steps an action is drawn: nothing or forward with probability ``1/2 - turns/steps`` each, left
    or right with ``turns/steps`` each. Forward, left and right are spikes of channels 0, 1 and 2. The heading before a
    step is the number of right turns less left ones so far, modulo 4, and

    .. math:: x = \#\{\text{forward at heading 1}\} - \#\{\text{forward at heading 3}\}

    Source: AL of NeuroSeqBench, as DelRec takes it, arXiv:2509.24852.
    """

    steps: int = 400
    turns: int = 20

    name: ClassVar[str] = "autonomous-localization"
    channels: ClassVar[int] = 3
    class_names: ClassVar[tuple[str, ...]] = ("x <= 0", "x > 0")
    sizes: ClassVar[dict[str, int]] = {"train": 50_000, "test": 5_000}

    def __post_init__(self) -> None:
        if not 0 < self.turns < self.steps / 2:
            raise ConfigError(f"turns ({self.turns}) must lie above 0 and below half of steps ({self.steps})")

    def draw(self, n_samples: int, generator: np.random.Generator) -> NDArray[np.generic]:
        """Actions int8 ``[sample, step]``: 0 nothing, 1 forward, 2 left, 3 right."""
        share = self.turns / self.steps
        actions = np.zeros((n_samples, self.steps), dtype=np.int8)
        for rows in np.array_split(actions, max(n_samples // 1000, 1)):  # views
            drawn = generator.random(rows.shape)
            for edge in (0.5 - share, 1 - 2 * share, 1 - share):
                rows += drawn >= edge
        return actions

    def labels(self, numbers: NDArray[np.generic]) -> Integers:
        """Whether the walk ends at ``x > 0``."""
        turn = (numbers == 3).astype(np.int64) - (numbers == 2)
        heading = (turn.cumsum(1) - turn) % 4  # before the step
        forward = numbers == 1
        x = (forward & (heading == 1)).sum(1) - (forward & (heading == 3)).sum(1)
        return (x > 0).astype(np.int64)

    def events(self, numbers: NDArray[np.generic]) -> Events:
        """A spike for each action that is one."""
        at = np.flatnonzero(numbers)
        return Events(1000 * at, numbers[at].astype(np.int64) - 1, self.channels)


@dataclass(frozen=True)
class YinYang(Benchmark):
    """In which part of the Yin-Yang symbol does a point lie? Its coordinates are times of spikes.

    Points are drawn in the disc of radius ``1/2`` about ``(1/2, 1/2)``, the classes yin, yang and dots equally often.
    Channels 0 to 3 fire once, at ``early_ms + span_ms u`` for u = x, y, 1 - x and 1 - y, to the microsecond.

    Source: Kriener, Goeltz and Petrovici, The Yin-Yang dataset, NICE 2022 (arXiv:2102.08211), with its radii.
    """

    span_ms: float = 20.0
    early_ms: float = 1.0

    name: ClassVar[str] = "yin-yang"
    channels: ClassVar[int] = 4
    class_names: ClassVar[tuple[str, ...]] = ("yin", "yang", "dot")
    sizes: ClassVar[dict[str, int]] = {"train": 5_000, "valid": 1_000, "test": 1_000}
    RADIUS: ClassVar[float] = 0.5
    DOT: ClassVar[float] = 0.1

    def draw(self, n_samples: int, generator: np.random.Generator) -> NDArray[np.generic]:
        """Points float64 ``[sample, 2]``: uniform ones in the disc, by the class that each is to have."""
        wanted = generator.integers(3, size=n_samples)
        points = np.empty((n_samples, 2))
        open_places = [np.flatnonzero(wanted == label) for label in range(3)]
        while any(places.size for places in open_places):
            drawn = 2 * self.RADIUS * generator.random((max(n_samples, 64), 2))
            drawn = drawn[np.hypot(*(drawn - self.RADIUS).T) <= self.RADIUS]
            labels = self.labels(drawn)
            for label, places in enumerate(open_places):
                found = drawn[labels == label][: places.size]
                points[places[: len(found)]] = found
                open_places[label] = places[len(found) :]
        return points

    def labels(self, numbers: NDArray[np.generic]) -> Integers:
        """0 yin, 1 yang, 2 dots."""
        x, y = np.asarray(numbers, dtype=np.float64).T
        right, left = (np.hypot(x - centre * self.RADIUS, y - self.RADIUS) for centre in (1.5, 0.5))
        half = 0.5 * self.RADIUS
        yin = (right <= self.DOT) | ((left > self.DOT) & (left <= half)) | ((y > self.RADIUS) & (right > half))
        dots = (right < self.DOT) | (left < self.DOT)
        return np.where(dots, 2, np.where(yin, 0, 1))

    def events(self, numbers: NDArray[np.generic]) -> Events:
        """Four spikes."""
        x, y = np.asarray(numbers, dtype=np.float64)
        t_us = np.rint(1000 * (self.early_ms + self.span_ms * np.array([x, y, 1 - x, 1 - y]))).astype(np.int64)
        order = np.argsort(t_us, kind="stable")
        return Events(t_us[order], order, self.channels)


@dataclass(frozen=True)
class CoincidenceXor(SyntheticTask):
    """Two pairs of channels, each with a short or a long lag; the class is whether the lags differ.

    Channel 1 fires ``short_ms`` or ``long_ms`` after channel 0, channel 3 so much after channel 2, and channel 2
    ``apart_ms`` after channel 0. Neither pair alone says anything, and no sum over single channels does: each fires at
    the same times in both classes. A unit that delays channel 0 by a lag meets channel 1; the answer takes two of them
    and a layer after.
    """

    n_channels: int = 4
    short_ms: int = 4
    long_ms: int = 12
    apart_ms: int = 30

    name: ClassVar[str] = "synthetic-xor"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_channels != 4 or not 0 < self.short_ms < self.long_ms < self.apart_ms:
            raise ConfigError("XOR has 4 channels, and 0 < short_ms < long_ms < apart_ms")

    @property
    def class_names(self) -> tuple[str, ...]:
        """``same``, ``different``."""
        return ("same", "different")

    @property
    def longest_ms(self) -> int:
        """From channel 0 to a late channel 3."""
        return self.apart_ms + self.long_ms

    def planted_ms(self, label: int, generator: np.random.Generator) -> Integers:
        """The first lag is drawn, the second follows from the class."""
        first = int(generator.integers(2))
        lags = (self.short_ms, self.long_ms)
        return np.array([0, lags[first], self.apart_ms, self.apart_ms + lags[first ^ label]])


BENCHMARKS: dict[str, Benchmark | SyntheticTask] = {
    task.name: task for task in (AutonomousLocalization(), YinYang(), CoincidenceXor())
}
