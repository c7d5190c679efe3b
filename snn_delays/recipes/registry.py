"""The one table of tasks: from the ``task`` of a recipe to the class of its recipe and that of its task.

A package adds its own by the entry point group ``snn_delays.tasks``, a script or a ``--plugin`` module by
:func:`register_task`. Reading a recipe imports no code that the recipe names.
"""

import importlib
import pkgutil
import runpy
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean

_TASKS = "snn_delays.runs.tasks"
# Where the class of the recipe is, and that of the task; classes themselves once they are imported.
TASKS: dict[str, tuple[Any, Any]] = {
    "events": ("snn_delays.recipes.events:Recipe", f"{_TASKS}:Events"),
    "language": ("snn_delays.recipes.text:LanguageRecipe", f"{_TASKS}:Language"),
    "regression": ("snn_delays.recipes.regression:RegressionRecipe", f"{_TASKS}:Regression"),
    "sentences": ("snn_delays.recipes.text:SentenceRecipe", f"{_TASKS}:Sentences"),
}
ALIASES = {"classification": "events"}
PLUGINS: list[str] = []
"""What :func:`import_plugin` imported, for processes that are to know the same tasks."""


def register_task(name: str, recipe: type, task: type) -> None:
    """Make ``task = "name"`` in a recipe mean a task of your own.

    Args:
        name: the value of ``task`` in a recipe.
        recipe: a subclass of :class:`snn_delays.recipes.strict.BaseRecipe` whose ``task`` is ``Literal[name]``.
        task: a subclass of :class:`snn_delays.training.task.Task`.

    Raises:
        ConfigError: the name is taken by another task.
    """
    known = TASKS.get(name)
    if (known and known != (recipe, task)) or name in ALIASES:
        raise ConfigError(f"there is a task {name!r} already; register yours under another name")
    TASKS[name] = (recipe, task)


def import_plugin(name: str) -> None:
    """Import a module, or a Python file, that registers tasks. Raises ConfigError if it cannot be imported."""
    try:
        if name.endswith(".py"):
            runpy.run_path(name)
        else:
            importlib.import_module(name)
        PLUGINS.append(str(Path(name).resolve()) if name.endswith(".py") else name)
    except (ImportError, OSError) as error:
        raise ConfigError(f"cannot import the plugin {name!r}: {error}; name a module or a .py file") from error


def recipe_class(name: Any, where: str) -> Any:
    """The class of recipes of a task. Raises ConfigError naming ``where`` for a task that there is not."""
    return _classes(name, where)[0]


def task_of(recipe: Any) -> Any:
    """The :class:`snn_delays.training.task.Task` of a recipe, its data not opened yet."""
    return _classes(recipe.task, f"recipe {recipe.name}")[1](recipe)


def _classes(name: Any, where: str) -> tuple[Any, Any]:
    key = ALIASES.get(name, name) if isinstance(name, str) else ""
    if key not in TASKS:
        _register_installed()
    if key not in TASKS:
        hint = did_you_mean(name, TASKS) if isinstance(name, str) else ""
        raise ConfigError(
            f"{where}: task must be {' or '.join(map(repr, TASKS))}, got {name!r}; {hint}a task of your own is "
            "registered by its package, or by --plugin MODULE"
        )
    recipe, task = (pkgutil.resolve_name(part) if isinstance(part, str) else part for part in TASKS[key])
    return recipe, task


def _register_installed() -> None:
    """Import what installed packages registered; each entry point names a module or a function that registers."""
    for point in entry_points(group="snn_delays.tasks"):
        register = point.load()
        if callable(register):
            register()
