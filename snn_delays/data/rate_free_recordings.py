"""A data set without rates: its recordings thinned as they are read, by a rule fitted on its training split."""

import hashlib
import json
from dataclasses import asdict, dataclass

import numpy as np

from snn_delays.data.events import Sample
from snn_delays.data.rate_free import Keep, RateFree, fit_rate_free, spike_counts
from snn_delays.data.recordings import FeatureRecordings, Recordings
from snn_delays.errors import ConfigError

_FORMAT = 1  # raised whenever the same recordings and rule would be thinned to others


@dataclass(frozen=True)
class RateFreeRule:
    """Arguments of :func:`snn_delays.data.rate_free.fit_rate_free`, and the seed of the draws."""

    least_spikes: int = 2
    max_short: float = 0.01
    keep: Keep = "minimum"
    seed: int = 0


class RateFreeRecordings(Recordings):
    """The recordings that fire enough, each with the same number of spikes in every channel.

    ``fitted``: on the training split; ``left_out``: indices, in the recordings given, of those that fire too little.
    What is kept of a recording depends on the rule's seed and the recording's own number alone.
    """

    def __init__(self, recordings: Recordings, training: Recordings, rule: RateFreeRule) -> None:
        if isinstance(recordings, FeatureRecordings):
            raise ConfigError(f"{recordings.path} holds features, not spikes, so there are no rates to take away")
        self.path, self.sensor, self.class_names = recordings.path, recordings.sensor, recordings.class_names
        self.rule, self._recordings, self._training = rule, recordings, training
        self.fitted: RateFree = fit_rate_free(training, rule.least_spikes, rule.max_short, rule.keep)
        enough = (spike_counts(recordings) >= self.fitted.spikes).all(1)
        self.left_out, self._kept = np.flatnonzero(~enough), np.flatnonzero(enough)

    def __len__(self) -> int:
        return len(self._kept)

    def __getitem__(self, i: int) -> Sample:
        number = int(self._kept[i])
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
