"""``--plugin``: a task of the user's own on the command line."""

from collections.abc import Callable
from pathlib import Path

import pytest

from snn_delays.recipes import registry
from snn_delays.training.runlog import open_run

PLUGIN = """
from snn_delays.recipes.registry import register_task
from tests.training.test_task import Lag, LagRecipe

register_task("lag", LagRecipe, Lag)
"""
RECIPE = """
task = "lag"
name = "own"
model = {lag = 3}
training = {epochs = 2, batch_size = 8, lr = 0.05, lr_delay = 0.5}
"""


@pytest.fixture(autouse=True)
def own_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "TASKS", dict(registry.TASKS))


def test_a_plugin_trains_and_resumes(snn: Callable, refused: Callable, tmp_path: Path) -> None:
    plugin, recipe, run = tmp_path / "plugin.py", tmp_path / "own.toml", tmp_path / "run"
    plugin.write_text(PLUGIN)
    recipe.write_text(RECIPE)
    train = ("train", recipe, "--out", run, "--accelerator", "cpu")
    assert "got 'lag'" in refused(*train)  # a recipe alone imports nothing
    snn("--plugin", plugin, *train)
    assert [row["epoch"] for row in open_run(run).progress()["history"]] == [1, 2]
    snn("--plugin", plugin, *train, "--resume", "--set", "training.epochs=3", "--set", "training.sigma_epochs=1")
    assert len(open_run(run).progress()["history"]) == 3


def test_a_plugin_that_is_not_there_is_one_line(refused: Callable) -> None:
    assert "cannot import the plugin 'no_such_module'" in refused("--plugin", "no_such_module", "data", "list")
