"""Training as a function: from a recipe to a run."""

from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path

from lightning_fabric.utilities.rank_zero import rank_zero_only
from torch import nn

from snn_delays.files import alone_in
from snn_delays.recipes.files import load_recipe
from snn_delays.recipes.keys import differences
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.training.callbacks import Callback, Callbacks
from snn_delays.training.engine import fit
from snn_delays.training.resuming import resume_run
from snn_delays.training.runlog import Run, create_run, forget_start, open_run


def train(
    recipe: BaseRecipe | Path | str,
    network: nn.Module | None = None,
    *,
    out: Path | str | None = None,
    resume: bool = False,
    changes: Sequence[str] = (),
    accelerator: str = "auto",
    devices: int | str = 1,
    callbacks: Iterable[Callback] = (),
) -> Run:
    """Train a network by a recipe; returns the run, whose folder holds recipe, metrics, environment and checkpoints.

    Args:
        recipe: a recipe, its file, or the name of one that comes with the package.
        network: the network to train, which takes the recipe's data; default: the one that the recipe describes. Its
            checkpoints are loaded with ``snn_delays.load(path, network=...)``.
        out: folder of the run; default: ``runs/NAME``.
        resume: continue the run in ``out`` from its last finished epoch, if there is one.
        changes: keys of a recipe file to change, each as ``"section.key=value"`` in TOML.
        accelerator, devices: where to train, as of :class:`lightning_fabric.Fabric`.
        callbacks: called as training goes, in the first process alone.

    Raises:
        ConfigError: a recipe that is wrong, or other than the one that the run was begun with.
        CheckpointError: ``out`` holds a run and ``resume`` is off, or another process is training there.
        DataError, TrainingError: as :func:`snn_delays.training.engine.fit`.
    """
    loaded = recipe if isinstance(recipe, BaseRecipe) else load_recipe(recipe, tuple(changes))
    folder = Path("runs") / loaded.name if out is None else Path(out)
    follows = bool(getattr(rank_zero_only, "rank", 0))  # the first of several processes makes the folder
    callbacks = tuple(callbacks)
    new = False
    with nullcontext() if follows else alone_in(folder):
        if follows:
            run = Run(folder, loaded)
        elif resume and (folder / "recipe.toml").exists():
            before = open_run(folder).recipe
            run = resume_run(folder, loaded)
            Callbacks(callbacks).on_resume(differences(before, loaded))
        else:
            new = not (folder / "recipe.toml").exists()
            run = create_run(folder, loaded)
        try:
            fit(run, network=network, accelerator=accelerator, devices=devices, callbacks=callbacks)
        except BaseException:
            if new:
                forget_start(run)  # a start that failed leaves no folder
            raise
    return run
