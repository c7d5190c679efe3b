"""Which backend serves a call, and why."""

import math
import warnings
from typing import Annotated

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.output import print_lines, print_table
from snn_delays.errors import ConfigError
from snn_delays.runs.table import Table


@app.command()
def backends(
    explain: Annotated[
        str | None,
        typer.Option(metavar="SHAPE", help="a delay layer's call, such as T=100,B=256,in=256,out=256,K=25,sigma=12"),
    ] = None,
    calibrate: Annotated[
        bool, typer.Option("--calibrate", help="time the backends of the delay layer here, for the planner")
    ] = False,
) -> None:
    """List the implementations of every operation, which would serve here, and why the others would not.

    With --explain, what the planner expects of each of them for a delay layer of that shape, and which one it takes.
    With --calibrate, fit the planner's cost model to this machine and keep it in the cache folder.
    """
    from snn_delays.ops.backends import operations

    if calibrate:
        _calibrate()
        return
    if explain is not None:
        _explain(explain)
        return
    rows = []
    for operation in operations():
        call = operation.example()
        chosen = operation.choose(call)
        for backend in operation.backends:
            reason = backend.refuses(call)
            rows.append((operation.name, backend.name, reason or ("yes, chosen" if backend is chosen else "yes")))
    print_table(Table(("operation", "backend", "serves here"), rows))


@app.command("warm-up")
def warm_up() -> None:
    """Compile the kernels for the CPU ahead, as when a container is built; those on disk are not compiled again."""
    from snn_delays import compiling
    from snn_delays.runs.warm_up import warm_up

    compiled = warm_up(lambda line: print_lines([line]))
    console.print(f"{len(compiled)} kernels compiled, kept in {compiling.kernel_folder()}")


def _calibrate() -> None:
    from snn_delays.ops.delay import calibrate

    path = calibrate.calibrate(lambda line: print_lines([line]))
    console.print(f"written: {path}")


def _explain(text: str) -> None:
    from snn_delays.ops.delay import OPERATION, cost
    from snn_delays.ops.delay.calibrate import parse_shape

    shape = parse_shape(text)
    call = shape.call()
    chosen = OPERATION.choose(call)
    rows = []
    for candidate in OPERATION.explain(call):
        seconds = "-" if candidate.seconds in (None, math.inf) else f"{candidate.seconds * 1e3:.3g} ms"
        verdict = candidate.refusal or ("chosen" if candidate.backend is chosen else "")
        rows.append((candidate.backend.name, seconds, verdict))
    print_table(Table(("backend", "expected, forward and backward", ""), rows, str(shape)))
    print_lines(cost.basis(call))


@app.command(hidden=True, context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def bench(context: typer.Context) -> None:
    """Run the benchmarks, which have moved out of the package: `make bench`, or `python -m experiments.benchmarks`."""
    if context.args == ["--calibrate"]:
        message = "`snn-delays bench --calibrate` is now `snn-delays backends --calibrate`"
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        _calibrate()
        return
    raise ConfigError(
        "the benchmarks are scripts of the repository: in a checkout, run `make bench`, or "
        "`python -m experiments.benchmarks --help`"
    )
