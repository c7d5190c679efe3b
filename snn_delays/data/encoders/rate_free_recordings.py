"""A data set without rates: its recordings thinned as they are read, by a rule fitted on its training split."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.encoders.rate_free import Keep, RateFree, fit_rate_free, spike_counts
from snn_delays.data.events import Sample
from snn_delays.data.numbers import plain_numbers
from snn_delays.data.recordings import FeatureRecordings, Recordings
from snn_delays.errors import ConfigError, DataError

_FORMAT = 1  # raised whenever the same recordings and rule would be thinned to others


@dataclass(frozen=True)
class RateFreeRule:
    """Arguments of :func:`snn_delays.data.encoders.rate_free.fit_rate_free`, and the seed of the draws."""

    least_spikes: int = 2
    max_short: float = 0.01
    keep: Keep = "minimum"
    seed: int = 0

    def __post_init__(self) -> None:
        plain_numbers(self)


class RateFreeRecordings(Recordings):
    """The recordings that fire enough, each with the same number of spikes in every channel.

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
        return fit_rate_free(_readable(self._training), self.rule.least_spikes, self.rule.max_short, self.rule.keep)

    @cached_property
    def left_out(self) -> NDArray[np.int64]:
        """Indices of the recordings that fire too little."""
        short = (i for i in range(len(self._recordings)) if self._fires_too_little(i))
        return np.fromiter(short, dtype=np.int64)

    @cached_property
    def _kept(self) -> NDArray[np.int64]:
        return np.setdiff1d(np.arange(len(self._recordings)), self.left_out)

    def _fires_too_little(self, i: int) -> bool:
        try:
            counts = spike_counts([self._recordings[i]])
        except DataError:
            return False  # it is damaged, which is an error when it is indexed
        return bool((counts < self.fitted.spikes).any())

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


def _readable(recordings: Recordings) -> Iterator[Sample]:
    for i in range(len(recordings)):
        with suppress(DataError):
            yield recordings[i]
