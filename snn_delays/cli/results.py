"""Commands that measure runs and tabulate what was measured."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from snn_delays.cli.app import app, console
from snn_delays.cli.output import Device, Network, Write, print_table, progress, write_or_print
from snn_delays.errors import ConfigError

RESULTS = Path("experiments/results.csv")
Append = Annotated[bool, typer.Option("--append", help="add the results to a table")]
Table = Annotated[Path, typer.Option(help="table that --append adds to")]


@app.command()
def evaluate(
    run: Network,
    append: Append = False,
    table: Table = RESULTS,
    on: Annotated[str | None, typer.Option(help="name or path of another data set whose test samples to take")] = None,
    device: Device = "cpu",
) -> None:
    """Measure a network on the test data, with real-valued and with integer delays.

    Classifiers: accuracy. Language models: loss, bits per byte, firing rates and operations per token.
    """
    from snn_delays.runs.load import trained

    opened = trained(run)
    result = evaluate_run(opened, device, on)
    print_evaluations([opened.recipe], [result])
    if append:
        _append([result], table)


def evaluate_run(run: Any, device: str, on: str | None = None) -> dict[str, Any]:
    """Measure a run on the test data and show the progress; returns the results."""
    from snn_delays.runs.evaluate import evaluate as measure

    with progress() as bar:
        return measure(run, on=on, device=device, callback=bar)


def print_evaluations(recipes: Sequence[Any], results: Sequence[dict[str, Any]]) -> None:
    """Print evaluations as their tasks show them."""
    from snn_delays.runs.tasks import pages

    for page in pages(recipes, results):
        for table in page.tables:
            print_table(table)
        for line in page.lines:
            console.print(line)


@app.command("zoo")
def list_zoo() -> None:
    """List the trained networks that come with the package; zoo:NAME stands for one wherever a network is taken."""
    from snn_delays.runs.table import Table as Rows
    from snn_delays.runs.zoo import PREFIX, zoo

    cards = zoo()
    heads = ("name", "what", "test, integer delays", "data")
    rows = [(PREFIX + name, card.description, card.result, card.data) for name, card in cards.items()]
    print_table(Rows(heads, rows), fold=1, no_wrap=(0,))
    for licence in dict.fromkeys(card.licence for card in cards.values()):
        console.print(", ".join(name for name, card in cards.items() if card.licence == licence) + f": {licence}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders that were evaluated")],
    append: Append = False,
    table: Table = RESULTS,
) -> None:
    """Print the evaluations of several runs in one table. Opens no data."""
    from snn_delays.recipes.keys import what_differs
    from snn_delays.runs.evaluate import read_evaluation
    from snn_delays.training.runlog import open_run

    opened = [open_run(run) for run in runs]
    results = [read_evaluation(run) for run in opened]
    rows = [{**result, "run": result["run"] + differing} for result, differing in zip(results, what_differs(opened))]
    print_evaluations([run.recipe for run in opened], rows)
    if append:
        _append(results, table)


def _append(results: list[dict[str, Any]], table: Path) -> None:
    from snn_delays.runs.results import append_result

    for result in results:
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
