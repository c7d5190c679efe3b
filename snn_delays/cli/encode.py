"""Commands that turn recordings and images into spikes."""

import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snn_delays.cli.app import RUNS, console
from snn_delays.cli.data import data_app
from snn_delays.cli.output import Scheduler, print_lines, progress
from snn_delays.errors import ConfigError
from snn_delays.messages import command

if TYPE_CHECKING:
    from snn_delays.data.encoders.cochlea import BatchReport

Seed = Annotated[int, typer.Option(help="seed of the random draws; with a file's contents it determines its spikes")]
Workers = Annotated[int | None, typer.Option(help="processes; default: one per core")]


@data_app.command("encode")
def data_encode(
    wavs: Annotated[list[Path], typer.Argument(help="WAV or FLAC files; a folder stands for all of them inside it")],
    out: Annotated[Path, typer.Option(help="HDF5 file in SHD's layout to write")],
    labels: Annotated[
        Path | None,
        typer.Option(help="CSV with the columns file,label and, optionally, speaker,split; default: by names"),
    ] = None,
    scheme: Annotated[
        str, typer.Option(help="naming scheme: heidelberg, speech_commands, spoken_digits or folder; auto detects it")
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
        typer.Option(
            help="folder that keeps finished recordings for later calls; default: OUT.parts, removed at the end"
        ),
    ] = None,
    channels: Annotated[int, typer.Option(help="places along the cochlea; channel 0 has the highest frequency")] = 700,
    seed: Seed = 0,
    workers: Workers = None,
    scheduler: Scheduler = None,
    window: Annotated[
        bool, typer.Option("--window/--no-window", help="Hann window over each whole file, as the published program")
    ] = False,
    tick_us: Annotated[int, typer.Option(help="times are rounded to this many microseconds, 1 to 1000")] = 500,
    causal: Annotated[
        bool, typer.Option("--causal", help="a membrane that responds after the sound, not before")
    ] = False,
    max_seconds: Annotated[float, typer.Option(help="longest recording that is accepted, in seconds")] = 600.0,
    max_clipped: Annotated[float, typer.Option(help="largest share of samples at full scale that is accepted")] = 0.01,
) -> None:
    """Turn recordings into spikes of a model cochlea, as for the Spiking Heidelberg Digits.

    With --test or --valid, or a column split in the table of labels, OUT words.h5 becomes words_train.h5, words_test.h5
    and words_valid.h5.

    A recording that cannot be used is left out, named with its reason at the end, and makes the exit code 1. A run that
    was stopped goes on from there when started again.
    """
    from snn_delays.data.encoders.cochlea import Cochlea, encode_splits, find_audio

    cochlea = Cochlea(
        channels=channels, window="hann" if window else "none", tick_us=tick_us, causal=causal,
        max_seconds=max_seconds, max_clipped=max_clipped,
    )  # fmt: skip
    with progress() as bar:
        rules = {name: rule for name, rule in (("test", test), ("valid", valid)) if rule is not None}
        reports = encode_splits(
            find_audio(wavs), out, rules, cochlea, labels=labels, scheme=scheme, parts=parts, seed=seed,
            workers=workers, scheduler=scheduler, progress=bar.on_load,
        )  # fmt: skip
    _print_reports(reports)
    _print_next(list(reports), out, channels)
    _exit(reports)


@data_app.command("encode-speech-commands")
def data_encode_speech_commands(
    folder: Annotated[Path, typer.Argument(help="the unpacked archive: a folder for each word, and the two lists")],
    out: Annotated[
        Path | None, typer.Option(help="folder of the three files; default: where `gsc-35-cochlea` looks for them")
    ] = None,
    workers: Workers = None,
    seed: Seed = 0,
) -> None:
    """Turn Speech Commands into spikes of a model cochlea: a file for each official split, as `gsc-35-cochlea` reads.

    A recording that cannot be used is left out, named with its reason at the end, and makes the exit code 1. A run that
    was stopped goes on from there when started again; files that are there are kept.
    """
    from snn_delays.data.encoders.encode_speech_commands import encode_speech_commands
    from snn_delays.data.files import data_folder

    target = out or data_folder() / "gsc-35-cochlea"
    kept = set(target.glob("gsc_*.h5"))
    with progress() as bar:
        reports = encode_speech_commands(folder, target, seed=seed, workers=workers, progress=bar.on_load)
    _print_reports(reports, kept)
    _exit(reports)


@data_app.command("simulate-nmnist")
def data_simulate_nmnist(
    mnist: Annotated[Path, typer.Argument(help="folder of MNIST's four files, packed with gzip or not")],
    images: Annotated[int, typer.Option(min=1, help="simulate the first so many images of MNIST's test set")] = 10000,
    seed: Annotated[int, typer.Option(min=0, help="with an image's number it decides its events")] = 0,
    out: Annotated[Path | None, typer.Option(help="folder; default: where `n-mnist-simulated` looks for it")] = None,
) -> None:
    """Move MNIST's test images before a model of an event camera, as N-MNIST was recorded; goes on where it stopped."""
    from snn_delays.data.encoders.simulated_nmnist import simulate_folder
    from snn_delays.data.files import data_folder
    from snn_delays.data.formats.idx import read_mnist

    pictures, labels = read_mnist(mnist, "test")
    if images > len(pictures):
        raise ConfigError(f"--images {images}: MNIST's test set has {len(pictures):,}")
    with progress() as bar:
        folder = simulate_folder(pictures, labels, range(images), out or data_folder(), seed, bar.on_load)
    console.print(f"written: {folder}, {images:,} simulated recordings")


def _print_reports(reports: "Mapping[Path, BatchReport]", kept: Collection[Path] = ()) -> None:
    """The recordings of every file, and those left out with their reasons."""
    for path, report in reports.items():
        again = f", {report.reused} of them from an earlier run" if report.reused and path not in kept else ""
        done = "there already" if path in kept else "written"
        print_lines([f"{done}: {path}, {report.written} recordings{again}; {path}.csv lists them"])
        print_lines(f"left out: {reason}" for _, reason in report.failed)
        if report.failed:
            console.print(f"{len(report.failed)} of {report.written + len(report.failed)} recordings were left out")


def _exit(reports: "Mapping[Path, BatchReport]") -> None:
    if any(report.failed for report in reports.values()):
        raise typer.Exit(1)


def _print_next(written: Sequence[Path], out: Path, channels: int) -> None:
    """The command that trains on what was written."""
    train, names = written[0], [path.name for path in written]
    changes = [f"data.dataset={train.absolute()}"]
    if channels % 5:  # which the recipe would group
        changes.append("data.channel_group=1")
    if any(name.endswith(f"_valid{out.suffix}") for name in names):
        changes.append("data.validation=official")
    options = [word for change in changes for word in ("--set", change)]
    print_lines([f"next: {command('train', 'demo', *options, '--out', RUNS / out.stem)}"])
    if not any(name.endswith(f"_test{out.suffix}") for name in names):
        console.print(f"{train} has no test part, so that `evaluate` will have nothing to measure on; --test makes one")


@data_app.command("encode-check", hidden=True, context_settings={"ignore_unknown_options": True})
def data_encode_check(arguments: Annotated[list[str] | None, typer.Argument()] = None) -> None:
    """Moved to a script of the repository."""
    raise ConfigError(
        "data encode-check compares with unpublished archives and is a script of the repository now; from a checkout: "
        f"python -m experiments.studies.cochlea_compare {shlex.join(arguments or ['AUDIO', 'ARCHIVE'])}"
    )
