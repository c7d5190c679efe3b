"""Commands that take a network to chips and simulators."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.output import Network, Write, print_lines, print_table, progress, write_or_print
from snn_delays.errors import ConfigError
from snn_delays.runs.table import Table

if TYPE_CHECKING:
    from snn_delays.runs.export import Export

SWEEP, FORMER_SWEEP = Path("experiments/integer_arithmetic.csv"), Path("experiments/whole_numbers.csv")
FORMAT_OF = {"encoding": "nir", "time_unit": "nir", "relays": "spinnaker2"}  # options of one format
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
    from snn_delays.runs.export import ExportOptions, check_fit
    from snn_delays.runs.export import export as write_export

    options = ExportOptions(target, bits_of(weight_bits), scale, max_delay_steps, clamp)
    if check:
        if target is None:
            raise ConfigError("--check needs --target, the chip to check against; see `snn-delays targets`")
        fitting = check_fit(run, options)
        print_lines(fitting.lines())
        raise typer.Exit(0 if fitting.fits else 1)
    requested = {"encoding": encoding, "time_unit": time_unit, "relays": relays or None}
    extra: dict[str, Any] = {name: value for name, value in requested.items() if value is not None}
    for name in extra:
        if to != FORMAT_OF[name]:
            raise ConfigError(f"--{name.replace('_', '-')} belongs to --to {FORMAT_OF[name]}, not to {to}")
    with progress() as bar:
        written = write_export(run, to, out=out, options=options, samples=samples, split=split, callback=bar, **extra)
    print_lines([*written.summary, *export_lines(written)])


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
    from snn_delays.chips.profiles import profiles
    from snn_delays.export.targets import FORMATS

    if run is not None:
        from snn_delays.runs.targets import compare_targets  # which loads torch

        with progress() as bar:
            table = compare_targets(run, samples, bar)
        if write is not None:
            write_or_print(table.markdown(), write, "costs")
            return
        print_table(table)
        console.print(
            "per inference, mean of validation samples; SynOps: for every event, the synapses of its source. A "
            "target's limits one by one: snn-delays export RUN --check --target NAME"
        )
        return
    rows = [(each.name, each.title, each.arithmetic, each.profile or "-") for each in FORMATS.values()]
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
    from snn_delays.runs.sweep import SWEEPS, markdown, sweep_precision

    if table == SWEEP and not table.exists() and FORMER_SWEEP.exists():
        table = FORMER_SWEEP  # as this table was called before
    try:
        limits = [int(limit) for limit in max_delays.split(",")]
    except ValueError:
        raise ConfigError(f"--max-delays takes integers separated by commas, got {max_delays!r}") from None
    bits = [bits_of(part.strip()) for part in weight_bits.split(",")]
    for run in runs or []:
        with progress() as bar:
            rows = sweep_precision(run, target, bits, limits, callback=bar, split=split)
        SWEEPS.append(table, rows)
        console.print(f"{run}: {len(rows)} rows, of {rows[0]['samples']:,} {split} samples, appended to {table}")
    write_or_print(markdown(SWEEPS.read(table)), write, "integer arithmetic")


def bits_of(text: str | None) -> int | str | None:
    """Bits of weights as written on the command line. Raises ConfigError for what is neither a number nor ternary."""
    if text is None or text == "ternary":
        return text
    if not text.isdecimal():
        raise ConfigError(f"--weight-bits takes a number from 2 to 16 or ternary, got {text!r}")
    return int(text)


def export_lines(written: "Export") -> list[str]:
    """Where the files are."""
    first = "export   "
    return [f"{first if i == 0 else ' ' * len(first)}{path}" for i, path in enumerate(written.files)]
