"""The command that turns recordings into spikes."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from snn_delays.cli.app import RUNS, console
from snn_delays.cli.data import data_app
from snn_delays.messages import command

if TYPE_CHECKING:
    from snn_delays.data.encoders.cochlea import BatchReport


@data_app.command("encode")
def data_encode(
    wavs: Annotated[list[Path], typer.Argument(help="WAV or FLAC files; a folder stands for all of them inside it")],
    out: Annotated[Path, typer.Option(help="HDF5 file in SHD's layout to write")],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns file,label and, if wanted, speaker,split; default: by names"),
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="what names say: heidelberg, speech_commands, spoken_digits or folder; auto finds out")
    ] = "auto",
    test: Annotated[
        str | None,
        typer.Option(help="test recordings: list:FILE, speakers:A,B, takes:0-4 or fraction:0.2", show_default=False),
    ] = None,
    valid: Annotated[
        str | None, typer.Option(help="validation recordings, by a rule as for --test", show_default=False)
    ] = None,
    parts: Annotated[
        Path | None,
        typer.Option(help="folder of finished recordings that is kept for later calls; default: OUT.parts, removed"),
    ] = None,
    channels: Annotated[int, typer.Option(help="places along the cochlea; channel 0 is the highest frequency")] = 700,
    seed: Annotated[int, typer.Option(help="of the draws; with each file's contents it decides its spikes")] = 0,
    workers: Annotated[int | None, typer.Option(help="processes; default: one per core")] = None,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Hann window over each whole file, as the published program")
    ] = False,
    tick_us: Annotated[int, typer.Option(help="times are rounded to this many microseconds, 1 to 1000")] = 500,
    causal: Annotated[bool, typer.Option("--causal", help="a membrane that answers after the sound")] = False,
    max_seconds: Annotated[float, typer.Option(help="longest recording that is taken")] = 600.0,
    max_clipped: Annotated[float, typer.Option(help="share of samples at full scale that is let pass")] = 0.01,
) -> None:
    """Turn recordings into spikes of a model cochlea, as for the Spiking Heidelberg Digits.

    With --test or --valid, or a column split in the table of labels, OUT words.h5 becomes words_train.h5, words_test.h5
    and words_valid.h5.

    A recording that cannot be used is left out, named with its reason at the end, and makes the exit code 1. A run that
    was stopped goes on from there when started again.
    """
    from snn_delays.data.encoders.cochlea import Cochlea, encode_splits, find_audio
    from snn_delays.training.progress import ProgressBar

    cochlea = Cochlea(
        channels=channels, window="hann" if window else "none", tick_us=tick_us, causal=causal,
        max_seconds=max_seconds, max_clipped=max_clipped,
    )  # fmt: skip
    with ProgressBar(console) as bar:
        rules = {name: rule for name, rule in (("test", test), ("valid", valid)) if rule is not None}
        reports = encode_splits(
            find_audio(wavs), out, rules, cochlea, labels=labels, scheme=scheme, parts=parts, seed=seed,
            workers=workers, progress=bar.loading,
        )  # fmt: skip
    for path, report in reports.items():
        _tell(path, report)
    _tell_next(reports, out, channels)
    if any(report.failed for report in reports.values()):
        raise typer.Exit(1)


@data_app.command("encode-speech-commands")
def data_encode_speech_commands(
    folder: Annotated[Path, typer.Argument(help="the unpacked archive: a folder for each word, and the two lists")],
    out: Annotated[
        Path | None, typer.Option(help="folder of the three files; default: where `gsc-35-cochlea` looks for them")
    ] = None,
    workers: Annotated[int | None, typer.Option(help="processes; default: one per core")] = None,
    seed: Annotated[int, typer.Option(help="of the draws; with each file's contents it decides its spikes")] = 0,
) -> None:
    """Turn Speech Commands into spikes of a model cochlea: a file for each official split, as `gsc-35-cochlea` reads.

    A recording that cannot be used is left out, named with its reason at the end, and makes the exit code 1. A run that
    was stopped goes on from there when started again; files that are there are kept.
    """
    from snn_delays.data.encoders.encode_speech_commands import encode_speech_commands
    from snn_delays.data.files import data_folder
    from snn_delays.training.progress import ProgressBar

    target = out or data_folder() / "gsc-35-cochlea"
    before = set(target.glob("gsc_*.h5"))
    with ProgressBar(console) as bar:
        reports = encode_speech_commands(folder, target, seed=seed, workers=workers, progress=bar.loading)
    for path, report in reports.items():
        _tell(path, report, kept=path in before)
    if any(report.failed for report in reports.values()):
        raise typer.Exit(1)


def _tell_next(written: "Iterable[Path]", out: Path, channels: int) -> None:
    """The command that trains on what was written."""
    names = [path.name for path in written]
    train = next(path for path in written)
    settings = [f"data.dataset={train.absolute()}"]
    if channels % 5:  # which the recipe would group
        settings.append("data.channel_group=1")
    if any(name.endswith(f"_valid{out.suffix}") for name in names):
        settings.append("data.validation=official")
    changes = [word for setting in settings for word in ("--set", setting)]
    line = command("train", "demo", *changes, "--out", RUNS / out.stem)
    console.print(f"next: {line}", highlight=False, markup=False)
    if not any(name.endswith(f"_test{out.suffix}") for name in names):
        console.print(f"{train} has no test part, so that `evaluate` will have nothing to measure on; --test makes one")


def _tell(out: Path, report: "BatchReport", kept: bool = False) -> None:
    """What a file holds, and what was left out of it and why."""
    again = f", {report.reused} of them from an earlier run" if report.reused and not kept else ""
    done = "there already" if kept else "written"
    console.print(
        f"{done}: {out}, {report.written} recordings{again}; {out}.csv lists them", highlight=False, markup=False
    )
    for _, reason in report.failed:
        console.print(f"left out: {reason}", highlight=False, markup=False)
    if report.failed:
        console.print(f"{len(report.failed)} of {report.written + len(report.failed)} recordings were left out")


@data_app.command("encode-check")
def data_encode_check(
    audio: Annotated[Path, typer.Argument(help="zip of Heidelberg Digits, such as hd_audio_240.zip")],
    archives: Annotated[list[Path], typer.Argument(help="archives with the spikes, such as shd_regen_test.npz.xz")],
    recordings: Annotated[int, typer.Option(min=1, help="how many, spread over those the two have in common")] = 8,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Hann window; the archives were made without")
    ] = False,
    picture: Annotated[
        Path | None, typer.Option(help="PNG, PDF or SVG file to write: one recording there and here")
    ] = None,
) -> None:
    """Encode recordings whose spikes are known from SHD-regenerated, and compare the two.

    Beside it stands the same comparison between two seeds of ours, which shows how much is chance.
    """
    from snn_delays.data.encoders.cochlea import Cochlea
    from snn_delays.data.encoders.cochlea.compare import compare, summarise
    from snn_delays.training.progress import ProgressBar

    cochlea = Cochlea(window="hann" if window else "none")
    with ProgressBar(console) as bar:
        matches = compare(audio, archives, cochlea, recordings=recordings, progress=bar.loading)
    table = Table("recording", "spikes there", "here", "over channels", "over time")
    for match in matches:
        channel, time = match.correlations(match.archived)
        table.add_row(match.name, f"{len(match.archived)}", f"{len(match.ours)}", f"{channel:.3f}", f"{time:.3f}")
    console.print(table)
    found = summarise(matches)
    console.print(f"{found.ours} spikes here, {found.archived} there: {found.ratio:.4f} of them", highlight=False)
    for i, other in enumerate(("the archive", "another seed")):
        console.print(
            f"against {other}: counts of single recordings differ by {found.difference[i]:.2%} (standard deviation), "
            f"histograms correlate {found.channel[i]:.3f} over channels, {found.time[i]:.3f} over time",
            highlight=False,
        )
    if picture is not None:
        import numpy as np

        from snn_delays.plot import save_figure
        from snn_delays.plot.rasters import raster
        from snn_delays.plot.style import new_figure

        figure = new_figure(9.0, 3.6)
        pair = {"SHD-regenerated": matches[0].archived, "encoded here": matches[0].ours}
        for ax, (title, events) in zip(figure.subplots(1, 2, sharey=True), pair.items()):
            spikes = np.zeros((int(max(e.t_us[-1] for e in pair.values())) // 1000 + 1, events.n_channels))
            np.add.at(spikes, (events.t_us // 1000, events.channel), 1)
            raster(spikes, dt_ms=1.0, ax=ax, title=f"{title}, {len(events)} spikes")
            ax.set_ylabel("channel (0: highest frequency)" if title == "SHD-regenerated" else "")
        figure.suptitle(matches[0].name, fontsize=10)
        console.print(f"written: {save_figure(figure, picture)}", highlight=False)
