"""A data set in a picture and a table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from snn_delays.cli.app import console
from snn_delays.cli.data import data_app
from snn_delays.errors import ConfigError

if TYPE_CHECKING:
    from snn_delays.data.recordings import Recordings
    from snn_delays.data.statistics import Spread, Statistics


@data_app.command("show")
def data_show(
    name: Annotated[str, typer.Argument(help="data set, as in `data list`, or the path of one of your own")],
    sample: Annotated[int, typer.Option(min=0, help="number of the recording to draw, from 0")] = 0,
    split: Annotated[str, typer.Option(help="train, or another split of the data set")] = "train",
    out: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG file; default: NAME_SPLIT_SAMPLE.png here")] = None,
    limit: Annotated[
        int, typer.Option(min=0, help="number of recordings the statistics are computed from; 0: all")
    ] = 2000,
    dt_ms: Annotated[float, typer.Option(help="width of the time steps, for events")] = 10.0,
) -> None:
    """Draw one recording and print statistics of a split: classes, events, rates, durations, frames."""
    from snn_delays.data.binning import Binning
    from snn_delays.data.catalogue.lookup import card
    from snn_delays.data.opening import open_recordings
    from snn_delays.data.statistics import statistics
    from snn_delays.plot import save_figure
    from snn_delays.training.progress import ProgressBar

    binning = Binning(dt_ms=dt_ms, channel_group=1)
    with ProgressBar(console) as bar:
        recordings = open_recordings(name, split, progress=bar.on_load)
        if sample >= len(recordings):
            raise ConfigError(f"{name} has {len(recordings)} recordings in {split}, 0 to {len(recordings) - 1}")
        figure = _draw(recordings, sample, f"{name}, {split} {sample}")
        found = statistics(recordings, binning, limit=limit or None, progress=bar.on_load)
    table = Table("", "", title=f"{recordings.source()}, {split}", title_justify="left", show_header=False)
    table.columns[1].overflow = "fold"  # paths and checksums are to be copied
    for row in _rows(recordings, found):
        table.add_row(*row)
    console.print(table)
    if found.errors:
        console.print(f"cannot be used: {len(found.errors)}, the first because: {found.errors[0]}")
    out = out or Path(f"{card(name).name}_{split}_{sample}.png")
    console.print(f"written: {save_figure(figure, out)}")


def _draw(recordings: "Recordings", i: int, where: str) -> object:
    from snn_delays.data.recordings import FeatureRecordings
    from snn_delays.plot.recording import events_figure, features_figure

    if isinstance(recordings, FeatureRecordings):
        frames, label, speaker = recordings.frames(i)
    else:
        found = recordings[i]
        label, speaker = found.label, found.speaker
    by = f", speaker {speaker}" if speaker >= 0 else ""
    title = f"{recordings.class_names[label]}{by} ({where})"
    if isinstance(recordings, FeatureRecordings):
        return features_figure(frames, frame_ms=recordings.frame_ms, title=title)
    if len(found.events) == 0:
        raise ConfigError(f"{where} has no events to draw; choose another --sample")
    return events_figure(found.events.t_us, found.events.channel, recordings.sensor, title=title)


def _rows(recordings: "Recordings", found: "Statistics") -> list[tuple[str, str]]:
    sensor = " x ".join(str(size) for size in recordings.sensor)
    counts = [count for count in found.class_counts if count]
    rates = found.channel_values
    rows = [
        ("file", str(recordings.path)),
        ("sha256", recordings.checksum()),
        ("recordings", f"{found.samples:,}" + _of(found)),
        (
            "classes",
            f"{len(counts)} of {len(recordings.class_names)}, {min(counts):,} to {max(counts):,} recordings each",
        ),
        ("speakers", f"{found.speakers:,}" if found.speakers else "not known"),
        ("channels" if len(recordings.sensor) == 1 else "sensor (polarity, y, x)", sensor),
    ]
    if found.events is not None and found.duration_ms is not None:
        rows += [
            ("events a recording", _spread(found.events, ",.0f")),
            ("duration", _spread(found.duration_ms, ",.1f", " ms")),
            ("rate of a channel", f"mean {rates.mean():.3g}, highest {rates.max():.3g} events/s"),
            ("silent channels", f"{found.constant_channels:,}"),
        ]
    if found.values is not None:
        rows += [
            ("values", "least {:,.1f}, mean {:,.1f}, most {:,.1f} dB".format(*found.values)),
            ("constant channels", f"{found.constant_channels:,}"),
        ]
    return [*rows, (f"frames of {found.dt_ms:g} ms", _spread(found.frames, ",.0f"))]


def _of(found: "Statistics") -> str:
    return "" if found.looked_at == found.samples else f", of which {found.looked_at:,} were looked at for what follows"


def _spread(of: "Spread", form: str, unit: str = "") -> str:
    return f"least {of.least:{form}}, median {of.median:{form}}, mean {of.mean:{form}}, most {of.most:{form}}{unit}"
