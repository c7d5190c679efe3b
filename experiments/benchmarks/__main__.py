"""``python -m experiments.benchmarks``: time our layers against the packages they replace, side by side."""

import math
from pathlib import Path
from typing import Annotated

import torch
import typer

from experiments import benchmarks
from experiments.benchmarks import by_importance, read_record, report, select
from snn_delays.cli.app import RUNS, Commands, console
from snn_delays.errors import ConfigError
from snn_delays.files import write_between_markers

app = typer.Typer(cls=Commands, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)


@app.callback(invoke_without_command=True)
def bench(
    only: Annotated[list[str] | None, typer.Option(help="case by name, * for anything; may be repeated")] = None,
    repeats: Annotated[int, typer.Option(help="timed rounds of every case")] = 7,
    long: Annotated[bool, typer.Option("--long", help="also the cases that take minutes")] = False,
    device: Annotated[list[str] | None, typer.Option(help="cpu, cuda; may be repeated; default: all there are")] = None,
    minutes: Annotated[
        float, typer.Option(min=0, help="long cases too, the most telling first; none begins after that")
    ] = math.inf,
    threads: Annotated[int | None, typer.Option(help="threads of every side; default: torch's own")] = None,
    out: Annotated[Path, typer.Option(help="where the numbers go, as JSON")] = RUNS / "bench.json",
    write: Annotated[Path | None, typer.Option(help="document to write the tables into, between its markers")] = None,
    record: Annotated[Path | None, typer.Option("--from", help="show or write this record; measure nothing")] = None,
) -> None:
    """Time our layers against the packages they replace, side by side, each checked before it is timed."""
    if threads is not None:
        if threads < 1:
            raise ConfigError(f"--threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    if record is not None:
        done = read_record(record)
        for case in done["cases"]:
            report.show(console, case)
    else:
        short = math.isfinite(minutes)
        entries = select(only or (), long or short)
        entries = by_importance(entries) if short else entries
        benchmark = benchmarks.Benchmark(entries, repeats, device or (), minutes=minutes)
        for case in benchmark.run():
            report.show(console, case)
            path = benchmark.save(out)  # after every case: an interrupted run keeps the cases that are done
        console.print(f"written: {path} and {out}")
        done = benchmark.record
    for line in report.summary(done):
        console.print(line, highlight=False)
    if write is not None:
        write_between_markers(write, "benchmark", report.markdown(done))
        console.print(f"written: {write}")
    if any(case["failed"] for case in done["cases"]):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
