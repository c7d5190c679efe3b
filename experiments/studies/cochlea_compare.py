"""Our spikes beside those of SHD-regenerated, recording by recording, from the same sound.

    python -m experiments.studies.cochlea_compare AUDIO ARCHIVE... [--recordings N] [--window] [--picture FILE]

Beside it stands the same comparison between two seeds of ours, which shows how much is chance.
"""

import argparse
import tempfile
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from experiments.studies.spike_archive import read_archive
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


def _archived(
    archives: Sequence[Path], requested: set[tuple[int, int, int]]
) -> dict[tuple[int, int, int] | None, Events]:
    found: dict[tuple[int, int, int] | None, Events] = {}
    for path in archives:
        archive = read_archive(path)
        keys = list(zip(archive.label.tolist(), archive.speaker.tolist(), archive.trial.tolist()))
        indices = np.flatnonzero([key in requested for key in keys])
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


def main(arguments: Sequence[str] | None = None) -> None:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m experiments.studies.cochlea_compare", description=__doc__)
    parser.add_argument("audio", type=Path, help="zip of Heidelberg Digits, such as hd_audio_240.zip")
    parser.add_argument("archives", type=Path, nargs="+", help="archives of spikes, such as shd_regen_test.npz.xz")
    parser.add_argument("--recordings", type=int, default=8, help="how many, spread over those the two have in common")
    parser.add_argument("--window", action="store_true", help="Hann window; the archives were made without")
    parser.add_argument("--picture", type=Path, help="PNG, PDF or SVG file to write: one recording there and here")
    given = parser.parse_args(arguments)
    cochlea = Cochlea(window="hann" if given.window else "none")
    matches = compare(given.audio, given.archives, cochlea, recordings=given.recordings)
    print("recording, spikes there, here, correlation over channels, over time")
    for match in matches:
        channel, time = match.correlations(match.archived)
        print(f"{match.name}, {len(match.archived)}, {len(match.ours)}, {channel:.3f}, {time:.3f}")
    found = summarise(matches)
    print(f"{found.ours} spikes here, {found.archived} there: {found.ratio:.4f} of them")
    for i, other in enumerate(("the archive", "another seed")):
        print(
            f"against {other}: counts of single recordings differ by {found.difference[i]:.2%} (standard deviation), "
            f"histograms correlate {found.channel[i]:.3f} over channels, {found.time[i]:.3f} over time"
        )
    if given.picture is not None:
        print(f"written: {_draw(matches[0], given.picture)}")


def _draw(match: Match, picture: Path) -> Path:
    from snn_delays.plot import save_figure
    from snn_delays.plot.activity import raster
    from snn_delays.plot.style import new_figure

    figure = new_figure(9.0, 3.6)
    pair = {"SHD-regenerated": match.archived, "encoded here": match.ours}
    for ax, (title, events) in zip(figure.subplots(1, 2, sharey=True), pair.items()):
        spikes = np.zeros((int(max(e.t_us[-1] for e in pair.values())) // 1000 + 1, events.n_channels))
        np.add.at(spikes, (events.t_us // 1000, events.channel), 1)
        raster(spikes, dt_ms=1.0, ax=ax, title=f"{title}, {len(events)} spikes")
        ax.set_ylabel("channel (0: highest frequency)" if title == "SHD-regenerated" else "")
    figure.suptitle(match.name, fontsize=10)
    return save_figure(figure, picture)


if __name__ == "__main__":
    main()
