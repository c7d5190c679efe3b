"""Commands that measure runs and tabulate what was measured."""

from pathlib import Path
from typing import Annotated, Any

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.output import RESULTS, Network, Write, print_page
from snn_delays.errors import ConfigError
from snn_delays.printable import printable

Append = Annotated[bool, typer.Option("--append", help="add the results to a table")]
Table = Annotated[Path, typer.Option(help="table that --append adds to")]


@app.command()
def evaluate(
    run: Network,
    append: Append = False,
    table: Table = RESULTS,
    on: Annotated[str | None, typer.Option(help="name or path of another data set whose test samples to take")] = None,
    device: Annotated[str, typer.Option(help="device to run on: cpu, cuda ...")] = "cpu",
) -> None:
    """Measure a network on the test data, with real-valued and with integer delays.

    Classifiers: accuracy. Language models: loss, bits per byte, firing rates and operations per token.
    """
    from snn_delays.runs.load import trained
    from snn_delays.runs.results import append_result
    from snn_delays.runs.tasks import pages

    opened = trained(run)
    result = evaluate_run(opened, device, on)
    for page in pages([opened.recipe], [result]):
        print_page(page)
    if append:
        append_result(table, result)
        console.print(f"appended to {table}")


def evaluate_run(run: Any, device: str, on: str | None = None) -> dict[str, Any]:
    """Measure a run on the test data and show the progress; returns the results."""
    from snn_delays.runs.evaluate import evaluate as measure
    from snn_delays.training.progress import ProgressBar

    with ProgressBar(console) as bar:
        return measure(run, on=on, device=device, callback=bar)


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders that were evaluated")],
    append: Append = False,
    table: Table = RESULTS,
) -> None:
    """Print the evaluations of several runs in one table. Opens no data."""
    from snn_delays.recipes.keys import what_differs
    from snn_delays.runs.evaluate import read_evaluation
    from snn_delays.runs.results import append_result
    from snn_delays.runs.tasks import pages
    from snn_delays.training.runlog import open_run

    opened = [open_run(run) for run in runs]
    found = [read_evaluation(run) for run in opened]
    rows = [{**result, "run": result["run"] + differing} for result, differing in zip(found, what_differs(opened))]
    for page in pages([run.recipe for run in opened], rows):
        print_page(page)
    if append:
        for result in found:
            append_result(table, result)
        console.print(f"appended to {table}")


@app.command()
def results(
    table: Annotated[Path, typer.Argument(help="table written by evaluate --append")] = RESULTS,
    only: Annotated[str, typer.Option(help="only data sets whose name begins with this")] = "",
    run: Annotated[str, typer.Option(help="only recipes whose name begins with this")] = "",
    write: Write = None,
    picture: Annotated[Path | None, typer.Option(help="plot bits per byte of every seed: PNG, PDF or SVG file")] = None,
) -> None:
    """Print the table of results as Markdown, mean and standard deviation over seeds, or write it into a document."""
    from snn_delays.runs.results import markdown, read_results

    rows = [row for row in read_results(table) if row["data"].startswith(only) and row["run"].startswith(run)]
    if not rows and (only or run):
        raise ConfigError(f"{table} has no row of a data set that begins with {only!r} and a recipe with {run!r}")
    write_or_print(markdown(rows), write, "results")
    if picture is not None:
        from snn_delays.plot import save_figure, variants_figure
        from snn_delays.runs.results import bits_by_variant

        figure = variants_figure(bits_by_variant(rows), ylabel="bits per byte, test")
        console.print(f"drawn: {save_figure(figure, picture)}")


def write_or_print(markdown: str, document: Path | None, markers: str) -> None:
    """Write a table between the markers of a document, or print it."""
    from snn_delays.files import write_between_markers

    if document is None:
        print(printable(markdown), end="")
    else:
        write_between_markers(document, markers, markdown)
