"""Commands that train: a recipe; what delays buy on the bundled digits, over several seeds; a small language model."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from snn_delays.cli.app import RUNS, app, console
from snn_delays.cli.output import print_table, progress
from snn_delays.cli.results import evaluate_run, print_evaluations
from snn_delays.messages import command
from snn_delays.runs.results import spread
from snn_delays.runs.table import Table

if TYPE_CHECKING:
    from snn_delays.training.runlog import Run

DEMOS = {"demo_no_delays": "none", "demo_fixed_delays": "fixed", "demo": "learned"}
FORMATS = ("nir", "c99")
Out = Annotated[Path, typer.Option(help="folder of the runs")]


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="recipe file, or name of a bundled recipe")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, overrides the recipe; may be repeated")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run from its last finished epoch")] = False,
    out: Annotated[Path | None, typer.Option(help="run folder; default runs/NAME", show_default=False)] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda, mps or auto")] = "auto",
    devices: Annotated[int, typer.Option(help="number of processes or GPUs, of each node")] = 1,
    num_nodes: Annotated[int, typer.Option(help="number of machines")] = 1,
    strategy: Annotated[str, typer.Option(help="ddp, or fsdp for a network too large for one device")] = "auto",
    logger: Annotated[str, typer.Option(help="logs to write: csv,tensorboard,wandb,mlflow")] = "",
) -> None:
    """Train a network from a recipe. The run folder keeps recipe, metrics, environment and checkpoints."""
    where = {"accelerator": accelerator, "devices": devices, "num_nodes": num_nodes, "strategy": strategy}
    run = train_run(recipe, tuple(changes or ()), resume, out, logger=logger, **where)
    console.print(f"trained: {run.folder}, best epoch {run.best_epoch()}; next: {command('evaluate', run.folder)}")


def train_run(recipe: str, changes: Sequence[str], resume: bool, out: Path | None, **options: Any) -> "Run":
    """Train by a recipe, in a new run folder or, with ``resume``, in one that may be there; returns the run.

    ``options``: others of :func:`snn_delays.train`.
    """
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from snn_delays.training.engine import train as train_recipe

    with progress() as bar:
        run = train_recipe(recipe, out=out, resume=resume, changes=changes, callbacks=[bar], **options)
    if getattr(rank_zero_only, "rank", 0):  # the first of several processes reports
        raise typer.Exit
    if start := run.progress().get("fine_tuning"):
        rounded = start["epoch_0"]["valid_accuracy"]
        console.print(f"before fine-tuning: valid {rounded:.1%}; {start['run']} itself: {start['valid_accuracy']:.1%}")
    return run


@app.command()
def demo(
    out: Out = RUNS,
    seeds: Annotated[int, typer.Option(min=1, help="number of seeds for each kind of delays")] = 3,
) -> None:
    """Train without delays, with fixed and with learned delays on bundled spoken digits; evaluate, draw, export."""
    from snn_delays.cli.export import export_lines
    from snn_delays.runs.export import export
    from snn_delays.runs.figures import draw

    results: dict[str, list[dict[str, Any]]] = {name: [] for name in DEMOS}
    runs = []
    for seed in range(seeds):
        for name in DEMOS:
            folder = out / (f"{name}_seed_{seed}" if seed else name)
            console.rule(f"{name.replace('_', ' ')}, seed {seed}")
            runs.append(train_run(name, (f"seed={seed}",), True, folder, accelerator="cpu"))
            results[name].append(evaluate_run(runs[-1], "cpu"))
    shown = next(run for run in runs if run.folder == out / "demo")
    lines = [f"picture  {path}" for path in draw(shown)]
    for to in FORMATS:
        lines += export_lines(export(shown, to))
    console.rule("what delays buy")
    _print_gain(results)
    for line in [*lines, f"runs     {', '.join(str(run.folder) for run in runs)}"]:
        console.print(line)


@app.command("demo-gpt")
def demo_gpt(out: Out = RUNS) -> None:
    """Train a small SpikeGPT with learned delays on the bundled tiny Shakespeare; evaluate, draw, generate text."""
    from snn_delays.cli.runs import print_text
    from snn_delays.runs.figures import draw

    run = train_run("demo_gpt", (), True, out / "demo_gpt", accelerator="cpu")
    print_evaluations([run.recipe], [evaluate_run(run, "cpu")])
    for path in draw(run):
        console.print(f"picture  {path}")
    console.rule("generated text")
    print_text(run, "ROMEO:", tokens=400)
    console.print(f"continue with: {command('generate', run.folder, '--prompt', 'JULIET:', '--seed', 1)}")


def _print_gain(results: dict[str, list[dict[str, Any]]]) -> None:
    columns = {
        "valid_accuracy": "valid",
        "test_accuracy_real_delays": "test,\nreal delays",
        "test_accuracy": "test,\ninteger delays",
    }
    rows = [
        [
            DEMOS[name], f"{seeds[0]['parameters']:,}",
            *(spread([100 * result[key] for result in seeds], ".1f") for key in columns),
        ]
        for name, seeds in results.items()
    ]  # fmt: skip
    print_table(Table(("delays", "trainable\nparameters", *columns.values()), rows))
    learned, fixed = results["demo"], results["demo_fixed_delays"]
    gains = [f"{100 * (a['test_accuracy'] - b['test_accuracy']):+.1f}" for a, b in zip(learned, fixed)]
    first = learned[0]
    console.print(f"learned against fixed, seed by seed: {', '.join(gains)} points of test accuracy")
    console.print(
        f"percent, mean ± standard deviation over {len(learned)} seeds; data: {first['data']}, "
        f"{first['test_samples']:,} test samples"
        + (", all by speakers that were not trained on" if first["test_accuracy_known_speakers"] is None else "")
        + "; epochs chosen on validation samples held out of the training set"
    )
