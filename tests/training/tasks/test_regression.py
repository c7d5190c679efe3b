"""Networks that predict a series: trained, validated, resumed and evaluated like the others."""

from pathlib import Path

import numpy as np
import pytest
import torch

import snn_delays
from snn_delays.discrete import discretize
from snn_delays.errors import ConfigError
from snn_delays.nn import LeakyIntegrator
from snn_delays.recipes.files import load_recipe
from snn_delays.runs.evaluate import evaluate
from snn_delays.runs.figures import draw
from snn_delays.runs.results import append_result, markdown, read_results
from snn_delays.runs.tasks import pages
from snn_delays.training.engine import fit
from snn_delays.training.rounding import with_fractional_delays
from snn_delays.training.runlog import Run, create_run
from snn_delays.training.tasks.regression import measure_errors, predicted, windows_of
from tests.support.tiny_runs import Stopper, interrupt, numbers

TINY = (
    "data.window=30", "data.horizon=5", "data.split=[0.1, 0.1, 0.8]", "model.hidden=[12]", "training.epochs=3",
    "training.sigma_epochs=3", "training.batch_size=64", "model.delay_rounding='anneal'",
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("regression") / "run"
    return snn_delays.train(load_recipe("mackey_glass", TINY), out=folder, accelerator="cpu")


def test_it_learns_and_its_neurons_fire(finished: Run) -> None:
    history = finished.progress()["history"]
    assert history[-1]["train_loss"] < 0.75 * history[0]["train_loss"]
    assert all(0.01 < row["firing_rate"] < 0.9 for row in history)
    assert history[-1]["valid_nmse"] < history[0]["valid_nmse"]
    best = min(history, key=lambda row: row["valid_loss"])
    assert finished.best_epoch() == best["epoch"]


def test_a_run_that_was_stopped_ends_as_one_that_was_not(finished: Run, tmp_path: Path) -> None:
    stopped = create_run(tmp_path / "run", finished.recipe)
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, accelerator="cpu", callbacks=[Stopper(("end", 1), interrupt)])
    assert len(numbers(stopped)) == 1
    fit(stopped, accelerator="cpu")
    assert numbers(stopped) == numbers(finished)


def test_evaluation_lists_fractional_rounded_and_as_trained(finished: Run, tmp_path: Path) -> None:
    result = evaluate(finished)
    network, test = snn_delays.load(finished.folder), windows_of(finished.recipe).test
    forms = {"fractional": with_fractional_delays(network), "real_delays": network}
    for name, form in forms.items():
        assert result[f"test_nmse_{name}"] == pytest.approx(measure_errors(form, test, finished.recipe).nmse, abs=0)
    with torch.no_grad():
        guess = discretize(network)(test.x)[0][-1].double()
    target = test.y.double().numpy()
    assert result["test_nmse"] == pytest.approx(np.mean((guess.numpy() - target) ** 2) / np.var(target), rel=1e-9)
    assert len({result["test_nmse"], result["test_nmse_fractional"], result["test_nmse_real_delays"]}) == 3
    delays = torch.cat([layer.synapse.delay.flatten() for layer in (network.hidden1, network.readout)]).detach()
    assert result["mean_rounding_steps"] == pytest.approx(float((delays - delays.round()).abs().mean()))
    (page,) = pages([finished.recipe], [result])
    assert page.tables[0].heads[-4:] == (
        "test,\nfractional delays", "test,\nrounded", "test,\nas trained", "mean\n|d - round(d)|",
    )  # fmt: skip
    append_result(tmp_path / "results.csv", result)
    (row,) = read_results(tmp_path / "results.csv")
    assert (row["delay_rounding"], row["test_accuracy"]) == ("anneal", "")
    assert f"{result['test_nmse']:.4f}" in markdown([row])
    assert {path.stem for path in draw(finished)} == {"delays", "curves", "rates"}
    with pytest.raises(ConfigError, match="this run predicts a series"):
        evaluate(finished, on="shd-regenerated-subset")


def test_the_readout_is_an_exponential_moving_average(finished: Run) -> None:
    network = snn_delays.load(finished.folder)
    integrator = network.readout.integrator
    assert isinstance(integrator, LeakyIntegrator)
    spikes = (torch.rand(30, 4, 12) < 0.3).float()
    current, _ = network.readout.synapse(spikes)
    a, expected = 1 - 1 / 20, torch.zeros(4, 1)
    for step in current:
        expected = a * expected + (1 - a) * step
    v, _ = network.readout(spikes)
    torch.testing.assert_close(predicted(v, "membrane_last"), expected)
    torch.testing.assert_close(predicted(v, "membrane_sum"), v.sum(0))
    torch.testing.assert_close(predicted(v, "membrane_mean"), v.mean(0))


def test_a_linear_readout_keeps_nothing() -> None:
    recipe = load_recipe("mackey_glass", (*TINY, "model.readout='linear'", "training.readout='membrane_sum'"))
    network = snn_delays.training.tasks.regression.build_network(recipe, (1,), 1)
    spikes = (torch.rand(30, 4, 12) < 0.3).float()
    torch.testing.assert_close(network.readout(spikes)[0], network.readout.synapse(spikes)[0])
