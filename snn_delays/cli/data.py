"""Commands about data sets."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.output import DataSet, print_table, progress
from snn_delays.errors import ConfigError, DataError
from snn_delays.runs.table import Table

if TYPE_CHECKING:
    from snn_delays.data.card import Card
    from snn_delays.data.recordings import Recordings
    from snn_delays.data.statistics import Spread, Statistics

data_app = typer.Typer(help="Data sets: list, fetch, verify, show, encode.", no_args_is_help=True)
app.add_typer(data_app, name="data")
Out = Annotated[Path | None, typer.Option(help="folder; default: where recipes look for the data set")]


@data_app.command("list")
def data_list() -> None:
    """List the data sets, whether their files are at hand, and the corpora and sentence sets.

    Your own cards are listed too if SNN_DELAYS_CARDS names their folder.
    """
    from snn_delays.data.catalogue.lookup import cards
    from snn_delays.data.text import text_cards

    rows = []
    for card in cards().values():
        sensor = " x ".join(str(size) for size in card.sensor) + (" channels" if len(card.sensor) == 1 else " events")
        tonic = f"Tonic's {card.tonic_class}" if card.tonic_class else "not in Tonic"
        about = [sensor, f"{card.n_classes} classes", card.licence, card.own or tonic]
        samples = "\n".join(f"{split} {part.samples:,}" for split, part in card.splits.items())
        rows.append((card.name, f"{card.title}\n{', '.join(filter(None, about))}", samples, _at_hand(card)))
    heads = ("name", "what it is", "samples", "at hand")
    print_table(Table(heads, rows), no_wrap=(0, 2), sections=True)
    texts = []
    for text in text_cards().values():
        files = text.archive or ", ".join(dict.fromkeys(part.file for part in text.files.values()))
        place = "in the package" if text.bundled else f"{text.folder}/{files}"
        texts.append((text.name, f"{text.description}\n{text.kind}, {text.licence}", place))
    places = ("name", "what it is", "in the package or, below the data folder, at")
    print_table(Table(places, texts), no_wrap=(0,), sections=True)


@data_app.command("verify")
def data_verify(name: DataSet) -> None:
    """Compute the checksums of a data set's files anew and compare them with the catalogue's."""
    from snn_delays.data.catalogue.locate import find_data, verify
    from snn_delays.data.catalogue.lookup import card

    data = card(name)
    for split, part in data.splits.items():
        if not part.made_here:
            console.print(f"{verify(data, split)}: {split} is {data.display_name}")
        elif part.file:
            path = find_data(data, split)
            whose = "a data set of your own" if data.own else "made on this machine"
            console.print(f"{path}: {split} is {whose}, so that its card has no checksum to compare with")
        else:
            console.print(f"{split} is generated from its card; there is no file to compare")


@data_app.command("unpack")
def data_unpack(
    archive: Annotated[Path, typer.Argument(help="such as speech_commands_v0.02.tar.gz or CIFAR10DVS.zip")],
    out: Out = None,
) -> None:
    """Unpack the archive of a data set to where recipes look for it; its checksum decides which one it is."""
    from snn_delays.data.catalogue.locate import unpack

    with progress() as bar:
        path = unpack(archive, out, bar.on_load)
    console.print(f"written: {path}")


@data_app.command("convert", hidden=True)
def data_convert(
    archive: Annotated[Path, typer.Argument(help="an archive, as for `data unpack`")],
    out: Out = None,
) -> None:
    """The former name of `data unpack`."""
    if archive.name.endswith(".npz.xz"):
        raise ConfigError(
            "unpublished archives of spikes are converted by a script of the repository now; from a checkout: "
            f"python -m experiments.studies.shd_regenerated convert {shlex.quote(str(archive))}"
        )
    data_unpack(archive, out)


@data_app.command("download")
def data_download(name: DataSet) -> None:
    """Fetch a data set through Tonic to where recipes look for it, and compare its checksums."""
    from snn_delays.data.catalogue.fetch import download
    from snn_delays.data.catalogue.lookup import card

    for path in download(card(name), lambda line: console.print(line)):
        console.print(f"there: {path}")


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

    binning = Binning(dt_ms=dt_ms, channel_group=1)
    with progress() as bar:
        recordings = open_recordings(name, split, progress=bar.on_load)
        if sample >= len(recordings):
            raise ConfigError(f"{name} has {len(recordings)} recordings in {split}, 0 to {len(recordings) - 1}")
        figure = _draw(recordings, sample, f"{name}, {split} {sample}")
        measured = statistics(recordings, binning, limit=limit or None, progress=bar.on_load)
    # Paths and checksums are to be copied.
    print_table(Table((), _rows(recordings, measured), f"{recordings.source()}, {split}"), fold=1)
    if measured.errors:
        console.print(f"cannot be used: {len(measured.errors)}, the first because: {measured.errors[0]}")
    out = out or Path(f"{card(name).name}_{split}_{sample}.png")
    console.print(f"written: {save_figure(figure, out)}")


def _at_hand(card: "Card") -> str:
    """Whether the files of every split are there; a bundled set is not expanded for the answer."""
    from snn_delays.data.catalogue.locate import find_data
    from snn_delays.data.files import files_in

    if card.bundled:
        return "yes"
    present = []
    for split, part in card.splits.items():
        try:
            path = find_data(card, split)
        except DataError:
            continue
        half = path.is_dir() and bool(part.file) and not part.made_here and len(files_in(path)) < part.samples
        present.append(f"{split}, incomplete" if half else split)
    return "yes" if present == list(card.splits) else ", ".join(present) or "no"


def _draw(recordings: "Recordings", i: int, where: str) -> object:
    from snn_delays.data.recordings import FeatureRecordings
    from snn_delays.plot.recording import events_figure, features_figure

    def title(label: int, speaker: int) -> str:
        return f"{recordings.class_names[label]}{f', speaker {speaker}' if speaker >= 0 else ''} ({where})"

    if isinstance(recordings, FeatureRecordings):
        frames, label, speaker = recordings.frames(i)
        return features_figure(frames, frame_ms=recordings.frame_ms, title=title(label, speaker))
    sample = recordings[i]
    if len(sample.events) == 0:
        raise ConfigError(f"{where} has no events to draw; choose another --sample")
    events = sample.events
    return events_figure(events.t_us, events.channel, recordings.sensor, title=title(sample.label, sample.speaker))


def _rows(recordings: "Recordings", stats: "Statistics") -> list[tuple[str, str]]:
    counts = [count for count in stats.class_counts if count]
    part = f", of which {stats.looked_at:,} were looked at for what follows" if stats.looked_at < stats.samples else ""
    classes = f"{len(counts)} of {len(recordings.class_names)}, {min(counts):,} to {max(counts):,} recordings each"
    sensor = "channels" if len(recordings.sensor) == 1 else "sensor (polarity, y, x)"
    rows = [
        ("file", str(recordings.path)),
        ("sha256", recordings.checksum()),
        ("recordings", f"{stats.samples:,}{part}"),
        ("classes", classes),
        ("speakers", f"{stats.speakers:,}" if stats.speakers else "not known"),
        (sensor, " x ".join(str(size) for size in recordings.sensor)),
    ]
    if stats.events is not None and stats.duration_ms is not None:
        rates = stats.channel_values
        rows += [
            ("events a recording", _spread(stats.events, ",.0f")),
            ("duration", _spread(stats.duration_ms, ",.1f", " ms")),
            ("rate of a channel", f"mean {rates.mean():.3g}, highest {rates.max():.3g} events/s"),
            ("silent channels", f"{stats.constant_channels:,}"),
        ]
    if stats.values is not None:
        rows += [
            ("values", "least {:,.1f}, mean {:,.1f}, most {:,.1f} dB".format(*stats.values)),
            ("constant channels", f"{stats.constant_channels:,}"),
        ]
    return [*rows, (f"frames of {stats.dt_ms:g} ms", _spread(stats.frames, ",.0f"))]


def _spread(x: "Spread", form: str, unit: str = "") -> str:
    return f"least {x.least:{form}}, median {x.median:{form}}, mean {x.mean:{form}}, most {x.most:{form}}{unit}"
