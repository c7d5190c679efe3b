"""Continuing a run: with its recipe, or with more epochs or other learning rates from there on.

The schedules of the new recipe hold from the epoch at which it takes over, as if the run had been started with it: a
cosine or one-cycle over more epochs is at an earlier place in its fall, so that the learning rate may rise again. What
came before stays as it was. A change that would raise sigma again is refused.
"""

from pathlib import Path
from typing import Any

from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.files import alone_in, write_text
from snn_delays.recipes.files import to_toml
from snn_delays.recipes.keys import check_changes, differences
from snn_delays.training.checkpoint import latest_epoch
from snn_delays.training.runlog import Run, open_run


def resume_run(folder: Path, recipe: Any) -> Run:
    """Open a run folder to continue it, its recipe replaced where ``recipe`` has more epochs or other rates.

    Raises ConfigError if anything else differs, or a change would not go on from where the run is, and CheckpointError
    if another process is training there.
    """
    run = open_run(folder)
    changes = differences(run.recipe, recipe)
    check_changes(changes, folder)
    if not changes:
        return run
    old_epochs, new_epochs = run.recipe.training.epochs, recipe.training.epochs
    if new_epochs < old_epochs:
        raise ConfigError(
            f"{folder} is of {old_epochs} epochs, the recipe now says training.epochs = {new_epochs}; a run can be "
            f"lengthened only: resume with --set training.epochs={old_epochs} or more"
        )
    done = latest_epoch(run.checkpoints) or 0
    old_width, new_width = run.recipe.sigma_at(done), recipe.sigma_at(done)
    if old_width != new_width:
        raise ConfigError(
            f"with this recipe, taps would be {new_width:.3g} steps wide after epoch {done}, and they are "
            f"{old_width:.3g}: annealing takes a part of all epochs unless training.sigma_epochs says how many; "
            f"resume with --set training.sigma_epochs={run.recipe.sigma_epochs} to keep its end"
        )
    with alone_in(folder):
        try:
            write_text(folder / "recipe.toml", to_toml(recipe))
        except OSError as error:
            raise CheckpointError(f"cannot write {folder / 'recipe.toml'}: {error.strerror}") from error
    return Run(folder, recipe)
