"""Rounding in training: the recipe's key reaches layers and epochs, and what rounding afterwards costs."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from experiments.studies.planted_delays import BATCH, dense
from snn_delays.data.synthetic import Coincidence
from snn_delays.discrete import discretize
from snn_delays.nn import DelayedLinear, LeakyIntegrator, Sequential, layers_with_delays
from snn_delays.nn.optimise import annealed
from snn_delays.runs.evaluate import evaluate
from snn_delays.runs.load import trained_network
from snn_delays.runs.results import COLUMNS, append_result, read_results
from snn_delays.training.rounding import rounding_facts, with_fractional_delays
from tests.support import tiny_runs

pytestmark = pytest.mark.usefixtures("made_up_data")


@pytest.mark.parametrize("rounding", ["anneal", "epoch", "straight_through", "stochastic", "none"])
def test_every_way_trains_and_its_three_numbers_are_listed(rounding: str, tmp_path: Path) -> None:
    changes = {"epochs": 2, "sigma_epochs": None} if rounding == "none" else {"epochs": 2}
    recipe = tiny_runs.tiny_recipe(model={"delay_rounding": rounding}, training=changes)
    run = tiny_runs.fitted(tmp_path / "run", recipe)
    history = run.progress()["history"]
    assert history[-1]["train_loss"] < history[0]["train_loss"]
    assert (history[0]["sigma"] == history[1]["sigma"] == 0.5) == (rounding == "none")
    network = trained_network(run)
    layers = layers_with_delays(network).values()
    assert {layer.delay_rounding for layer in layers} == {rounding}
    integers = all(torch.equal(layer.delay, layer.delay.round()) for layer in layers)
    assert integers == (rounding == "epoch")
    result = evaluate(run)
    assert result["delay_rounding"] == rounding
    assert (result["mean_rounding_steps"] == 0) == (rounding == "epoch")
    assert {"test_accuracy_fractional", "test_accuracy", "test_accuracy_real_delays"} <= result.keys()
    append_result(tmp_path / "table.csv", result)
    assert read_results(tmp_path / "table.csv")[0]["delay_rounding"] == rounding


def test_old_rows_are_kept_as_they_were(tmp_path: Path) -> None:
    old, columns = tmp_path / "old.csv", COLUMNS[: COLUMNS.index("delay_rounding")]
    row = {**dict.fromkeys(columns, ""), "run": "shd", "seed": "0", "readout": "masked", "test_accuracy": "0.9"}
    old.write_text("\n".join([",".join(columns), ",".join(row.values())]) + "\n")
    (kept,) = read_results(old)
    assert kept == {**dict.fromkeys(COLUMNS, ""), **row}


def found(sigma: tuple[float, float], epochs: int = 24) -> dict[str, float]:
    """Accuracy of the three forms on planted lags, after training with sigma from its first to its second value."""
    task = Coincidence()
    window = task.longest_ms + 4
    steps = task.duration_ms + window
    torch.manual_seed(0)
    synapse = DelayedLinear(task.channels, 4, max_delay_steps=window)
    network = Sequential(synapse=synapse, integrator=LeakyIntegrator(1.005))
    torch.nn.init.ones_(synapse.weight)
    optimiser = torch.optim.Adam([{"params": [synapse.weight], "lr": 0.02}, {"params": [synapse.delay], "lr": 0.3}])
    x, labels = dense(task.split("train", 0, 500), steps)
    for epoch in range(epochs):
        synapse.set_sigma(annealed(*sigma, min(epoch / (0.75 * epochs), 1.0)))
        for chosen in torch.randperm(len(labels)).split(BATCH):
            optimiser.zero_grad()
            F.cross_entropy(network(x[:, chosen])[0].amax(0), labels[chosen]).backward()
            optimiser.step()
            synapse.clamp_delays_()
            with torch.no_grad():
                synapse.weight.clamp_(min=0)
    x, labels = dense(task.split("test", 0), steps)
    forms = {"as trained": network, "fractional": with_fractional_delays(network), "rounded": discretize(network)}
    with torch.no_grad():
        scores = {name: float((form(x)[0].amax(0).argmax(1) == labels).double().mean()) for name, form in forms.items()}
    return scores | {"distance": rounding_facts(network)["mean_rounding_steps"]}


def test_rounding_afterwards_loses_where_taps_were_not_annealed_and_not_where_they_were() -> None:
    wide, annealed_ = found((3.0, 3.0)), found((12.0, 0.4))
    assert wide["as trained"] > 0.8
    assert wide["rounded"] < wide["as trained"] - 0.1
    assert annealed_["as trained"] > 0.9
    assert annealed_["rounded"] > annealed_["as trained"] - 0.02
