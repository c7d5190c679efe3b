"""Keys of recipes: those that do nothing beside others, those that differ, and those that a run may change."""

from collections.abc import Iterator, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snn_delays.errors import ConfigError
from snn_delays.recipes.strict import BaseRecipe, Strict

if TYPE_CHECKING:
    from snn_delays.training.runlog import Run

MAY_CHANGE = (
    "training.max_lr_weight", "training.lr", "training.lr_delay", "training.epochs", "training.sigma_epochs",
    "training.sparsity_epochs",
)  # fmt: skip
Differences = dict[str, tuple[Any, Any]]


def refuse_unused(recipe: BaseRecipe) -> None:
    """Raise ConfigError naming every key that is set and does nothing, and the key that makes it so.

    A key counts as set where its value is not its default, so that recipes with every default written out, as run
    folders keep them, pass; runs that exist already go on as they were.
    """
    unused = {}
    for key, causes in _idle(recipe):
        value, default = attrgetter(key)(recipe), _default(recipe, key)
        of = {cause: attrgetter(cause)(recipe) for cause in causes}
        because = " and ".join(f"[{c}]" if isinstance(value, Strict) else f"{c} = {value!r}" for c, value in of.items())
        unused[key] = f"{key} = {value!r} does nothing with {because}; leave it at its default, {default!r}"
    if problems := [*unused.values(), *recipe.contradictions()]:
        raise ConfigError(f"recipe {recipe.name}: " + "; ".join(problems))


def acting(recipe: BaseRecipe) -> BaseRecipe:
    """The recipe with every key that does nothing at its default."""
    for key, _ in _idle(recipe):
        section, _, name = key.partition(".")
        part = getattr(recipe, section).model_copy(update={name: _default(recipe, key)})
        recipe = recipe.model_copy(update={section: part})
    return recipe


def without_overruled(table: dict[str, Any], recipe: BaseRecipe, levels: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The table of a recipe without keys that a level above the one that set them makes idle.

    So a control with ``delays = "none"`` need not unset every key about delays of its base. ``levels``: what the recipe
    was put together from, the lowest base first.
    """

    def level(key: str) -> int:
        section, _, name = key.partition(".")
        name = name.partition(".")[0]
        named = (i for i, part in enumerate(levels) if section in part and (not name or name in part[section]))
        return max(named, default=-1)

    kept = {section: dict(part) if isinstance(part, dict) else part for section, part in table.items()}
    for key, causes in _idle(recipe):
        section, _, name = key.partition(".")
        if level(key) < max(map(level, causes)):
            kept[section].pop(name, None)
    return kept


def _idle(recipe: BaseRecipe) -> Iterator[tuple[str, list[str]]]:
    """Keys that are set and do nothing, and those that make them so."""
    for keys, causes in recipe.idle():
        for key in keys.split():
            if attrgetter(key)(recipe) != _default(recipe, key):
                yield key, causes.split()


def _default(recipe: BaseRecipe, key: str) -> Any:
    section, _, name = key.partition(".")
    return type(getattr(recipe, section)).model_fields[name].default


def flat(table: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested table as one, with dotted keys."""
    values: dict[str, Any] = {}
    for key, value in table.items():
        values.update(flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value})
    return values


def differences(old: BaseRecipe, new: BaseRecipe) -> Differences:
    """Keys that act and differ, with both values."""
    before, after = (flat(acting(recipe).model_dump(mode="json")) for recipe in (old, new))
    keys = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    return {key: (before.get(key), after.get(key)) for key in keys}


def what_differs(runs: Sequence["Run"]) -> list[str]:
    """What distinguishes each run from others of its name, to follow the name: keys of their recipes, or the folder."""
    labels = []
    for run in runs:
        alike = [differences(run.recipe, other.recipe) for other in runs if other.recipe.name == run.recipe.name]
        values = {key: value for changes in alike for key, (value, _) in changes.items()}
        labels.append((run.recipe.name, "".join(f", {key} = {value}" for key, value in list(values.items())[:3])))
    return [label[1] if labels.count(label) == 1 else f"{label[1]} ({run.folder})" for label, run in zip(labels, runs)]


def check_changes(changes: Differences, folder: Path) -> None:
    """Raise ConfigError naming the first key that a run in ``folder`` cannot change during training."""
    for key, (old, new) in changes.items():
        if key not in MAY_CHANGE:
            raise ConfigError(
                f"{folder} was started with {key} = {old!r}, the recipe now says {new!r}; resume with the same recipe "
                f"(what may change is {', '.join(MAY_CHANGE)}), or choose another folder with --out"
            )
