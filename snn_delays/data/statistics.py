"""What is in a data set, in numbers."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.binning import Binning, bin_recording
from snn_delays.data.files import Progress
from snn_delays.data.recordings import FeatureRecordings, Recordings
from snn_delays.errors import ConfigError, DataError


@dataclass(frozen=True)
class Spread:
    """Smallest, median, mean and largest of some numbers."""

    least: float
    median: float
    mean: float
    most: float

    @staticmethod
    def of(values: list[float] | NDArray[np.float64]) -> "Spread":
        """Of a sequence that is not empty."""
        return Spread(*(float(statistic(values)) for statistic in (np.min, np.median, np.mean, np.max)))


@dataclass(frozen=True)
class Statistics:
    """Numbers of the recordings looked at, ``looked_at`` of ``samples``; ``errors``: why some of those are missing.

    ``class_counts``: recordings by label; ``speakers``: how many are known; ``frames``: steps of each recording after
    binning with ``dt_ms``; ``channel_values``: float64 ``[channel]``, events per second of a recording's duration, or
    for features the mean. ``constant_channels``: without any event, or with the same feature throughout.
    ``events`` and ``duration_ms`` (from 0 to the last event) are None for features; ``values``, the smallest, mean and
    largest feature, is None for events.
    """

    samples: int
    looked_at: int
    errors: tuple[str, ...]
    class_counts: tuple[int, ...]
    speakers: int
    frames: Spread
    dt_ms: float
    channel_values: NDArray[np.float64]
    constant_channels: int
    events: Spread | None = None
    duration_ms: Spread | None = None
    values: tuple[float, float, float] | None = None


def statistics(
    recordings: Recordings, binning: Binning, *, limit: int | None = None, progress: Progress | None = None
) -> Statistics:
    """Statistics of recordings; of ``limit`` of them, evenly spread over the whole, where there are more.

    ``binning`` is used for the frames and does not group channels of what is counted besides. A recording that cannot
    be read, or has no events, is left out and its error kept. Raises ConfigError for a limit below 1, DataError if
    none can be used.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit must be at least 1, got {limit}")
    n = len(recordings)
    chosen = range(n) if limit is None or limit >= n else np.linspace(0, n - 1, limit).round().astype(int).tolist()
    tally = _Features(recordings) if isinstance(recordings, FeatureRecordings) else _Events(recordings, binning)
    errors: list[str] = []
    labels, speakers = np.zeros(len(recordings.class_names), dtype=np.int64), set()
    for done, i in enumerate(chosen, 1):
        try:
            label, speaker = tally.add(i)
        except DataError as error:
            errors.append(str(error))
        else:
            labels[label] += 1
            speakers.add(speaker)
        if progress is not None:
            progress(done, len(chosen))
    if not labels.sum():
        raise DataError(
            f"{recordings.path}: none of {len(chosen)} recordings can be used{'; '.join(['', *errors[:1]])}"
        )
    return Statistics(
        samples=n,
        looked_at=len(chosen) - len(errors),
        errors=tuple(errors),
        class_counts=tuple(labels.tolist()),
        speakers=len(speakers - {-1}),
        frames=Spread.of(tally.frames),
        **tally.about(),
    )


class _Events:
    """What is counted of recordings that are events."""

    def __init__(self, recordings: Recordings, binning: Binning) -> None:
        self.recordings, self.binning = recordings, binning
        self.frames: list[float] = []
        self.n_events: list[float] = []
        self.duration_ms: list[float] = []
        self.per_channel = np.zeros(int(np.prod(recordings.sensor)), dtype=np.int64)

    def add(self, i: int) -> tuple[int, int]:
        sample = self.recordings[i]
        events = sample.events
        self.frames.append(len(bin_recording(events, self.binning, f"{self.recordings.path}: sample {i}")))
        self.n_events.append(len(events))
        self.duration_ms.append(float(events.t_us[-1]) / 1000)
        self.per_channel += np.bincount(events.channel, minlength=self.per_channel.size)
        return sample.label, sample.speaker

    def about(self) -> dict[str, Any]:
        seconds = sum(self.duration_ms) / 1000
        return {
            "dt_ms": self.binning.dt_ms,
            "channel_values": self.per_channel / seconds if seconds else np.zeros(self.per_channel.size),
            "constant_channels": int((self.per_channel == 0).sum()),
            "events": Spread.of(self.n_events),
            "duration_ms": Spread.of(self.duration_ms),
        }


class _Features:
    def __init__(self, recordings: FeatureRecordings) -> None:
        self.recordings = recordings
        self.frames: list[float] = []
        size = int(np.prod(recordings.sensor))
        self.sum = np.zeros(size)
        self.least, self.most = np.full(size, np.inf), np.full(size, -np.inf)

    def add(self, i: int) -> tuple[int, int]:
        frames, label, speaker = self.recordings.frames(i)
        flat = frames.reshape(len(frames), -1)
        self.frames.append(len(flat))
        self.sum += flat.sum(0, dtype=np.float64)
        self.least, self.most = np.minimum(self.least, flat.min(0)), np.maximum(self.most, flat.max(0))
        return label, speaker

    def about(self) -> dict[str, Any]:
        means = self.sum / sum(self.frames)
        return {
            "dt_ms": self.recordings.frame_ms,
            "channel_values": means,
            "constant_channels": int((self.least == self.most).sum()),
            "values": (float(self.least.min()), float(means.mean()), float(self.most.max())),
        }
