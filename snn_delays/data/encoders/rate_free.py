"""Recordings whose spike counts say nothing: every channel fires as often in all of them, when it fires is kept.

After Yu, Sun and Goodman, "Beyond Rate Coding", arXiv 2507.16043, and the code published with it. Theirs: the rule by
which channels and recordings are chosen (2 spikes, 1 %), the number of spikes kept, their draw, balanced classes. Ours:
spikes are events, not occupied bins of 14 ms, and the rule is fitted on training data alone, so that later recordings
may fire less, and those are left out and named. All differences: docs/synthetic.md.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.events import Events, Sample
from snn_delays.data.numbers import plain_numbers
from snn_delays.data.recordings import FeatureRecordings, Recordings
from snn_delays.errors import ConfigError, DataError

Keep = Literal["minimum", "equal"]
_FORMAT = 1  # raised whenever the same recordings and rule would be thinned to others


@dataclass(frozen=True, eq=False)
class RateFree:
    """How many spikes of each channel every recording shall have.

    ``spikes`` int64 ``[channel]``, 0 for channels that are silenced. ``short``: indices of the recordings it was fitted
    on that fire less and are left out.
    """

    spikes: NDArray[np.int64]
    short: NDArray[np.int64]

    @property
    def channels(self) -> NDArray[np.int64]:
        """The channels that are kept, ascending."""
        return np.flatnonzero(self.spikes)

    def thin(self, events: Events, generator: np.random.Generator) -> Events | None:
        """The recording with exactly ``spikes`` of each channel, drawn without replacement; None if it has too few.

        Times, channels and order of what is kept are those of the recording. Raises DataError for another number of
        channels.
        """
        if events.n_channels != self.spikes.size:
            raise DataError(f"fitted on {self.spikes.size} channels, this recording has {events.n_channels}")
        counts = np.bincount(events.channel, minlength=self.spikes.size)
        if (counts < self.spikes).any():
            return None
        # By channel, and in random order within it: the first so many of each are a draw without replacement.
        order = np.lexsort((generator.random(len(events)), events.channel))
        first = np.cumsum(counts) - counts
        rank = np.arange(len(events)) - first[events.channel[order]]
        kept = np.sort(order[rank < self.spikes[events.channel[order]]])
        return replace(events, t_us=events.t_us[kept], channel=events.channel[kept])


@dataclass(frozen=True, eq=False)
class Thinned:
    """``samples`` with equal counts, and the indices of the recordings that were ``left_out`` for firing too little."""

    samples: list[Sample]
    left_out: NDArray[np.int64]


def fit_rate_free(
    samples: Iterable[Sample], least_spikes: int = 2, max_short: float = 0.01, keep: Keep = "minimum"
) -> RateFree:
    """Choose channels, recordings and numbers of spikes. Give it training data only.

    A channel counts if at most the share ``max_short`` of the recordings has fewer than ``least_spikes`` spikes in it;
    those recordings are left out. Then every channel keeps

        keep="minimum":  spikes[c] = min over the remaining recordings of their spikes in c   (the published rule)
        keep="equal":    spikes[c] = least_spikes in the channels that count, 0 in all others

    By the published rule a channel that does not count still keeps a spike if all the remaining recordings have one.

    Raises ConfigError for numbers that cannot be, DataError for no recordings, unequal numbers of channels, or where no
    channel or no recording remains.
    """
    if least_spikes < 1:
        raise ConfigError(f"least_spikes must be at least 1, got {least_spikes}")
    if not 0 <= max_short < 1:
        raise ConfigError(f"max_short is a share of the recordings, 0 <= max_short < 1, got {max_short}")
    if keep not in ("minimum", "equal"):
        raise ConfigError(f"unknown rule keep={keep!r}; choose minimum or equal")
    counts = spike_counts(samples)
    too_few = counts < least_spikes
    counted = too_few.mean(0) <= max_short
    short = too_few[:, counted].any(1)
    if not counted.any() or short.all():
        raise DataError(
            f"{int(counted.sum())} of {counted.size} channels fire {least_spikes} times in all but {max_short:.1%} of "
            f"the recordings, and {int((~short).sum())} of {short.size} recordings remain; request fewer spikes or "
            "another max_short"
        )
    spikes = counts[~short].min(0).astype(np.int64) if keep == "minimum" else least_spikes * counted.astype(np.int64)
    return RateFree(spikes, np.flatnonzero(short))


def rate_free(samples: Iterable[Sample], fitted: RateFree, generator: np.random.Generator) -> Thinned:
    """Every recording thinned to the fitted numbers; those with too few spikes in any channel are left out, and named.

    Raises DataError as :meth:`RateFree.thin` does.
    """
    kept: list[Sample] = []
    left_out: list[int] = []
    for i, sample in enumerate(samples):
        if (events := fitted.thin(sample.events, generator)) is None:
            left_out.append(i)
        else:
            kept.append(replace(sample, events=events))
    return Thinned(kept, np.array(left_out, dtype=np.int64))


def balance_classes(samples: Sequence[Sample], generator: np.random.Generator) -> list[Sample]:
    """As many recordings of each class as of the rarest, drawn without replacement, in the order given."""
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    if labels.size == 0:
        return []
    present, sizes = np.unique(labels, return_counts=True)
    drawn = [generator.permutation(np.flatnonzero(labels == label))[: sizes.min()] for label in present]
    return [samples[i] for i in np.sort(np.concatenate(drawn))]


def spike_counts(samples: Iterable[Sample]) -> NDArray[np.int32]:
    """Spikes of each recording in each channel, int32 ``[sample, channel]``: all that a rate code could read.

    Raises DataError for no recordings or unequal numbers of channels.
    """
    counts = [  # in 32 bits: a data set of a camera has thousands of channels
        np.bincount(s.events.channel, minlength=s.events.n_channels).astype(np.int32) for s in samples
    ]
    if not counts:
        raise DataError("there are no recordings to count spikes of")
    if len(channels := {count.size for count in counts}) > 1:
        raise DataError(f"recordings have different numbers of channels: {sorted(channels)}")
    return np.stack(counts)


@dataclass(frozen=True)
class RateFreeRule:
    """Arguments of :func:`fit_rate_free`, and the seed of the draws."""

    least_spikes: int = 2
    max_short: float = 0.01
    keep: Keep = "minimum"
    seed: int = 0

    def __post_init__(self) -> None:
        plain_numbers(self)


class RateFreeRecordings(Recordings):
    """A data set without rates: the recordings that fire enough, each with the same number of spikes in every channel.

    ``fitted``: on the training split, when first needed; ``left_out``: indices, in the recordings given, of those that
    fire too little. What is kept of a recording depends on the rule's seed and the recording's own number alone. A
    recording that cannot be read does not count in the fit, and raises when it is indexed, as without the rule.
    """

    def __init__(self, recordings: Recordings, training: Recordings, rule: RateFreeRule) -> None:
        if isinstance(recordings, FeatureRecordings):
            raise ConfigError(f"{recordings.path} holds features, not spikes, so there are no rates to take away")
        self.path, self.sensor, self.class_names = recordings.path, recordings.sensor, recordings.class_names
        self.rule, self._recordings, self._training = rule, recordings, training

    @cached_property
    def fitted(self) -> RateFree:
        """How many spikes every channel keeps."""
        training = (sample for _, sample in _readable(self._training))
        return fit_rate_free(training, self.rule.least_spikes, self.rule.max_short, self.rule.keep)

    @cached_property
    def left_out(self) -> NDArray[np.int64]:
        """Indices of the recordings that fire too little."""
        short = [i for i, s in _readable(self._recordings) if (spike_counts([s]) < self.fitted.spikes).any()]
        return np.array(short, dtype=np.int64)

    @cached_property
    def _kept(self) -> NDArray[np.int64]:
        return np.setdiff1d(np.arange(len(self._recordings)), self.left_out)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int) -> Sample:
        number = int(self._kept[self.number(i)])
        sample = self._recordings[number]
        generator = np.random.default_rng(np.random.SeedSequence((self.rule.seed, number)))
        events = self.fitted.thin(sample.events, generator)
        assert events is not None  # it fires enough
        return Sample(events, sample.label, sample.speaker)

    def checksum(self) -> str:
        """sha256 over the checksums of both splits and the rule."""
        parts = [_FORMAT, self._recordings.checksum(), self._training.checksum(), asdict(self.rule)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def source(self) -> str:
        """The data set's name, that its rates are gone, and how many recordings are left."""
        return f"{self._recordings.source()}, rate-free ({len(self):,} of {len(self._recordings):,} recordings)"


def _readable(recordings: Recordings) -> Iterator[tuple[int, Sample]]:
    """The recordings that are not damaged, and their numbers; the others raise when they are indexed."""
    for i in range(len(recordings)):
        with suppress(DataError):
            yield i, recordings[i]
