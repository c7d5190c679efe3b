"""Commands that take a network to chips and simulators."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.output import Network, Write, print_table
from snn_delays.cli.results import write_or_print

if TYPE_CHECKING:
    from snn_delays.runs.export import Export

SWEEP = Path("experiments/whole_numbers.csv")
Target = Annotated[str | None, typer.Option(help="chip or simulator; see `snn-delays targets`", show_default=False)]
Bits = Annotated[str | None, typer.Option(help="2 to 16, or ternary; default: the target's", show_default=False)]


@app.command()
def export(
    run: Network,
    to: Annotated[str, typer.Option(help="format; see `snn-delays targets`")] = "nir",
    target: Target = None,
    out: Annotated[Path | None, typer.Option(help="folder; default: export/FORMAT in the run folder")] = None,
    weight_bits: Bits = None,
    scale: Annotated[str | None, typer.Option(help="step of the weights: power_of_two or free")] = None,
    max_delay_steps: Annotated[int | None, typer.Option(help="longest delay; longer ones need --clamp")] = None,
    clamp: Annotated[bool, typer.Option("--clamp", help="clamp delays beyond the limit instead of failing")] = False,
    encoding: Annotated[str | None, typer.Option(help="how NIR holds delays: gather or branch")] = None,
    time_unit: Annotated[str | None, typer.Option(help="unit of times in NIR: s (default), ms or us")] = None,
    relays: Annotated[
        bool, typer.Option("--relays", help="SpiNNaker 2: relay neurons for delays beyond the limit")
    ] = False,
    samples: Annotated[
        int, typer.Option(help="samples in the golden trace; 0: a trace of random events, no data set is opened")
    ] = 20,
    split: Annotated[str, typer.Option(help="split that samples are from: validation or test")] = "validation",
    check: Annotated[
        bool, typer.Option("--check", help="only print whether it fits the target; opens no data")
    ] = False,
) -> None:
    """Write a discretised network for a chip or a simulator, with a golden trace to check it by."""
    from snn_delays.errors import ConfigError
    from snn_delays.runs.export import ExportOptions, check_fit
    from snn_delays.runs.export import export as write_export
    from snn_delays.training.progress import ProgressBar

    options = ExportOptions(target, bits_of(weight_bits), scale, max_delay_steps, clamp)
    if check:
        if target is None:
            raise ConfigError("--check needs --target, the chip to check against; see `snn-delays targets`")
        fitting = check_fit(run, options)
        for line in fitting.lines():
            console.print(line, highlight=False, markup=False)
        raise typer.Exit(0 if fitting.fits else 1)
    if encoding is not None and to != "nir":
        raise ConfigError(f"--encoding belongs to --to nir, not to {to}")
    if time_unit is not None and to != "nir":
        raise ConfigError(f"--time-unit belongs to --to nir, not to {to}")
    if relays and to != "spinnaker2":
        raise ConfigError(f"--relays belongs to --to spinnaker2, not to {to}")
    given: dict[str, Any] = {"encoding": encoding, "time_unit": time_unit, "relays": relays}
    given = {key: value for key, value in given.items() if value}
    with ProgressBar(console) as bar:
        written = write_export(run, to, out=out, options=options, samples=samples, split=split, callback=bar, **given)
    for line in [*written.summary, *export_lines(written)]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


@app.command()
def targets(
    run: Annotated[
        Path | None, typer.Argument(help="run folder or .safetensors file to compare the targets for")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="validation samples to count spikes on; 0: no data set is opened")
    ] = 20,
    write: Write = None,
) -> None:
    """List the formats and targets of an export, or compare what a network needs on each target."""
    if run is not None:
        _compare_targets(run, samples, write)
        return
    from snn_delays.chips.profiles import profiles
    from snn_delays.export.targets import FORMATS
    from snn_delays.runs.table import Table

    rows = [(one.name, one.title, one.arithmetic, one.profile or "-") for one in FORMATS.values()]
    print_table(Table(("--to", "what", "numbers", "--target by default"), rows))
    chips = []
    for chip in profiles().values():
        longest = chip.max_delay_steps if chip.has_delays else None
        delays = chip.delay_kind + ("" if longest is None else f", up to {longest}")
        bits = ", ".join(map(str, chip.weight_bits)) + " bits" if chip.weight_bits else "real"
        unverified = ", ".join(chip.unverified) or "-"
        chips.append((chip.name, chip.title, delays, bits, ", ".join(chip.resets), unverified))
    print_table(Table(("--target", "what", "delays", "weights", "resets", "unverified"), chips))


@app.command()
def sweep(
    runs: Annotated[list[Path] | None, typer.Argument(help="run folders; without any, print the table")] = None,
    target: Annotated[str, typer.Option(help="chip that computes in integers; see `snn-delays targets`")] = "loihi2",
    weight_bits: Annotated[str, typer.Option(help="bits of the weights, separated by commas")] = "8,4",
    max_delays: Annotated[str, typer.Option(help="longest delays in steps, separated by commas")] = "62,24,7,0",
    split: Annotated[
        str, typer.Option(help="samples to measure on: validation, or test to report a choice")
    ] = "validation",
    table: Annotated[Path, typer.Option(help="table that the rows are added to")] = SWEEP,
    write: Write = None,
) -> None:
    """Measure the accuracy in integer arithmetic with fewer bits and shorter delays; add the rows to a table."""
    from snn_delays.errors import ConfigError
    from snn_delays.runs.sweep import append_sweep, markdown, read_sweep, sweep_precision
    from snn_delays.training.progress import ProgressBar

    try:
        limits = [int(limit) for limit in max_delays.split(",")]
    except ValueError:
        raise ConfigError(f"--max-delays takes integers separated by commas, got {max_delays!r}") from None
    bits = [bits_of(part.strip()) for part in weight_bits.split(",")]
    for run in runs or []:
        with ProgressBar(console) as bar:
            rows = sweep_precision(run, target, bits, limits, callback=bar, split=split)
        append_sweep(table, rows)
        console.print(f"{run}: {len(rows)} rows, of {rows[0]['samples']:,} {split} samples, appended to {table}")
    write_or_print(markdown(read_sweep(table)), write, "whole numbers")


def _compare_targets(run: Path, samples: int, write: Path | None) -> None:
    from snn_delays.runs.targets import compare_targets
    from snn_delays.training.progress import ProgressBar

    with ProgressBar(console) as bar:
        table = compare_targets(run, samples, bar)
    if write is not None:
        write_or_print(table.markdown(), write, "costs")
        return
    print_table(table)
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
