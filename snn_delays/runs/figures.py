"""The pictures of a run, drawn into its folder; data and networks are opened when a picture needs them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from matplotlib.figure import Figure

from snn_delays import plot
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.runs.evaluate import read_evaluation
from snn_delays.runs.load import trained_network
from snn_delays.training.runlog import Run

T = TypeVar("T")


class Source:
    """What a run's pictures are drawn from; ``sample``: number of the validation sample to show."""

    def __init__(self, run: Run, sample: int | None = None) -> None:
        self.run, self.recipe, self.sample = run, run.recipe, sample
        self._found: dict[Callable[..., Any], Any] = {}

    def once(self, function: Callable[["Source"], T]) -> T:
        """What a function makes of this source, computed once for all pictures."""
        if function not in self._found:
            self._found[function] = function(self)
        return self._found[function]

    @cached_property
    def network(self) -> Any:
        """The run's best network, as it was trained."""
        return trained_network(self.run)

    @cached_property
    def initial(self) -> Any:
        """The network before training."""
        return trained_network(self.run, 0)


@dataclass(frozen=True)
class Picture:
    """A picture by its function, which returns None where there is nothing to show; ``without`` says why.

    ``evaluated``: it is of what :func:`snn_delays.runs.evaluate.evaluate` found.
    """

    draw: Callable[[Any], Figure | None]
    without: str = ""
    evaluated: bool = False


def draw(run: Run, what: Sequence[str] = (), sample: int | None = None) -> list[Path]:
    """Draw pictures of a run into its ``figures`` folder.

    Args:
        run: to draw.
        what: names of pictures; none: all that there is something to show of.
        sample: of events, the validation sample in rasters and membranes, by its number there; by default the first
            that is classified correctly.

    Returns:
        The files.

    Raises:
        ConfigError: an unknown name or sample, or a named picture that there is nothing to show of.
        CheckpointError: a named picture is of the evaluation, and the run was not evaluated.
    """
    files: list[Path] = run.task.figures(run, what, sample)
    return files


def draw_pictures(pictures: Mapping[str, Picture], run: Run, what: Sequence[str], sample: int | None) -> list[Path]:
    """:func:`draw`, of the pictures of a task."""
    for name in what:
        if name not in pictures:
            hint = did_you_mean(name, pictures)
            raise ConfigError(f"there is no picture {name!r} of this run; {hint}choose from {', '.join(pictures)}")
    source = Source(run.pinned(), sample)
    there = [name for name, picture in pictures.items() if run.evaluation.exists() or not picture.evaluated]
    figures = {name: pictures[name].draw(source) for name in what or there}
    for name in what:
        if figures[name] is None:
            raise ConfigError(f"{run.folder} has nothing to show in the picture {name!r}: {pictures[name].without}")
    folder = run.figures
    return [plot.save_figure(figure, folder / f"{name}.png") for name, figure in figures.items() if figure is not None]


def curves(source: Source) -> Figure:
    """The learning curves."""
    return plot.learning_curves_figure(source.run.curves())


def evaluated(source: Source, *keys: str) -> dict[str, Any]:
    """What ``evaluate`` found, with the keys that a picture needs."""
    return read_evaluation(source.run, *keys)
