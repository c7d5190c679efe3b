"""A task of the user's own is evaluated, appended to a table and drawn as the built-in ones are."""

from pathlib import Path
from typing import Any, ClassVar

import pytest
from torch import nn

import snn_delays
from snn_delays import plot
from snn_delays.errors import ConfigError
from snn_delays.recipes import registry
from snn_delays.recipes.files import parse_recipe
from snn_delays.runs.evaluate import evaluate, read_evaluation
from snn_delays.runs.figures import draw
from snn_delays.runs.results import append_result, read_results
from snn_delays.training.runlog import Run
from tests.training.test_task import TABLE, Lag, LagRecipe


def curves(run: Run, sample: int | None) -> list[Path]:
    return [plot.save_figure(plot.learning_curves_figure(run.curves()), run.figures / "curves.png")]


class Evaluated(Lag):
    """The task with an evaluation and a picture."""

    pictures: ClassVar[dict[str, Any]] = {"curves": curves}

    def evaluate(self, trained: Any, **_: Any) -> dict[str, Any]:
        x, y = self._batch(7)
        parameters = sum(p.numel() for p in trained.network.parameters())
        return {"test_samples": 8, "parameters": parameters, "test_loss": nn.MSELoss()(trained.network(x)[0], y).item()}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    monkeypatch.setattr(registry, "TASKS", {**registry.TASKS, "lag": (LagRecipe, Evaluated)})
    return snn_delays.train(parse_recipe(TABLE, "own.toml"), out=tmp_path / "run", accelerator="cpu")


def test_it_is_evaluated_appended_and_drawn(run: Run, tmp_path: Path) -> None:
    result = evaluate(run)
    assert (result["run"], result["data"], result["test_samples"]) == ("own", "drawn", 8)
    assert read_evaluation(run) == result
    append_result(tmp_path / "table.csv", result)
    (row,) = read_results(tmp_path / "table.csv")
    assert (row["run"], row["seed"], row["test_samples"]) == ("own", "1", "8")
    (picture,) = draw(run)
    assert picture.stat().st_size > 1000
    with pytest.raises(ConfigError, match="there is no picture 'curve' of this run; did you mean 'curves'"):
        draw(run, ["curve"])
