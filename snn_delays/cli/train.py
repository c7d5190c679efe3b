"""The command that trains."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from snn_delays.cli.app import app, console
from snn_delays.messages import command

if TYPE_CHECKING:
    from snn_delays.training.runlog import Run


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="recipe file, or name of a bundled recipe")],
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="section.key=value, overrides the recipe; may be repeated")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run from its last finished epoch")] = False,
    out: Annotated[Path | None, typer.Option(help="run folder; default runs/NAME", show_default=False)] = None,
    accelerator: Annotated[str, typer.Option(help="cpu, cuda, mps or auto")] = "auto",
    devices: Annotated[int, typer.Option(help="number of processes or GPUs")] = 1,
) -> None:
    """Train a network from a recipe. The run folder keeps recipe, metrics, environment and checkpoints."""
    run = train_run(recipe, tuple(changes or ()), resume, out, accelerator, devices)
    console.print(f"trained: {run.folder}, best epoch {run.best_epoch()}; next: {command('evaluate', run.folder)}")


def train_run(
    recipe: str, changes: Sequence[str], resume: bool, out: Path | None, accelerator: str, devices: int
) -> "Run":
    """Train by a recipe, in a new run folder or, with ``resume``, in one that may be there; returns the run."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    from snn_delays.training.progress import ProgressBar
    from snn_delays.training.train import train as train_recipe

    with ProgressBar(console) as bar:
        run = train_recipe(
            recipe, out=out, resume=resume, changes=changes, accelerator=accelerator, devices=devices, callbacks=[bar]
        )
    if getattr(rank_zero_only, "rank", 0):  # the first of several processes reports
        raise typer.Exit
    if begin := run.progress().get("fine_tuning"):
        rounded = begin["epoch_0"]["valid_accuracy"]
        console.print(f"before fine-tuning: valid {rounded:.1%}; {begin['run']} itself: {begin['valid_accuracy']:.1%}")
    return run
