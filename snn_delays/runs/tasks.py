"""The tasks of the package with all that is done to their runs: trained, evaluated, shown and drawn.

:data:`snn_delays.recipes.registry.TASKS` names these classes; a task of your own derives from
:class:`snn_delays.training.task.Task` and may define the same.
"""

from collections.abc import Callable, Sequence
from typing import Any

from snn_delays.recipes.registry import task_of
from snn_delays.runs.events import Events
from snn_delays.runs.language import Language, Sentences
from snn_delays.runs.regression import Regression
from snn_delays.runs.table import Page, Table

__all__ = ["Events", "Language", "Regression", "Sentences", "pages"]


def pages(recipes: Sequence[Any], results: Sequence[dict[str, Any]]) -> list[Page]:
    """The evaluations of several recipes, on a page with those that are shown alike."""
    alike: dict[Callable[..., Page], list[dict[str, Any]]] = {}
    for recipe, result in zip(recipes, results):
        alike.setdefault(getattr(task_of(recipe), "page", _plain), []).append(result)
    return [page(of_one_kind) for page, of_one_kind in alike.items()]


def _plain(results: Sequence[dict[str, Any]]) -> Page:
    """The numbers and names of evaluations of a task that does not say how it is shown."""
    rows = ([(key, str(value)) for key, value in r.items() if isinstance(value, (int, float, str))] for r in results)
    return Page([Table((), each) for each in rows])
