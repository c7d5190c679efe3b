"""Commands about speed: which backend serves, and the benchmark."""

import importlib
import math
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from snn_delays.cli.app import RUNS, app, console


@app.command()
def backends(
    explain: Annotated[
        str | None,
        typer.Option(metavar="SHAPE", help="a delay layer's call, such as T=100,B=256,in=256,out=256,K=25,sigma=12"),
    ] = None,
) -> None:
    """List the implementations of every operation, which would serve here, and why the others would not.

    With --explain, what the planner expects of each of them for a delay layer of that shape, and which one it takes.
    """
    from snn_delays.ops.backends import operations

    if explain is not None:
        _explain(explain)
        return
    table = Table("operation", "backend", "serves here")
    for operation in operations():
        call = importlib.import_module(operation.backends[-1].module.rpartition(".")[0]).example_call()
        chosen = operation.choose(call)
        for backend in operation.backends:
            reason = backend.refuses(call)
            table.add_row(operation.name, backend.name, reason or ("yes, chosen" if backend is chosen else "yes"))
    console.print(table)


def _explain(text: str) -> None:
    from snn_delays.bench.shapes import parse_shape
    from snn_delays.ops.delay import OPERATION, cost

    shape = parse_shape(text)
    call = shape.call()
    chosen = OPERATION.choose(call)
    table = Table("backend", "expected, forward and backward", "", title=str(shape), title_justify="left")
    for candidate in OPERATION.explain(call):
        seconds = "-" if candidate.seconds in (None, math.inf) else f"{candidate.seconds * 1e3:.3g} ms"
        verdict = candidate.refusal or ("chosen" if candidate.backend is chosen else "")
        table.add_row(candidate.backend.name, seconds, verdict)
    console.print(table)
    for line in cost.basis(call):
        console.print(line, highlight=False)


@app.command()
def bench(
    only: Annotated[list[str] | None, typer.Option(help="case by name, * for anything; may be repeated")] = None,
    repeats: Annotated[int, typer.Option(help="timed rounds of every case")] = 7,
    long: Annotated[bool, typer.Option("--long", help="also the cases that take minutes")] = False,
    device: Annotated[list[str] | None, typer.Option(help="cpu, cuda; may be repeated; default: all there are")] = None,
    threads: Annotated[int | None, typer.Option(help="threads that every side may use; default: torch's own")] = None,
    out: Annotated[Path, typer.Option(help="where the numbers go, as JSON")] = RUNS / "bench.json",
    write: Annotated[Path | None, typer.Option(help="document to write the tables into, between its markers")] = None,
    record: Annotated[Path | None, typer.Option("--from", help="show or write this record; measure nothing")] = None,
    calibrate: Annotated[bool, typer.Option("--calibrate", help="fit the planner's cost model, and no more")] = False,
) -> None:
    """Time our layers against the packages they replace, side by side, each checked before it is timed."""
    import torch

    from snn_delays.bench import Benchmark, read_record, report, select
    from snn_delays.errors import ConfigError
    from snn_delays.files import write_between_markers

    if threads is not None:
        if threads < 1:
            raise ConfigError(f"--threads must be at least 1, got {threads}")
        torch.set_num_threads(threads)
    if calibrate:
        from snn_delays.bench.calibrate import calibrate as fit_cost_model

        path = fit_cost_model(lambda line: console.print(line, highlight=False))
        console.print(f"written: {path}")
        return
    if record is not None:
        done = read_record(record)
        for case in done["cases"]:
            report.show(console, case)
    else:
        benchmark = Benchmark(select(only or (), long), repeats, device or ())
        for case in benchmark.run():
            report.show(console, case)
            path = benchmark.save(out)  # after every case: whatever ends the command keeps those that are done
        console.print(f"written: {path} and {out}")
        done = benchmark.record
    for line in report.summary(done):
        console.print(line, highlight=False)
    if write is not None:
        write_between_markers(write, "benchmark", report.markdown(done))
        console.print(f"written: {write}")
    if any(case["failed"] for case in done["cases"]):
        raise typer.Exit(1)
