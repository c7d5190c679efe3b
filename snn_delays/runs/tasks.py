"""The tasks of the package with all that is done to their runs: trained, evaluated, shown and drawn.

:data:`snn_delays.recipes.registry.TASKS` names these classes; a task of your own derives from
:class:`snn_delays.training.task.Task` and may define the same.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from snn_delays.recipes.registry import task_of
from snn_delays.runs import events, language
from snn_delays.runs.load import Trained
from snn_delays.runs.table import Page, Table
from snn_delays.training.callbacks import Callback
from snn_delays.training.records import EventEvaluationRecord
from snn_delays.training.runlog import Run
from snn_delays.training.tasks.events import EventsTraining
from snn_delays.training.tasks.language import LanguageTraining
from snn_delays.training.tasks.sentences import SentencesTraining


class Events(EventsTraining):
    """Events to classes."""

    evaluation_record = EventEvaluationRecord
    page = staticmethod(events.page)

    def evaluate(self, trained: Trained, *, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
        """Accuracy on test samples and what belongs to it."""
        return events.evaluate(trained, on, device, callback)

    def figures(self, run: Run, names: Sequence[str] = (), sample: int | None = None) -> list[Path]:
        """Rasters, membranes, delays, learning curves, confusion matrix."""
        from snn_delays.runs.events_figures import PICTURES
        from snn_delays.runs.figures import draw_pictures

        return draw_pictures(PICTURES, run, names, sample)


class Language(LanguageTraining):
    """The next token of a text."""

    page = staticmethod(language.page)

    def evaluate(self, trained: Trained, *, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
        """Bits per byte of the test text and what belongs to it."""
        return language.evaluate_text(trained, on, device, callback)

    def figures(self, run: Run, names: Sequence[str] = (), sample: int | None = None) -> list[Path]:
        """Tokens, rates, delays of the shifts, positions, learning curves."""
        from snn_delays.runs.figures import draw_pictures
        from snn_delays.runs.language_figures import PICTURES

        return draw_pictures(PICTURES, run, names, sample)


class Sentences(SentencesTraining):
    """The class of a sentence."""

    page = staticmethod(language.page)

    def evaluate(self, trained: Trained, *, on: str | None, device: str, callback: Callback | None) -> dict[str, Any]:
        """Accuracy on test sentences and what belongs to it."""
        return language.evaluate_sentences(trained, on, device, callback)

    def figures(self, run: Run, names: Sequence[str] = (), sample: int | None = None) -> list[Path]:
        """Learning curves and rates."""
        from snn_delays.runs.figures import draw_pictures
        from snn_delays.runs.language_figures import OF_SENTENCES

        return draw_pictures(OF_SENTENCES, run, names, sample)


def pages(recipes: Sequence[Any], results: Sequence[dict[str, Any]]) -> list[Page]:
    """The evaluations of several recipes, on a page with those that are shown alike."""
    alike: dict[Callable[..., Page], list[dict[str, Any]]] = {}
    for recipe, result in zip(recipes, results):
        alike.setdefault(getattr(task_of(recipe), "page", _plain), []).append(result)
    return [page(found) for page, found in alike.items()]


def _plain(results: Sequence[dict[str, Any]]) -> Page:
    """The numbers and names of evaluations of a task that does not say how it is shown."""
    shown = [
        Table((), [(key, str(value)) for key, value in result.items() if isinstance(value, (int, float, str))])
        for result in results
    ]
    return Page(shown)
