"""How recipes differ, and which keys a run may change while it trains."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_delays.errors import ConfigError
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.recipes.unused import acting

if TYPE_CHECKING:
    from snn_delays.training.runlog import Run

RATES = ("training.max_lr_weight", "training.lr", "training.lr_delay")
MAY_CHANGE = (*RATES, "training.epochs", "training.sigma_epochs")
Differences = dict[str, tuple[Any, Any]]


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as one, with dotted keys."""
    found: dict[str, Any] = {}
    for key, value in table.items():
        found.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return found


def differences(old: BaseRecipe, new: BaseRecipe) -> Differences:
    """Keys that act and differ, with both values."""
    before, after = (flat(acting(recipe).model_dump(mode="json")) for recipe in (old, new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {key: (before.get(key), after.get(key)) for key in keys}


def what_differs(runs: Sequence["Run"]) -> list[str]:
    """What distinguishes each run from others of its name, to follow the name: keys of their recipes, or the folder."""
    named = []
    for run in runs:
        alike = [differences(run.recipe, other.recipe) for other in runs if other.recipe.name == run.recipe.name]
        own = {key: value for found in alike for key, (value, _) in found.items()}
        named.append((run.recipe.name, "".join(f", {key} = {value}" for key, value in list(own.items())[:3])))
    return [
        differing if named.count((name, differing)) == 1 else f"{differing} ({run.folder})"
        for (name, differing), run in zip(named, runs)
    ]


def check_changes(changes: Differences, folder: Path) -> None:
    """Raise ConfigError naming the first key that a run in ``folder`` cannot change while it trains."""
    for key, (old, new) in changes.items():
        if key not in MAY_CHANGE:
            raise ConfigError(
                f"{folder} was started with {key} = {old!r}, the recipe now says {new!r}; resume with the same recipe "
                f"(what may change is {', '.join(MAY_CHANGE)}), or choose another folder with --out"
            )
