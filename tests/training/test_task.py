"""A task of the user's own is trained, resumed and loaded by the code that serves the built-in ones."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from torch import Tensor, nn

import snn_delays
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.nn import DelayedLinear, LeakyIntegrator, Sequential, SpikingModule
from snn_delays.recipes import registry
from snn_delays.recipes.files import parse_recipe
from snn_delays.recipes.strict import BaseRecipe, Strict
from snn_delays.recipes.training import AdamConfig
from snn_delays.training.engine import fit
from snn_delays.training.optimise import StepOutput
from snn_delays.training.runlog import Run, open_run, resume_run
from snn_delays.training.task import Task, seed_of
from snn_delays.training.tasks import events as classification
from tests.support import tiny_runs

TABLE: dict[str, Any] = {
    "task": "lag", "name": "own", "seed": 1, "model": {"lag": 3},
    "training": {"epochs": 3, "batch_size": 8, "lr": 5e-2, "lr_delay": 0.5, "sigma_epochs": 2},
}  # fmt: skip


class LagConfig(Strict):
    lag: int


class LagRecipe(BaseRecipe):
    """Repeat the input some steps later."""

    task: Literal["lag"] = "lag"
    model: LagConfig
    training: AdamConfig


class Lag(Task):
    """A delay is to be found; the data are drawn."""

    steps = 4

    def setup(self, run: Run, fabric: Any, callback: Any) -> None:
        self.fabric, self.source, self.checksum = fabric, "drawn", "none"

    def card(self) -> dict[str, Any]:
        return {"sensor": (1,), "class_names": ("later",)}

    def network(self, card: Any) -> Sequential:
        return Sequential(synapse=DelayedLinear(1, 1, max_delay_steps=6), readout=LeakyIntegrator(2.0))

    def _batch(self, seed: int) -> tuple[Tensor, Tensor]:
        x = (torch.rand(20, 8, 1, generator=torch.Generator().manual_seed(seed)) < 0.2).float()
        return x, torch.cat([torch.zeros(self.recipe.model.lag, 8, 1), x])[:20]

    def batches(self, epoch: int) -> Iterable[list[tuple[Tensor, Tensor]]]:
        for step in range(self.steps):
            yield [self._batch(seed_of(self.recipe.seed, epoch, step))]

    def training_step(self, module: nn.Module, part: tuple[Tensor, Tensor]) -> StepOutput:
        return StepOutput(nn.functional.mse_loss(module(part[0])[0], part[1]))

    def validate(self, network: nn.Module, device: torch.device) -> dict[str, Any]:
        with torch.no_grad():
            x, y = self._batch(99)
            return {"valid_loss": float(nn.functional.mse_loss(network(x)[0], y))}


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "TASKS", dict(registry.TASKS))
    registry.register_task("lag", LagRecipe, Lag)


def test_it_trains_and_resumes_with_the_same_numbers(tmp_path: Path) -> None:
    recipe = parse_recipe(TABLE, "own.toml")
    whole = snn_delays.train(recipe, out=tmp_path / "whole", accelerator="cpu")
    losses = [row["valid_loss"] for row in whole.progress()["history"]]
    assert losses[-1] < losses[0]
    stop = tiny_runs.Stopper(("end", 1), tiny_runs.interrupt)
    with pytest.raises(KeyboardInterrupt):
        snn_delays.train(recipe, out=tmp_path / "cut", accelerator="cpu", callbacks=[stop])
    cut = snn_delays.train(recipe, out=tmp_path / "cut", accelerator="cpu", resume=True)
    assert tiny_runs.numbers(cut) == tiny_runs.numbers(whole)
    assert open_run(tmp_path / "cut").recipe == recipe


def test_its_network_loads_from_the_file_alone(tmp_path: Path) -> None:
    run = snn_delays.train(parse_recipe(TABLE, "own.toml"), out=tmp_path / "run", accelerator="cpu")
    network = snn_delays.load(run.folder)
    assert isinstance(network.synapse, DelayedLinear)
    assert network.card.class_names == ("later",)


def test_a_network_of_ones_own_is_trained_by_a_recipe_and_loads_only_into_its_like(tmp_path: Path) -> None:
    recipe = tiny_runs.tiny_recipe(training={"epochs": 1})
    torch.manual_seed(0)

    def build() -> Sequential:
        return Sequential(hidden=DelayedLinear(12, 4, max_delay_steps=5), readout=LeakyIntegrator(3.0))

    run = snn_delays.train(recipe, build(), out=tmp_path / "run", accelerator="cpu")
    with pytest.raises(CheckpointError, match=r"holds a Sequential, a network of your own .*load\(path, network="):
        snn_delays.load(run.folder)
    network = build()
    before = network.hidden.weight.clone()
    loaded = snn_delays.load(run.folder, network=network)
    assert loaded is network
    assert not torch.equal(loaded.hidden.weight, before)
    assert loaded.card.network_class == "Sequential"
    with pytest.raises(CheckpointError, match="trains Sequential; resume with that network"):
        fit(resume_run(run.folder, tiny_runs.tiny_recipe(training={"epochs": 2})), accelerator="cpu")


class Residual(SpikingModule):
    """A network that is no chain."""

    def __init__(self) -> None:
        super().__init__()
        self.synapse, self.direct = DelayedLinear(12, 4, max_delay_steps=5), DelayedLinear(12, 4, max_delay_steps=0)
        self.readout = LeakyIntegrator(3.0)

    def forward(self, x: Tensor, state: Any = None, valid: Tensor | None = None) -> tuple[Tensor, Any]:
        return self.readout(self.synapse(x)[0] + self.direct(x)[0])


def test_a_network_that_is_no_chain_is_validated_with_rounded_delays(tmp_path: Path) -> None:
    network = Residual()
    rounded = classification.with_integer_delays(network)
    assert torch.equal(rounded.synapse.delay, network.synapse.delay.round())
    assert not torch.equal(rounded.synapse.delay, network.synapse.delay)  # the one trained stays as it is
    run = snn_delays.train(
        tiny_runs.tiny_recipe(training={"epochs": 2}), network, out=tmp_path / "run", accelerator="cpu"
    )
    assert [row["valid_accuracy"] for row in run.progress()["history"]]
    assert snn_delays.load(run.folder, network=Residual()).card.network_class == "Residual"


def test_a_name_that_is_taken_is_refused() -> None:
    for name in ("events", "classification"):
        with pytest.raises(ConfigError, match=f"there is a task '{name}' already"):
            registry.register_task(name, LagRecipe, Lag)


def test_a_package_registers_its_task_by_an_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    class Point:
        def load(self) -> Any:
            return lambda: registry.register_task("lag", LagRecipe, Lag)

    monkeypatch.delitem(registry.TASKS, "lag")
    monkeypatch.setattr(registry, "entry_points", lambda group: [Point()] if group == "snn_delays.tasks" else [])
    assert type(parse_recipe(TABLE, "own.toml")) is LagRecipe


def test_a_recipe_alone_runs_no_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(registry.TASKS, "lag")
    with pytest.raises(ConfigError, match=r"task must be .* got 'lag'; .*--plugin MODULE"):
        parse_recipe(TABLE, "own.toml")


def test_a_plugin_is_a_file_or_a_module(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(
        "from snn_delays.recipes.registry import register_task\n"
        "from tests.training.test_task import Lag, LagRecipe\n"
        'register_task("delayed", LagRecipe, Lag)\n'
    )
    registry.import_plugin(str(path))
    assert registry.TASKS["delayed"] == (LagRecipe, Lag)
    with pytest.raises(ConfigError, match="cannot import the plugin 'no_such_module'"):
        registry.import_plugin("no_such_module")
