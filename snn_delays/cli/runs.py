"""Commands that make a run, and those that look at one."""

from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Column, Table

from snn_delays.cli.app import RUNS, app, console
from snn_delays.errors import ConfigError
from snn_delays.messages import command
from snn_delays.printable import printable

if TYPE_CHECKING:
    from snn_delays.training.runlog import Run

RunFolder = Annotated[Path, typer.Argument(help="run folder, as made by train", show_default=False)]
RESULTS = Path("experiments/results.csv")


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="recipe file, or the name of one that comes with the package")],
    changes: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, may be repeated")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run from its last finished epoch")] = False,
    out: Annotated[Path | None, typer.Option(help="run folder; default runs/NAME", show_default=False)] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda, mps or auto")] = "auto",
    devices: Annotated[int, typer.Option(help="processes or GPUs; start several through torchrun or with this")] = 1,
) -> None:
    """Train a network by a recipe; the run folder keeps recipe, metrics, environment and checkpoints."""
    run = train_run(recipe, tuple(changes or ()), resume, out, accelerator, devices)
    console.print(f"trained: {run.folder}, best epoch {run.best_epoch()}; next: {command('evaluate', run.folder)}")


@app.command()
def evaluate(
    run: RunFolder,
    append: Annotated[bool, typer.Option("--append", help="add the result to a table")] = False,
    table: Annotated[Path, typer.Option(help="the table that --append adds to")] = RESULTS,
    on: Annotated[str | None, typer.Option(help="data set, or its path, whose test samples to take")] = None,
    device: Annotated[str, typer.Option(help="where to run")] = "cpu",
) -> None:
    """Measure a run's best network on the test data, with real-valued and with integer delays.

    A language model's: loss, bits per byte, firing rates, what its matrices are fed with, and operations.
    """
    from snn_delays.runs.results import append_result
    from snn_delays.training.runlog import open_run

    opened = open_run(run)
    if _of_events(opened):
        result = evaluate_run(opened, device, on)
        _print_results([result])
    else:
        from snn_delays.cli.language import print_evaluation
        from snn_delays.runs.evaluate_text import evaluate_language
        from snn_delays.training.progress import ProgressBar

        if on is not None:
            raise ConfigError("--on takes the test samples of another event data set, and this run is of text")
        with ProgressBar(console) as bar:
            result = evaluate_language(opened, device=device, progress=bar.on_evaluate)
        print_evaluation(result)
    if append:
        append_result(table, result)
        console.print(f"appended to {table}")


@app.command()
def compare(
    runs: Annotated[list[Path], typer.Argument(help="run folders that were evaluated")],
    append: Annotated[bool, typer.Option("--append", help="add what evaluate found to a table")] = False,
    table: Annotated[Path, typer.Option(help="the table that --append adds to")] = RESULTS,
) -> None:
    """Print the evaluations of several runs in one table. Opens no data."""
    from snn_delays.cli.language import print_comparison
    from snn_delays.recipes.differences import what_differs
    from snn_delays.runs.evaluate import read_evaluation
    from snn_delays.runs.results import append_result
    from snn_delays.training.runlog import open_run

    opened = [open_run(run) for run in runs]
    found = [read_evaluation(r) for r in opened]
    for of_events, show in ((True, _print_results), (False, print_comparison)):
        rows = [
            {**result, "run": result["run"] + differing}
            for r, result, differing in zip(opened, found, what_differs(opened))
            if _of_events(r) == of_events
        ]
        if rows:
            show(rows)
    if append:
        for result in found:
            append_result(table, result)
        console.print(f"appended to {table}")


@app.command()
def results(
    table: Annotated[Path, typer.Argument(help="the table that evaluate --append writes")] = Path(
        "experiments/results.csv"
    ),
    only: Annotated[str, typer.Option(help="rows of data sets whose name begins so")] = "",
    run: Annotated[str, typer.Option(help="rows of recipes whose name begins so")] = "",
    write: Annotated[Path | None, typer.Option(help="document to write it into, between its markers")] = None,
    picture: Annotated[Path | None, typer.Option(help="PNG, PDF or SVG file for the seeds' bits per byte")] = None,
) -> None:
    """Print the table of results as Markdown, or write it into a document; draw those of language models."""
    from snn_delays.files import write_between_markers
    from snn_delays.runs.results import markdown, read_results

    rows = [row for row in read_results(table) if row["data"].startswith(only) and row["run"].startswith(run)]
    if not rows and (only or run):
        raise ConfigError(f"{table} has no row of a data set that begins with {only!r} and a recipe with {run!r}")
    text = markdown(rows)
    if write is None:
        print(printable(text), end="")
    else:
        write_between_markers(write, "results", text)
    if picture is not None:
        from snn_delays.plot import save_figure, variants_figure
        from snn_delays.runs.results import bits_by_variant

        figure = variants_figure(bits_by_variant(rows), ylabel="bits per byte, test")
        console.print(f"drawn: {save_figure(figure, picture)}")


@app.command()
def plot(
    run: RunFolder,
    what: Annotated[str, typer.Option(help="pictures, separated by commas; all of them by default")] = "",
    sample: Annotated[
        int | None,
        typer.Option(help="validation sample for rasters and membranes; default: the first classified right"),
    ] = None,
) -> None:
    """Draw a run: rasters, membranes, delays, learning curves, confusion matrix.

    A language model's: tokens, rates, shift_delays, positions, curves.
    """
    from snn_delays.runs.figures import draw
    from snn_delays.runs.figures_text import draw_language
    from snn_delays.training.runlog import open_run

    opened = open_run(run)
    names = [name.strip() for name in what.split(",") if name.strip()]
    for path in draw(opened, names, sample) if _of_events(opened) else draw_language(opened, names):
        console.print(f"drawn: {path}")
    if not (names or _of_events(opened) or opened.evaluation.exists()):
        console.print(f"what is of the test data comes after: {command('evaluate', run)}")


@app.command()
def stream(
    run: RunFolder,
    samples: Annotated[int, typer.Option(help="validation samples to stream")] = 10,
    dt_ms: Annotated[float, typer.Option(help="time that a step has, in ms")] = 1.0,
) -> None:
    """Run a run's network step by step; check it, and time it beside the layers in torch."""
    from snn_delays.training.runlog import open_run

    for line in _stream(open_run(run, "events"), samples, dt_ms):
        console.print(line, highlight=False)


def _of_events(run: "Run") -> bool:
    """Whether a run is of a classifier of events; else it is of a language model or of sentences."""
    return bool(run.recipe.task == "events")


def train_run(
    recipe: str, changes: Sequence[str], resume: bool, out: Path | None, accelerator: str, devices: int
) -> "Run":
    """Train by a recipe, in a new run folder or, with ``resume``, in one that may be there; returns the run."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from snn_delays.files import alone_in
    from snn_delays.recipes.differences import differences
    from snn_delays.recipes.files import load_recipe
    from snn_delays.training.engine import fit
    from snn_delays.training.progress import ProgressBar
    from snn_delays.training.resuming import resume_run
    from snn_delays.training.runlog import Run, create_run, forget_start, open_run

    loaded = load_recipe(recipe, tuple(changes))
    folder = out or RUNS / loaded.name
    follows = bool(getattr(rank_zero_only, "rank", 0))  # the first of several processes makes the folder and reports
    fresh = False
    with nullcontext() if follows else alone_in(folder), ProgressBar(console) as bar:
        if follows:
            run = Run(folder, loaded)
        elif resume and (folder / "recipe.toml").exists():
            before = open_run(folder).recipe
            run = resume_run(folder, loaded)
            for key, (old, new) in differences(before, loaded).items():
                console.print(f"{key}: {old} so far, {new} from here on, by the schedule of the new recipe")
        else:
            fresh = not (folder / "recipe.toml").exists()
            run = create_run(folder, loaded)
        try:
            fit(run, accelerator=accelerator, devices=devices, callbacks=[bar])
        except BaseException:
            if fresh:
                forget_start(run)  # a start that failed leaves no folder
            raise
    if follows:
        raise typer.Exit
    if begin := run.progress().get("fine_tuning"):
        rounded = begin["epoch_0"]["valid_accuracy"]
        console.print(f"before fine-tuning: valid {rounded:.1%}; {begin['run']} itself: {begin['valid_accuracy']:.1%}")
    return run


def evaluate_run(run: "Run", device: str, on: str | None = None) -> dict[str, Any]:
    """Measure a run on the test data behind a progress bar; returns what ``evaluate`` wrote."""
    from snn_delays.runs.evaluate import evaluate as measure_run
    from snn_delays.training.progress import ProgressBar

    with ProgressBar(console) as bar:
        return measure_run(run, on=on, device=device, watcher=bar)


def _stream(run: "Run", samples: int, dt_ms: float) -> list[str]:
    import json

    from snn_delays.discrete.streaming.measure import stream_report
    from snn_delays.files import write_text
    from snn_delays.plot import save_figure, streaming_figure
    from snn_delays.runs.evaluate import discrete_network
    from snn_delays.training.runlog import environment
    from snn_delays.training.sources import selection

    if samples < 1:
        raise ConfigError(f"--samples must be at least 1, got {samples}")
    chosen = selection(run.recipe)
    batch = chosen.validation.batch(chosen.valid[:samples], run.recipe.data.tail_steps)
    recordings = [batch.counts[: int(length), i].numpy() for i, length in enumerate(batch.lengths)]
    report = stream_report(discrete_network(run), recordings, dt_ms=dt_ms)
    table = Table("side", "median", "99th percentile", "longest", f"real-time factor, {dt_ms:g} ms")
    for side in report.sides:
        times = (f"{us:.1f} µs" for us in (side.median_us, side.p99_us, side.max_us))
        table.add_row(side.side, *times, f"{side.real_time_factor(dt_ms):.3g}")
    console.print(table)
    title = f"{run.recipe.name}: {report.sides[0].configuration}"
    figure = streaming_figure({s.side: s.step_us for s in report.sides}, report.active, dt_ms=dt_ms, title=title)
    picture = save_figure(figure, run.figures / "streaming.png")
    numbers = run.folder / "streaming.json"
    write_text(numbers, json.dumps({"environment": environment(), **report.as_json()}, indent=1))
    return [*report.lines(), f"drawn: {picture}", f"written: {numbers}"]


def _print_results(results: Sequence[dict[str, Any]]) -> None:
    """A line for each evaluation; the masked readout has a column where it gives other numbers."""
    from snn_delays.runs.results import AS_TRAINED, with_readout

    results = [with_readout(r) for r in results]
    keys = {
        "valid_accuracy": "valid",
        "test_accuracy_real_delays": "test,\nreal delays",
        "test_accuracy": "test,\ninteger delays",
    }
    if any(r["test_accuracy_unseen_speakers"] not in (None, r["test_accuracy"]) for r in results):
        keys["test_accuracy_unseen_speakers"] = "test, unseen\nspeakers"
    if any(r["test_accuracy_masked"] != r["test_accuracy"] for r in results):
        keys["test_accuracy_masked"] = "test, masked\nreadout"
    table = Table(Column("run", overflow="fold"), "trainable\nparameters", *keys.values())
    for r in results:
        shares = ("-" if r[key] is None else f"{r[key]:.1%}" for key in keys)
        table.add_row(r["run"], f"{r['parameters']:,}", *shares)
    console.print(table)
    kinds = {f"{r['data']}, {r['test_samples']:,} test samples" for r in results}
    console.print(f"data: {'; '.join(sorted(kinds))}; epochs chosen on validation samples held out of the training set")
    for r in results:
        if r["readout"] != AS_TRAINED:
            console.print(f"readout of {r['run']}: {r['readout']}")
