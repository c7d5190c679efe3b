"""Commands that take a run to chips and simulators."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.runs import RunFolder
from snn_delays.printable import printable

if TYPE_CHECKING:
    from snn_delays.runs.export import Export

SWEEP = Path("experiments/whole_numbers.csv")
Target = Annotated[str | None, typer.Option(help="profile of a chip; see `snn-delays targets`", show_default=False)]
Bits = Annotated[str | None, typer.Option(help="2 to 16 or ternary; default the target's", show_default=False)]


@app.command()
def export(
    run: RunFolder,
    to: Annotated[str, typer.Option(help="format; see `snn-delays targets`")] = "nir",
    target: Target = None,
    out: Annotated[Path | None, typer.Option(help="folder; default export/FORMAT in the run's")] = None,
    weight_bits: Bits = None,
    scale: Annotated[str | None, typer.Option(help="of weights: power_of_two or free")] = None,
    max_delay_steps: Annotated[int | None, typer.Option(help="longest delay to keep, with --clamp")] = None,
    clamp: Annotated[
        bool, typer.Option("--clamp", help="set delays beyond the limit to it, instead of failing")
    ] = False,
    encoding: Annotated[str | None, typer.Option(help="of delays in NIR: gather or branch")] = None,
    time_unit: Annotated[str | None, typer.Option(help="of NIR files: s (default), ms or us")] = None,
    relays: Annotated[bool, typer.Option("--relays", help="SpiNNaker 2: neurons that hold spikes longer")] = False,
    samples: Annotated[int, typer.Option(help="samples in the golden trace")] = 20,
    split: Annotated[
        str, typer.Option(help="where they are from: validation, or test, which is opened for that alone")
    ] = "validation",
    check: Annotated[bool, typer.Option("--check", help="print how it fits the target, write nothing")] = False,
) -> None:
    """Write a run's best network, made discrete, for a chip or a simulator, with a trace to check it by."""
    from snn_delays.errors import ConfigError
    from snn_delays.runs.export import Wishes, check_run, export_run
    from snn_delays.training.progress import ProgressBar
    from snn_delays.training.runlog import open_run

    opened = open_run(run, "events")
    wishes = Wishes(target, bits_of(weight_bits), scale, max_delay_steps, clamp)
    if check:
        if target is None:
            raise ConfigError("--check needs --target, the chip to check against; see `snn-delays targets`")
        fitting = check_run(opened, wishes)
        for line in fitting.lines():
            console.print(line, highlight=False, markup=False)
        raise typer.Exit(0 if fitting.fits else 1)
    if encoding is not None and to != "nir":
        raise ConfigError(f"--encoding belongs to --to nir, not to {to}")
    if time_unit is not None and to != "nir":
        raise ConfigError(f"--time-unit belongs to --to nir, not to {to}")
    if relays and to != "spinnaker2":
        raise ConfigError(f"--relays belongs to --to spinnaker2, not to {to}")
    options: dict[str, Any] = ({"encoding": encoding} if encoding else {}) | ({"relays": True} if relays else {})
    if time_unit:
        options["time_unit"] = time_unit
    with ProgressBar(console) as bar:
        written = export_run(
            opened, to, wishes=wishes, out=out, samples=samples, split=split, options=options, watcher=bar
        )
    for line in [*written.summary, *export_lines(written)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def targets(
    run: Annotated[Path | None, typer.Argument(help="a run: what its network costs on each target")] = None,
    write: Annotated[Path | None, typer.Option(help="document to write that into, between its markers")] = None,
) -> None:
    """Print the formats and the targets that an export can be made for; or how a run's network fits each target."""
    from rich.table import Table

    if run is not None:
        _survey(run, write)
        return
    from snn_delays.chips.profiles import profiles
    from snn_delays.export.targets import FORMATS

    formats = Table("--to", "what", "numbers", "--target by default")
    for one in FORMATS.values():
        formats.add_row(one.name, one.title, one.arithmetic, one.profile or "-")
    console.print(formats)
    chips = Table("--target", "what", "delays", "weights", "resets", "from memory")
    for chip in profiles().values():
        longest = chip.max_delay_steps if chip.has_delays else None
        delays = chip.delay_kind + ("" if longest is None else f", up to {longest}")
        bits = ", ".join(map(str, chip.weight_bits)) + " bits" if chip.weight_bits else "real"
        chips.add_row(chip.name, chip.title, delays, bits, ", ".join(chip.resets), ", ".join(chip.unverified) or "-")
    console.print(chips)


@app.command()
def sweep(
    runs: Annotated[list[Path] | None, typer.Argument(help="run folders; none: only print the table")] = None,
    target: Annotated[str, typer.Option(help="profile of a chip that computes in whole numbers")] = "loihi2",
    weight_bits: Annotated[str, typer.Option(help="numbers of bits, separated by commas")] = "8,4",
    max_delays: Annotated[str, typer.Option(help="longest delays in steps, separated by commas")] = "62,24,7,0",
    split: Annotated[
        str, typer.Option(help="samples to measure on: validation, or test to report what was chosen")
    ] = "validation",
    table: Annotated[Path, typer.Option(help="the table the rows go to")] = SWEEP,
    write: Annotated[Path | None, typer.Option(help="document to write the table into, between its markers")] = None,
) -> None:
    """Measure runs as whole-number networks: fewer bits, shorter delays; add the rows to a table."""
    from snn_delays.errors import ConfigError
    from snn_delays.files import write_between_markers
    from snn_delays.runs.sweep import append_sweep, markdown, read_sweep, sweep_run
    from snn_delays.training.progress import ProgressBar
    from snn_delays.training.runlog import open_run

    try:
        limits = [int(limit) for limit in max_delays.split(",")]
    except ValueError:
        raise ConfigError(f"--max-delays takes whole numbers separated by commas, got {max_delays!r}") from None
    bits = [bits_of(part.strip()) for part in weight_bits.split(",")]
    for run in runs or []:
        with ProgressBar(console) as bar:
            rows = sweep_run(open_run(run, "events"), target, bits, limits, watcher=bar, split=split)
        append_sweep(table, rows)
        console.print(f"{run}: {len(rows)} rows, of {rows[0]['samples']:,} {split} samples, appended to {table}")
    text = markdown(read_sweep(table))
    if write is None:
        print(printable(text), end="")
    else:
        write_between_markers(write, "whole numbers", text)


def _survey(run: Path, write: Path | None) -> None:
    from rich.table import Column, Table

    from snn_delays.files import write_between_markers
    from snn_delays.runs.survey import HEADS, markdown, survey
    from snn_delays.training.progress import ProgressBar
    from snn_delays.training.runlog import open_run

    with ProgressBar(console) as bar:
        rows = survey(open_run(run, "events"), watcher=bar)
    if write is not None:
        write_between_markers(write, "costs", markdown(rows))
        return
    table = Table(*(Column(head, overflow="fold") for head in HEADS))
    for row in rows:
        table.add_row(*row)
    console.print(table)
    console.print(
        "per inference, mean of validation samples; SynOps: for every event, the synapses of its source. A target's "
        "limits one by one: snn-delays export RUN --check --target NAME"
    )


def bits_of(text: str | None) -> int | str | None:
    """Bits of weights as written on the command line. Raises ConfigError for what is neither a number nor ternary."""
    from snn_delays.errors import ConfigError

    if text is None or text == "ternary":
        return text
    if not text.isdecimal():
        raise ConfigError(f"--weight-bits takes a number from 2 to 16 or ternary, got {text!r}")
    return int(text)


def export_lines(written: "Export") -> list[str]:
    """Where the files are."""
    first = "export   "
    return [f"{first if i == 0 else ' ' * len(first)}{path}" for i, path in enumerate(written.files)]
