"""A recurrent recipe from beginning to end: training, being stopped, checkpoints, the discrete network, its figures."""

from pathlib import Path

import pytest
import torch

from snn_delays.nn import Recurrent, layers_with_delays
from snn_delays.runs.figures import draw
from snn_delays.runs.load import discrete_network, trained_network
from snn_delays.training import engine as loop
from snn_delays.training.runlog import create_run, open_run
from tests.support import tiny_runs

MODEL = {"recurrent": True, "min_delay_steps": 1, "hidden": [8]}


class StoppedError(Exception):
    """What ends training in the middle."""


def stop() -> None:
    raise StoppedError


def test_a_recurrent_run_that_was_stopped_ends_as_one_that_was_not(tmp_path: Path) -> None:
    recipe = tiny_runs.tiny_recipe(model=MODEL)
    whole = tiny_runs.fitted(tmp_path / "whole", recipe)
    stopped = create_run(tmp_path / "stopped", recipe)
    with pytest.raises(StoppedError):
        loop.fit(stopped, accelerator="cpu", callbacks=[tiny_runs.Stopper(("step", 3, 1), stop)])
    resumed = open_run(tmp_path / "stopped")
    loop.fit(resumed, accelerator="cpu")
    assert tiny_runs.same(tiny_runs.tensors(resumed), tiny_runs.tensors(whole))
    assert tiny_runs.numbers(resumed) == tiny_runs.numbers(whole)

    before, after = (layers_with_delays(trained_network(whole, epoch))["hidden1.neuron.synapse"] for epoch in (0, 3))
    assert not torch.equal(before.weight, after.weight)
    assert not torch.equal(before.delay, after.delay)
    assert after.delay.min() >= 1
    assert after.delay.max() <= 8
    assert after.sigma == layers_with_delays(trained_network(whole, 3))["hidden1.synapse"].sigma

    neuron = discrete_network(whole).hidden1.neuron
    assert isinstance(neuron, Recurrent)
    assert neuron.synapse.min_delay_steps == 1
    assert torch.equal(neuron.synapse.delay, neuron.synapse.delay.round())
    rates = [row["rate_hidden1"] for row in whole.progress()["history"]]
    assert 0.005 < rates[-1] < 0.6
    assert [path.name for path in draw(whole, ("rasters", "delays"))] == ["rasters.png", "delays.png"]


def test_without_delays_recurrence_is_a_step_late(tmp_path: Path) -> None:
    recipe = tiny_runs.tiny_recipe(model={"recurrent": True, "delays": "none"}, training={"epochs": 1})
    run = tiny_runs.fitted(tmp_path / "run", recipe)
    synapse = discrete_network(run).hidden1.neuron.synapse
    assert (synapse.min_delay_steps, synapse.max_delay_steps, synapse.delay.unique().tolist()) == (1, 1, [1.0])
    assert run.progress()["history"][0]["sigma"] is None


def test_recurrent_delays_of_their_own_are_learned_with_their_widths_and_kept(tmp_path: Path) -> None:
    own = {"max_delay_ms": 80.0, "learn_width": "axon", "dropout": 0.2}
    recipe = tiny_runs.tiny_recipe(model={"delays": "none", "hidden": [8], "recurrent": own}, training={"epochs": 2})
    run = tiny_runs.fitted(tmp_path / "run", recipe)
    before, after = (layers_with_delays(trained_network(run, epoch))["hidden1.neuron.synapse"] for epoch in (0, 2))
    for name in ("weight", "delay", "width"):
        assert not torch.equal(getattr(before, name), getattr(after, name))
    assert float(after.sigma) == pytest.approx(recipe.sigma_at(1))
    neuron = discrete_network(run).hidden1.neuron
    assert torch.equal(neuron.synapse.delay, after.delay.round())
    assert neuron.dropout.p == 0
