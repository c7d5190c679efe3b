"""Our spikes beside those of SHD-regenerated, recording by recording, from the same sound."""

import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.archive import read_archive
from snn_delays.data.encoders.cochlea.encode import Cochlea
from snn_delays.data.encoders.cochlea.labels import heidelberg_digit
from snn_delays.data.events import Events
from snn_delays.data.files import Progress
from snn_delays.errors import DataError
from snn_delays.reading import open_regular, read_member

_BINS = 70  # groups of channels
_BIN_US = 10_000
_MOST_BYTES = 1 << 28  # of a recording


@dataclass(frozen=True)
class Match:
    """One recording: its spikes in the archive, ours, and ours with another seed, to show what chance alone does."""

    name: str
    archived: Events
    ours: Events
    again: Events

    def correlations(self, other: Events) -> tuple[float, float]:
        """Pearson correlation of ``ours`` and ``other``: histograms over 70 groups of channels, and over 10 ms bins."""
        channels, times = zip(*(_histograms(events, self._end_us()) for events in (self.ours, other)))
        return float(np.corrcoef(*channels)[0, 1]), float(np.corrcoef(*times)[0, 1])

    def _end_us(self) -> int:
        return int(max(events.t_us[-1] for events in (self.archived, self.ours, self.again)))


@dataclass(frozen=True)
class Summary:
    """Over all recordings: spikes there and here; then, against the archive and against another seed of ours,

    the relative difference of the number of spikes (standard deviation over the recordings), and the means of the
    correlations of histograms over channels and over time.
    """

    archived: int
    ours: int
    difference: tuple[float, float]
    channel: tuple[float, float]
    time: tuple[float, float]

    @property
    def ratio(self) -> float:
        """Spikes here per spike there."""
        return self.ours / self.archived


def _histograms(events: Events, end_us: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    group = events.channel * _BINS // events.n_channels
    return np.bincount(group, minlength=_BINS), np.bincount(events.t_us // _BIN_US, minlength=end_us // _BIN_US + 1)


def compare(
    audio_zip: Path, archives: Sequence[Path], cochlea: Cochlea | None = None, *, recordings: int = 8,
    progress: Progress | None = None,
) -> list[Match]:  # fmt: skip
    """Encode recordings of a zip of Heidelberg Digits whose spikes are in the archives, evenly spread over its names.

    Raises DataError if zip or archive cannot be read, or have no recording in common.
    """
    cochlea = cochlea or Cochlea()
    try:
        source = zipfile.ZipFile(open_regular(audio_zip))
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{audio_zip} is missing or no zip archive ({error}); fetch it again") from error
    with source, tempfile.TemporaryDirectory() as folder:
        inside = {heidelberg_digit(PurePosixPath(name).stem): name for name in sorted(source.namelist())}
        known = _archived(archives, {key for key in inside if key is not None})
        common = [key for key in inside if key in known]
        if not common:
            raise DataError(f"{audio_zip} and {', '.join(map(str, archives))} have no recording in common")
        chosen = [common[i] for i in np.unique(np.linspace(0, len(common) - 1, recordings).astype(int))]
        # By size: neighbours then share the membrane's table, which is made for one padded length.
        chosen.sort(key=lambda key: source.getinfo(inside[key]).file_size)
        matches = []
        for key in chosen:
            path = Path(folder, PurePosixPath(inside[key]).name)
            try:
                path.write_bytes(read_member(source, inside[key], _MOST_BYTES))
            except (OSError, ValueError, EOFError, zlib.error, zipfile.BadZipFile) as error:
                raise DataError(f"{audio_zip}: {inside[key]} cannot be unpacked ({error}); fetch it again") from error
            ours, again = (cochlea.encode(path, seed) for seed in (0, 1))
            matches.append(Match(path.stem, known[key], ours, again))
            if progress is not None:
                progress(len(matches), len(chosen))
    return sorted(matches, key=lambda match: match.name)


def _archived(archives: Sequence[Path], wanted: set[tuple[int, int, int]]) -> dict[tuple[int, int, int] | None, Events]:
    found: dict[tuple[int, int, int] | None, Events] = {}
    for path in archives:
        archive = read_archive(path)
        keys = list(zip(archive.label.tolist(), archive.speaker.tolist(), archive.trial.tolist()))
        indices = np.flatnonzero([key in wanted for key in keys])
        found |= {keys[i]: sample.events for i, sample in zip(indices, archive.subset(indices))}
    return found


def summarise(matches: Sequence[Match]) -> Summary:
    """Counts and correlations over all recordings."""

    def spread(others: list[Events]) -> float:
        return float(np.std([len(match.ours) / len(other) - 1 for match, other in zip(matches, others)]))

    archived, again = [match.archived for match in matches], [match.again for match in matches]
    channel, time = np.mean([[m.correlations(m.archived), m.correlations(m.again)] for m in matches], axis=0).T
    return Summary(
        sum(map(len, archived)),
        sum(len(match.ours) for match in matches),
        (spread(archived), spread(again)),
        (float(channel[0]), float(channel[1])),
        (float(time[0]), float(time[1])),
    )
