"""Commands about many runs: studies, their reports, and rows of the table of results that are trained again."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snn_delays.cli.app import RUNS, app, console
from snn_delays.cli.output import Network, Scheduler, Write, print_lines, print_table, progress, write_or_print
from snn_delays.cli.results import RESULTS, evaluate_run
from snn_delays.cli.train import train_run
from snn_delays.errors import ConfigError
from snn_delays.messages import command

if TYPE_CHECKING:
    from snn_delays.recipes.study import Job
    from snn_delays.runs.study import Folder


@app.command()
def study(
    study: Annotated[Path, typer.Argument(help="TOML file: a grid, seeds or a search; see docs/studies.md")],
    out: Annotated[Path | None, typer.Option(help="folder; default: runs/NAME", show_default=False)] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="runs at once; default: one per core, on a cluster one per thread")
    ] = None,
    scheduler: Scheduler = None,
) -> None:
    """Train many runs of a recipe, here or on a Dask cluster; those that are finished are not repeated.

    A run whose process or worker was lost goes on from its last checkpoint. Failed ones are named at the end, with the
    exit code 1, and do not stop the rest. Started again, a study goes on where it was.
    """
    from snn_delays.recipes.study import read_study
    from snn_delays.runs.study import Folder, Grid, run_study

    config = read_study(study)
    folder = Folder(out or RUNS / config.name, config)
    source: Any
    if config.search is None:
        source, total = Grid(folder), len(config.labels()) * len(config.seeds)
    else:
        from snn_delays.runs.search import Trials

        source, total = Trials(folder, config.search), config.search.trials
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    here = cores if scheduler is None else 0
    with _View(folder, total, source.finished) as view:
        failed = run_study(folder, source, view, workers=workers or here, scheduler=scheduler)
    print_lines(f"failed: {name}: {reason}; see {folder.path / 'logs' / name}.txt" for name, reason in failed.items())
    console.print(f"{view.finished} of {total} runs are finished; next: {command('report', folder.path)}")
    if view.finished < total:
        raise typer.Exit(1)


@app.command()
def report(
    study: Annotated[Path, typer.Argument(help="folder of a study, or its TOML file")],
    measure: Annotated[
        str, typer.Option(help="number to compare, of the best epoch or the evaluation; default: the study's")
    ] = "",
    control: Annotated[str, typer.Option(help="variant to test the others against; default: the study's")] = "",
    write: Write = None,
) -> None:
    """Print what a study reached, over seeds and against a control; draw its curves. Opens no data.

    Mean, standard deviation, 95 % interval and a paired t-test, as tables in the folder report of the study, with a
    table of all runs and learning curves with bands, or what a search found.
    """
    from snn_delays.recipes.study import parse_study
    from snn_delays.runs.report import report as report_of
    from snn_delays.runs.study import Folder, open_folder

    opened = open_folder(study, RUNS)
    asked = {key: value for key, value in (("measure", measure), ("control", control)) if value}
    config = parse_study({**opened.study.model_dump(exclude_none=True), **asked}, str(study))
    made = report_of(Folder(opened.path, config))
    if write is not None:
        write_or_print(made.table().markdown(), write, f"study {config.name}")
    page = made.page()
    for table in page.tables:
        print_table(table)
    print_lines([*page.lines, *(f"written: {path}" for path in made.write())])


@app.command()
def reproduce(
    row: Annotated[str, typer.Argument(help="RECIPE, RECIPE:SEED or the number of a row, from 1")],
    table: Annotated[Path, typer.Option(help="table of results")] = RESULTS,
    recipe: Annotated[
        str | None, typer.Option(help="recipe; default: the one of the row's name", show_default=False)
    ] = None,
    changes: Annotated[list[str] | None, typer.Option("--set", help="section.key=value, as of train")] = None,
    on: Annotated[str | None, typer.Option(help="evaluate on another data set, as of evaluate")] = None,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="largest difference of a test number; default: stated with the result")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="run folder; default: runs/reproduce/NAME_seed_SEED")] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda, mps or auto")] = "auto",
) -> None:
    """Train a row of the table of results again, evaluate it, and say whether it agrees; if not, the exit code is 1.

    Started again, it goes on where it was stopped.
    """
    from snn_delays.files import write_text
    from snn_delays.recipes.files import to_toml
    from snn_delays.runs.reproduce import TOLERANCE, as_table, compare, find_row, recipe_of

    found = find_row(table, row)
    again = recipe_of(found, recipe, tuple(changes or ()))
    folder = out or RUNS / "reproduce" / f"{again.name}_seed_{again.seed}"
    written = folder.with_name(f"{folder.name}.toml")
    write_text(written, to_toml(again))
    result = evaluate_run(train_run(str(written), (), True, folder, accelerator=accelerator), "cpu", on)
    compared = compare(found, result, tolerance)
    print_table(as_table(compared), no_wrap=(0,))
    print_lines([] if tolerance is not None else [TOLERANCE])
    differing = [each.key for each in compared if not each.agrees]
    console.print(f"{folder} {'does not agree: ' + ', '.join(differing) if differing else 'agrees with the row'}")
    if differing:
        raise typer.Exit(1)


@app.command()
def perturb(
    run: Network,
    jitter: Annotated[str, typer.Option(help="of every input spike: deviations in ms, separated by commas")] = "",
    delete: Annotated[str, typer.Option(help="shares of input spikes deleted, separated by commas")] = "",
    delay_noise: Annotated[str, typer.Option(help="on every delay: deviations in steps, separated by commas")] = "",
    permute_delays: Annotated[
        bool, typer.Option("--permute-delays", help="give each synapse the delay of another one of its layer")
    ] = False,
    seeds: Annotated[int, typer.Option(min=1, help="draws of every perturbation")] = 3,
    split: Annotated[str, typer.Option(help="samples to measure on: validation or test")] = "validation",
    out: Annotated[
        Path | None, typer.Option(help="folder of table and picture; default: perturb in the run's", show_default=False)
    ] = None,
) -> None:
    """Measure what jittered or deleted spikes, noisy or permuted delays cost; without an option, some of each.

    Writes a table of all seeds and a picture.
    """
    from snn_delays.runs.load import trained
    from snn_delays.runs.perturb import perturb as measure

    requested = {"jitter": jitter, "delete": delete, "delay_noise": delay_noise}
    amounts = {kind: _numbers(kind, text) for kind, text in requested.items() if text}
    if permute_delays:
        amounts["permute_delays"] = [1.0]
    opened = trained(run, "events")
    if out is None and opened.run is None:
        raise ConfigError(f"{run} is no run folder; say with --out where table and picture go")
    with progress() as bar:
        found = measure(opened, amounts or None, seeds=seeds, split=split, callback=bar)
    print_table(found.table(), no_wrap=(0,))
    print_lines(f"written: {path}" for path in found.write(out or opened.run.own("perturb")))  # type: ignore[union-attr]


def _numbers(kind: str, text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise ConfigError(f"--{kind.replace('_', '-')} takes numbers separated by commas, got {text!r}") from None


class _View:
    """All runs of a study at one glance: a bar for the study, one for each that is under way, a line for each end."""

    def __init__(self, folder: "Folder", total: int, finished: int) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        self._bar = Progress(*columns, console=console, transient=True)
        self._folder, self._bars, self.finished = folder, dict[str, TaskID](), finished
        self._all = self._bar.add_task(f"{folder.study.name}, runs", total=total, completed=finished)
        if finished:
            console.print(f"{finished} of {total} runs are finished already")

    def __enter__(self) -> "_View":
        if console.is_terminal:
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar.live.is_started:
            self._bar.stop()

    def running(self, jobs: "Sequence[Job]") -> None:
        for job in jobs:
            if job.name not in self._bars:
                self._bars[job.name] = self._bar.add_task(f"  {job.name}, epochs", total=job.recipe.training.epochs)
            self._bar.update(self._bars[job.name], completed=self._folder.epochs(job))

    def ended(self, job: "Job", reason: str) -> None:
        self.finished += not reason
        self._bar.remove_task(self._bars.pop(job.name))
        self._bar.update(self._all, completed=self.finished)
        console.print(f"{job.name}: {reason or self._folder.summary(job)}", highlight=False)
