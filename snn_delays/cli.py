"""The command line. Errors are one line and an exit code; a traceback is a bug."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.table import Column, Table
from typer.core import TyperGroup

from snn_delays.errors import SnnDelaysError

if TYPE_CHECKING:
    from snn_delays.training.runlog import Run


class _Commands(TyperGroup):
    """Turns the errors a user can meet into one line and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except SnnDelaysError as error:
            _fail(str(error), 2)
        except KeyboardInterrupt:
            _fail("interrupted; finished epochs are saved, continue with --resume", 130)
        except OSError as error:
            _fail(f"{error.filename or 'system'}: {error.strerror or error}", 1)


def _fail(message: str, code: int) -> NoReturn:
    print(f"error: {' '.join(message.split())}", file=sys.stderr)  # torch's own messages have several lines
    raise SystemExit(code)


app = typer.Typer(
    cls=_Commands, help="Spiking neural networks whose synaptic delays are learned.",
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None,
)  # fmt: skip
data_app = typer.Typer(help="Data sets: what there is, where it lies, whether it is whole.", no_args_is_help=True)
app.add_typer(data_app, name="data")
console = Console(soft_wrap=True)

RunFolder = Annotated[Path, typer.Argument(help="run folder, as made by train", show_default=False)]
RUNS = Path("runs")
TRACED_SAMPLES = 3
RESULTS = Path("experiments/results.csv")
DEMO_RECIPES = ("demo_no_delays", "demo_fixed_delays", "demo")


def main() -> None:
    """Entry point of ``snn-delays``."""
    app()


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
    run = _train(recipe, tuple(changes or ()), resume, out, accelerator, devices)
    console.print(f"trained: {run.folder}, best epoch {run.best_epoch()}; next: snn-delays evaluate {run.folder}")


@app.command()
def evaluate(
    run: RunFolder,
    append: Annotated[bool, typer.Option("--append", help="add the result to a table")] = False,
    table: Annotated[Path, typer.Option(help="the table that --append adds to")] = RESULTS,
    device: Annotated[str, typer.Option(help="where to run")] = "cpu",
) -> None:
    """Measure a run's best network on the test data, with real-valued and with whole delays."""
    from snn_delays.training.runlog import open_run

    opened = open_run(run)
    result = _evaluate(opened, device)
    _print_results([result])
    if append:
        from snn_delays.training.results import append_result

        append_result(table, result, opened.recipe.model.hidden)
        console.print(f"appended to {table}")


@app.command()
def compare(runs: Annotated[list[Path], typer.Argument(help="run folders that were evaluated")]) -> None:
    """Print the evaluations of several runs in one table. Opens no data."""
    from snn_delays.training.evaluate import read_evaluation
    from snn_delays.training.runlog import open_run

    _print_results([read_evaluation(open_run(run)) for run in runs])


@app.command()
def results(
    table: Annotated[Path, typer.Argument(help="the table that evaluate --append writes")] = Path(
        "experiments/results.csv"
    ),
    write: Annotated[Path | None, typer.Option(help="document to write it into, between its markers")] = None,
) -> None:
    """Print the table of results as Markdown, or write it into a document."""
    from snn_delays.training.results import markdown, read_results, write_between_markers

    text = markdown(read_results(table))
    if write is None:
        print(text, end="")
    else:
        write_between_markers(write, text)


@app.command()
def plot(
    run: RunFolder,
    what: Annotated[str, typer.Option(help="pictures, separated by commas; all of them by default")] = "",
    sample: Annotated[int, typer.Option(help="validation sample for rasters and membranes")] = 0,
) -> None:
    """Draw a run: rasters, membranes, delays, learning curves, confusion matrix."""
    from snn_delays.training.figures import draw
    from snn_delays.training.runlog import open_run

    for path in draw(open_run(run), [name.strip() for name in what.split(",") if name.strip()], sample):
        console.print(f"drawn: {path}")


@app.command()
def export(
    run: RunFolder,
    to: Annotated[str, typer.Option(help="format: nir")] = "nir",
    out: Annotated[Path | None, typer.Option(help="file; default network.nir in the run folder")] = None,
    weight_bits: Annotated[int | None, typer.Option(help="put the weights on a grid of so many bits")] = None,
) -> None:
    """Write a run's best network, made discrete, for chips and simulators."""
    from snn_delays.training.runlog import open_run

    for line in _export(open_run(run), to, out, weight_bits):
        console.print(line)


@app.command()
def demo(
    out: Annotated[Path, typer.Option(help="folder of the runs")] = RUNS,
) -> None:
    """Train without delays, with fixed and with learned delays on bundled spoken digits; evaluate, draw, export."""
    from snn_delays.training.figures import draw

    results, lines = [], []
    for name in DEMO_RECIPES:
        console.rule(name.replace("_", " "))
        run = _train(name, (), True, out / name, "cpu", 1)
        results.append(_evaluate(run, "cpu"))
    lines += [f"picture  {path}" for path in draw(run)]
    lines += _export(run, "nir", None, None)
    console.rule("what delays buy")
    _print_results(results)
    for line in [*lines, f"runs     {', '.join(str(out / name) for name in DEMO_RECIPES)}"]:
        console.print(line)


@app.command()
def backends() -> None:
    """List the implementations of every operation, which would serve here, and why the others would not."""
    import importlib

    from snn_delays.ops.backends import operations

    table = Table("operation", "backend", "serves here")
    for operation in operations():
        call = importlib.import_module(operation.backends[-1].module.rpartition(".")[0]).example_call()
        chosen = operation.choose(call)
        for backend in operation.backends:
            reason = backend.refuses(call)
            table.add_row(operation.name, backend.name, reason or ("yes, chosen" if backend is chosen else "yes"))
    console.print(table)


@app.command()
def bench(
    repeats: Annotated[int, typer.Option(help="rounds of every case")] = 7,
    out: Annotated[Path, typer.Option(help="where the numbers go, as JSON")] = RUNS / "bench.json",
) -> None:
    """Time our layers against the packages they replace, side by side, each checked before it is timed."""
    import json

    import torch

    from snn_delays.bench import CASES, run_case
    from snn_delays.files import write_text
    from snn_delays.training.runlog import environment

    measured = []
    for make in CASES:
        timings = run_case(make(), repeats)
        measured += timings
        table = Table(
            "side", "median", "spread", "time / ours", "peak memory", title=timings[0].case, title_justify="left"
        )
        for t in timings:
            peak = f"{t.peak_mib:.0f} MiB" if t.peak_mib is not None else "-"
            spread = f"{min(t.seconds) * 1e3:.1f}-{max(t.seconds) * 1e3:.1f}"
            table.add_row(t.side, f"{t.median * 1e3:.1f} ms", spread, f"{t.median / timings[0].median:.2f}", peak)
        console.print(table)
        for t in timings:
            console.print(f"  {t.side}: {t.configuration}", highlight=False)
    console.print(
        f"threads {torch.get_num_threads()}, {repeats} interleaved rounds each; take the ratios, not the times"
    )
    write_text(out, json.dumps({"environment": environment(), "timings": [vars(t) for t in measured]}, indent=1))
    console.print(f"written: {out}")


@data_app.command("list")
def data_list() -> None:
    """List the data sets of the catalogue and whether their files are at hand."""
    from snn_delays.data.catalogue import cards
    from snn_delays.data.convert import hdf5_path

    table = Table("name", "title", "samples", "licence", "at hand")
    for card in cards().values():
        there = card.bundled or all(hdf5_path(card, part).exists() for part in card.splits.values())
        samples = " + ".join(f"{part.samples:,}" for part in card.splits.values())
        table.add_row(card.name, card.title, samples, card.licence, "yes" if there else "no")
    console.print(table)


@data_app.command("verify")
def data_verify(name: Annotated[str, typer.Argument(help="data set, as in `data list`")]) -> None:
    """Take the checksums of a data set's files afresh and compare them with the catalogue's."""
    from snn_delays.data.catalogue import card
    from snn_delays.data.convert import verify

    for split in card(name).splits:
        console.print(f"{verify(name, split)}: {split} is {card(name).display_name}")


@data_app.command("convert")
def data_convert(
    archive: Annotated[Path, typer.Argument(help="a compact archive, such as shd_regen_train.npz.xz")],
    out: Annotated[Path | None, typer.Option(help="HDF5 file; default: where recipes look for it")] = None,
) -> None:
    """Turn a compact archive into the HDF5 file that SHD's readers (Tonic among them) read."""
    from snn_delays.data.convert import convert_archive
    from snn_delays.training.progress import ProgressBar

    with ProgressBar(console) as bar:
        path = convert_archive(archive, out, bar.loading)
    console.print(f"written: {path}")


def _train(
    recipe: str, changes: Sequence[str], resume: bool, out: Path | None, accelerator: str, devices: int
) -> "Run":
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from snn_delays.training.config import load_recipe
    from snn_delays.training.loop import fit
    from snn_delays.training.progress import ProgressBar
    from snn_delays.training.runlog import Run, create_run, resume_run

    loaded = load_recipe(recipe, tuple(changes))
    folder = out or RUNS / loaded.name
    if getattr(rank_zero_only, "rank", 0):
        run = Run(folder, loaded)  # the first of several processes makes the folder
    elif resume and (folder / "recipe.toml").exists():
        run = resume_run(folder, loaded)
    else:
        run = create_run(folder, loaded)
    with ProgressBar(console) as bar:
        fit(run, accelerator=accelerator, devices=devices, watcher=bar)
    if getattr(rank_zero_only, "rank", 0):
        raise typer.Exit  # the first process reports
    return run


def _evaluate(run: "Run", device: str) -> dict[str, Any]:
    from snn_delays.training.evaluate import evaluate as measure_run
    from snn_delays.training.progress import ProgressBar

    with ProgressBar(console) as bar:
        return measure_run(run, device=device, watcher=bar)


def _export(run: "Run", to: str, out: Path | None, weight_bits: int | None) -> list[str]:
    from snn_delays.errors import ConfigError
    from snn_delays.export.discretize import discretize
    from snn_delays.export.nir import write_nir, write_trace
    from snn_delays.training.evaluate import trained_network
    from snn_delays.training.loop import split, training_data

    if to != "nir":
        raise ConfigError(f"unknown format {to!r}; this version writes nir")
    dataset = training_data(run.recipe)
    network = discretize(trained_network(run, dataset), weight_bits=weight_bits)
    path = write_nir(network, out or run.folder / "network.nir", dt_ms=run.recipe.data.dt_ms)
    samples = dataset.batch(split(run.recipe, dataset)[1][:TRACED_SAMPLES], run.recipe.data.tail_steps)
    trace = write_trace(network, samples.counts.to(next(network.parameters()).dtype), path.with_suffix(".trace.npz"))
    return [f"{to:<8} {path}", f"trace    {trace}", *(f"         {line}" for line in str(network.report).splitlines())]


def _print_results(results: Sequence[dict[str, Any]]) -> None:
    table = Table(
        Column("run", overflow="fold"),
        "trained",
        "valid",
        "test,\nreal delays",
        "test,\nwhole delays",
        "of unseen\nspeakers",
    )
    for r in results:
        accuracies = (
            r["valid_accuracy"],
            r["test_accuracy_real_delays"],
            r["test_accuracy"],
            r["test_accuracy_unseen_speakers"],
        )
        table.add_row(r["run"], f"{r['parameters']:,}", *("-" if a is None else f"{a:.1%}" for a in accuracies))
    console.print(table)
    kinds = {f"{r['data']}, {r['test_samples']:,} test samples" for r in results}
    console.print(f"data: {'; '.join(sorted(kinds))}; epochs chosen on validation samples held out of the training set")
