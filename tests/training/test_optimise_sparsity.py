"""Delay sparsity and penalties in runs: keys, schedule, the epochs that count, and runs that are resumed."""

from pathlib import Path
from typing import Any

import pytest
import torch

from snn_delays.errors import ConfigError
from snn_delays.nn import layers_with_delays
from snn_delays.runs.load import trained_network
from snn_delays.runs.perturb import perturbed_delays
from snn_delays.training import checkpoint
from snn_delays.training import engine as loop
from snn_delays.training.runlog import create_run, resume_run
from tests.support import tiny_runs
from tests.support.tiny_runs import Stopper, fitted, interrupt, same, tensors

pytestmark = pytest.mark.usefixtures("made_up_data")
SPARSE = {"delay_sparsity": 0.75, "delay_mask": "learned"}


def recipe(model: dict[str, Any] = SPARSE, **training: Any) -> Any:
    return tiny_runs.tiny_recipe(model=model, training=training)


def test_a_learned_mask_is_trained_by_the_schedule_and_the_best_epoch_is_as_sparse_as_asked_for(tmp_path: Path) -> None:
    run = fitted(tmp_path / "run", recipe(epochs=5, sparsity_epochs=3))
    history = run.progress()["history"]
    assert [row["delay_sparsity"] for row in history] == pytest.approx(
        [0, 0.75 * (1 - (2 / 3) ** 3), 0.75 * (1 - (1 / 3) ** 3), 0.75, 0.75]
    )
    assert run.best_epoch() in (4, 5)
    first, last = (tensors(run, epoch) for epoch in (0, run.best_epoch()))
    name = "hidden1.synapse.mask"
    assert float((first[f"{name}.scores"] - last[f"{name}.scores"]).abs().mean()) > 1e-3
    network = trained_network(run)
    for layer in layers_with_delays(network).values():
        assert int(layer.mask.active.sum()) == round(0.25 * layer.delay.numel())
    assert torch.equal(network.hidden1.synapse.mask.active, last[f"{name}.active"])
    other, _ = perturbed_delays(network, "delay_noise", 0.0, torch.Generator())
    assert torch.equal(other.hidden1.synapse.delay, network.hidden1.synapse.effective_delay())


def test_a_run_that_was_killed_ends_as_one_that_was_not(tmp_path: Path) -> None:
    plan = recipe(epochs=3, sparsity_epochs=2)
    whole = fitted(tmp_path / "whole", plan)
    run = create_run(tmp_path / "run", plan)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Stopper(("end", 2), interrupt)])
    loop.fit(run, accelerator="cpu")
    assert same(tensors(run, 3), tensors(whole, 3))
    with pytest.raises(ConfigError, match=r"of the delays would be inactive after epoch 3.*sparsity_epochs"):
        resume_run(run.folder, recipe(epochs=9, sparsity_epochs=6))


@pytest.mark.parametrize(
    "model", [{"delay_sparsity": 0.5}, {"delays": "fixed", "delay_sparsity": 0.5}, {"sharing": "hybrid"}]
)
def test_fixed_masks_and_hybrid_delays_train(model: dict[str, Any], tmp_path: Path) -> None:
    run = fitted(tmp_path / "run", recipe(model, epochs=2, delay_penalty=0.01 * (model.get("delays") != "fixed")))
    history, name = run.progress()["history"], "hidden1.synapse"
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert "delay_sparsity" not in history[0]
    kept = f"{name}.fixed_delay" if model.get("sharing") == "hybrid" else f"{name}.mask.active"
    first, last = tensors(run, 0), tensors(run, checkpoint.latest_epoch(run.checkpoints))
    assert torch.equal(first[kept], last[kept])


def test_penalties_lower_delays_and_rates(tmp_path: Path) -> None:
    plain, low = (
        fitted(tmp_path / name, recipe({}, epochs=2, **keys))
        for name, keys in (
            ("plain", {}), ("low", {"delay_penalty": 1.0, "spike_penalty": 10.0, "rate_bounds": [0.0, 0.001]}),
        )
    )  # fmt: skip
    delays = [float(trained_network(run).hidden1.synapse.delay.detach().mean()) for run in (plain, low)]
    rates = [run.progress()["history"][-1]["rate_hidden1"] for run in (plain, low)]
    assert delays[1] < delays[0]
    assert rates[1] < rates[0]


@pytest.mark.parametrize(
    ("model", "training", "words"),
    [
        ({"delay_sparsity": 0.5, "delays": "none"}, {}, "delay_sparsity = 0.5 does nothing with model.delays"),
        ({"delay_sparsity": 0.5}, {"sparsity_epochs": 2}, "sparsity_epochs = 2 does nothing with model.delay_mask"),
        ({}, {"rate_bounds": [0.0, 0.5]}, r"rate_bounds = \(0.0, 0.5\) does nothing with training.spike_penalty"),
        ({"delays": "fixed"}, {"delay_penalty": 0.5}, "delay_penalty = 0.5 does nothing with model.delays"),
    ],
)
def test_keys_that_do_nothing_are_refused(
    model: dict[str, Any], training: dict[str, Any], words: str, tmp_path: Path
) -> None:
    from snn_delays.recipes.files import parse_recipe

    table = {**tiny_runs.TABLE, "model": {**tiny_runs.TABLE["model"], **model}}
    table["training"] = {k: v for k, v in table["training"].items() if k != "sigma_epochs"} | training
    with pytest.raises(ConfigError, match=words):
        create_run(tmp_path / "run", parse_recipe(table, "tiny"))


def test_what_cannot_be_is_refused() -> None:
    for model, training, words in (
        ({"delay_mask": "learned"}, {}, "delay_sparsity above 0"),
        ({"delay_sparsity": 1.5}, {}, "below 1"),
        ({}, {"rate_bounds": [0.2, 0.1]}, "rate_bounds"),
    ):
        with pytest.raises(ConfigError, match=words):
            recipe(model, **training)
