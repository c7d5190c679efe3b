"""Fine-tuning: what is trained on the grid is what is evaluated and exported, from its first epoch to its last."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from snn_delays.discrete import discretize
from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.nn import Dropout, Recurrent, layers_of, layers_with_delays
from snn_delays.nn.quantize import grid_of
from snn_delays.reading import parse_toml
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.files import load_recipe, parse_recipe, to_toml
from snn_delays.runs.evaluate import evaluate
from snn_delays.runs.load import discrete_network, trained_network
from snn_delays.training import checkpoint, sources
from snn_delays.training import engine as loop
from snn_delays.training.fine_tuning import fixed_keys, network_to_train, quantize_network
from snn_delays.training.measure import measure
from snn_delays.training.runlog import Run, create_run, open_run, resume_run
from tests.support import tiny_runs


def tuning_recipe(origin: Path | str, bits: int | str = 4, **sections: Any) -> Recipe:
    sections = {"name": "tuned", **sections}
    sections["training"] = {"epochs": 2, "max_lr_weight": 1e-2, **sections.get("training", {})}
    sections["fine_tuning"] = {"run": str(origin), "weight_bits": bits, **sections.get("fine_tuning", {})}
    return tiny_runs.tiny_recipe(**sections)


@pytest.fixture(scope="module")
def tuned(trained: Run, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny run trained on with weights of 4 bits."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "load_binned", tiny_runs.fake_load)
        return tiny_runs.fitted(tmp_path_factory.mktemp("tuned") / "run", tuning_recipe(trained.folder))


def weights(network: Any) -> dict[str, torch.Tensor]:
    return {name: layer.weight.detach() for name, layer in layers_with_delays(network).items()}


def test_it_begins_with_the_finished_run_rounded(tuned: Run, trained: Run) -> None:
    data = tiny_runs.tiny_data()
    rounded = discretize(trained_network(trained), weight_bits=4)
    begin = discretize(trained_network(tuned, 0))
    assert tiny_runs.same(dict(begin.state_dict()), dict(rounded.state_dict()))
    assert not tiny_runs.same(dict(begin.state_dict()), dict(discrete_network(trained).state_dict()))
    chosen = sources.selection(tuned.recipe)
    expected = measure(rounded, data, chosen.valid, tuned.recipe)
    record = tuned.progress()["fine_tuning"]
    assert record["epoch_0"] == {"epoch": 0, "valid_loss": expected.loss, "valid_accuracy": expected.accuracy}
    assert (record["run"], record["epoch"]) == ("tiny", trained.best_epoch())
    best = trained.progress()["history"][trained.best_epoch() - 1]
    assert record["valid_accuracy"] == best["valid_accuracy"]
    rows = (tuned.folder / "metrics.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]
    assert str(expected.accuracy) in rows[1].split(",")


def test_what_is_trained_is_what_is_exported(tuned: Run, trained: Run) -> None:
    data = tiny_runs.tiny_data()
    network = trained_network(tuned)
    plain, again = discretize(network), discretize(network, weight_bits=4)
    assert plain.report.lossless or all(layer.max_weight_error == 0 for layer in plain.report.layers)
    everything = np.arange(len(data))
    scores = [measure(one, data, everything, tuned.recipe).scores for one in (network, plain, again)]
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])
    for discrete in (plain, again):
        for name, weight in weights(network).items():
            assert torch.equal(weights(discrete)[name], weight)
    rates = measure(network, data, everything, tuned.recipe).firing_rates
    assert all(0.02 < rate < 0.6 for rate in rates.values()), rates
    # Trained: weights on another place of the grid, delays where they were.
    before, original = layers_with_delays(trained_network(tuned, 0)), layers_with_delays(discrete_network(trained))
    for name, layer in layers_with_delays(network).items():
        grid = grid_of(layer)
        assert grid is not None
        assert float(grid.codes.abs().max()) <= 7
        assert not torch.equal(layer.weight, before[name].weight)
        assert torch.equal(layer.delay, original[name].delay)


def test_canary_a_grid_that_is_not_the_trained_one_is_seen(tuned: Run) -> None:
    network = trained_network(tuned)
    other = weights(discretize(network, weight_bits=3))
    assert any(not torch.equal(other[name], weight) for name, weight in weights(network).items())


def test_evaluation_says_what_was_done(tuned: Run, trained: Run) -> None:
    result = evaluate(tuned)
    assert result == json.loads(tuned.evaluation.read_text())
    assert result["test_accuracy"] == result["test_accuracy_real_delays"]
    assert (result["weight_bits"], result["weight_scale"], result["max_delay_steps"]) == (4, "power_of_two", None)
    assert result["sigma"] is None
    test = tiny_runs.tiny_data("test")
    rounded = discretize(trained_network(trained), weight_bits=4)
    expected = measure(rounded, test, np.arange(len(test)), trained.recipe).accuracy
    assert result["test_accuracy_before_fine_tuning"] == expected
    assert result["fine_tuned_from"]["folder"] == str(trained.folder)
    assert len(result["fine_tuned_from"]["checkpoint_sha256"]) == 64
    assert "weight_bits" not in evaluate(trained)


@pytest.mark.parametrize("moment", [("step", 1, 1), ("end", 1)])
def test_resumed_without_the_run_it_began_with(moment: tuple, tuned: Run, trained: Run, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    shutil.copytree(trained.folder, origin)
    run = create_run(tmp_path / "run", tuning_recipe("origin"))  # a name: beside the run's folder
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[tiny_runs.Stopper(moment, tiny_runs.interrupt)])
    shutil.rmtree(origin)
    run = resume_run(run.folder, tuning_recipe("origin"))
    loop.fit(run, accelerator="cpu")
    assert tiny_runs.numbers(run) == tiny_runs.numbers(tuned)
    ours, theirs = (dict(trained_network(one).state_dict()) for one in (run, tuned))
    assert tiny_runs.same(ours, theirs)
    assert evaluate(run)["test_accuracy"] == evaluate(tuned)["test_accuracy"]


def test_delays_are_shortened_when_asked(trained: Run, folder: Path) -> None:
    run = tiny_runs.fitted(folder, tuning_recipe(trained.folder, 8, fine_tuning={"max_delay_steps": 3}))
    cut = layers_with_delays(discrete_network(run))
    for name, layer in layers_with_delays(discrete_network(trained)).items():
        assert float(layer.delay.max()) > 3
        assert torch.equal(cut[name].delay, layer.delay.clamp(max=3))
        assert cut[name].max_delay_steps == 3
        assert run.progress()["fine_tuning"]["synapses_clamped"][name] == int((layer.delay > 3).sum())
    assert evaluate(run)["max_delay_steps"] == 3


def test_a_fine_tuned_run_is_fine_tuned_further(tuned: Run, folder: Path) -> None:
    run = tiny_runs.fitted(folder, tuning_recipe(tuned.folder, "ternary"))
    codes = {name: grid_of(layer).codes for name, layer in layers_with_delays(trained_network(run)).items()}
    assert all(set(code.unique().tolist()) <= {-1.0, 0.0, 1.0} for code in codes.values())
    assert run.progress()["fine_tuning"]["run"] == "tuned"


def test_recurrent_populations_have_one_step_and_keep_their_dropout(tmp_path: Path) -> None:
    model = {"recurrent": True}
    tiny_runs.fitted(tmp_path / "origin", tiny_runs.tiny_recipe(model=model, training={"epochs": 1}))
    recipe = tuning_recipe("origin", 6, model={**model, "dropout": 0.3}, training={"epochs": 1})
    run = tiny_runs.fitted(tmp_path / "run", recipe)
    data = tiny_runs.tiny_data()
    network = trained_network(run)
    layers = dict(layers_of(network))
    assert list(layers) == [
        "hidden1.synapse",
        "hidden1.neuron",
        "hidden1.dropout",
        "readout.synapse",
        "readout.integrator",
    ]
    assert isinstance(layers["hidden1.dropout"], Dropout)
    assert layers["hidden1.dropout"].p == 0.3
    population = layers["hidden1.neuron"]
    assert isinstance(population, Recurrent)
    assert grid_of(population.synapse).step == grid_of(layers["hidden1.synapse"]).step
    begin = weights(trained_network(run, 0))
    assert not torch.equal(begin["hidden1.neuron.synapse"], population.synapse.weight)
    scores = [measure(one, data, np.arange(len(data)), recipe).scores for one in (network, discretize(network))]
    assert torch.equal(*scores)


def test_convolutional_networks_take_a_grid() -> None:
    table = {"kind": "convolutional", "maps": [3], "kernel_size": 3, "hidden": [6]}
    recipe = tuning_recipe("origin", 4, model=table)
    network = quantize_network(network_to_train(recipe, (2, 10, 10), 3), recipe)
    assert len(layers_with_delays(network)) == 3
    assert all(grid_of(layer) is not None for layer in layers_with_delays(network).values())
    x = (torch.rand(9, 2, 2, 10, 10) < 0.3).float()
    assert torch.equal(discretize(network)(x)[0], network.eval()(x)[0])


def test_a_missing_run_is_named_and_nothing_is_left(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CheckpointError, match=rf"{folder.parent}/demo, .*train it first: snn-delays train demo --out"):
        create_run(folder, tuning_recipe("demo"))
    assert not folder.exists()
    monkeypatch.chdir(folder.parent)
    with pytest.raises(
        CheckpointError, match=r"starts from the run runs/demo, .* snn-delays train demo \(or name another"
    ):
        create_run(Path("runs/demo_4bit"), tuning_recipe("demo"))
    with pytest.raises(CheckpointError, match=r"starts from the run elsewhere/demo, "):
        create_run(Path("runs/demo_4bit"), tuning_recipe("elsewhere/demo"))
    assert not Path("runs").exists()


def test_an_unfinished_run_is_refused(trained: Run, folder: Path, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    shutil.copytree(trained.folder, origin)
    shutil.rmtree(origin / "checkpoints" / "epoch-0003")
    done = checkpoint.latest_epoch(origin / "checkpoints")
    with pytest.raises(
        CheckpointError,
        match=rf"has done {done} of 3 epochs; finish it with snn-delays train .*recipe.toml --resume",
    ):
        create_run(folder, tuning_recipe("origin"))
    assert not folder.exists()


@pytest.mark.parametrize(
    ("key", "sections"),
    [
        ("data.dt_ms = 10.0, the recipe says 5.0", {"data": {"dt_ms": 5.0}}),
        ("data.validation_fraction = 0.25, the recipe says 0.3", {"data": {"validation_fraction": 0.3}}),
        (r"model.hidden = \[10\], the recipe says \[12\]", {"model": {"hidden": [12]}}),
        ("model.max_delay_ms", {"model": {"max_delay_ms": 90.0}}),
        ("seed = 3, the recipe says 4", {"seed": 4}),  # it would draw other validation samples: trained on before
    ],
)
def test_another_network_or_other_data_are_named(key: str, sections: dict, trained: Run, folder: Path) -> None:
    with pytest.raises(ConfigError, match=f"was trained with {key}"):
        create_run(folder, tuning_recipe(trained.folder, **sections))
    assert not folder.exists()


def test_what_only_training_sees_may_change(trained: Run, folder: Path) -> None:
    model = {"dropout": 0.0, "surrogate": {"kind": "triangle", "scale": 1.0}, "detach_reset": False}
    create_run(folder, tuning_recipe(trained.folder, model=model, data={"bucketing": True}))


def test_other_data_under_the_same_name(trained: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(folder, tuning_recipe(trained.folder))
    monkeypatch.setattr(sources, "load_binned", lambda *_, **__: tiny_runs.tiny_data("test"))
    with pytest.raises(DataError, match=r"was trained on made up \(sha256 none-train\), the file here is"):
        loop.fit(run, accelerator="cpu")


def test_a_damaged_checkpoint_is_named(trained: Run, folder: Path, tmp_path: Path) -> None:
    origin = tmp_path / "origin"
    shutil.copytree(trained.folder, origin)
    run = create_run(folder, tuning_recipe("origin"))
    broken = checkpoint.network_file(origin / "checkpoints", trained.best_epoch())
    broken.write_bytes(broken.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match=r"cannot read .*origin"):
        loop.fit(run, accelerator="cpu")
    shutil.rmtree(origin)
    shutil.copytree(trained.folder, origin)
    loop.fit(open_run(folder), accelerator="cpu")  # put right, the run begins after all
    assert checkpoint.latest_epoch(run.checkpoints) == 2


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"weight_bits": 1}, r"fine_tuning.weight_bits: must lie in 2..16 or be 'ternary', got 1"),
        ({"weight_bits": 17}, r"2..16 or be 'ternary', got 17"),
        ({"weight_bits": 4.5}, r"2..16 or be 'ternary', got 4.5"),
        ({"weight_bits": True}, r"2..16 or be 'ternary', got True"),
        ({"weight_bits": "binary"}, r"2..16 or be 'ternary', got 'binary'"),
        ({"scale": "log"}, r"fine_tuning.scale"),
        ({"weight_bit": 4}, r"unknown key 'fine_tuning.weight_bit'; did you mean 'weight_bits'"),
        ({"max_delay_steps": -1}, r"fine_tuning.max_delay_steps"),
        ({"run": ""}, r"fine_tuning.run"),
    ],
)
def test_keys_are_checked(section: dict, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        tuning_recipe("demo", fine_tuning=section)


def test_delays_are_not_cut_below_the_shortest() -> None:
    with pytest.raises(ConfigError, match=r"fine_tuning.max_delay_steps \(1\) must not be below model.min_delay_steps"):
        tuning_recipe("demo", model={"min_delay_steps": 2}, fine_tuning={"max_delay_steps": 1})


@pytest.mark.parametrize("bits", [4, "ternary"])
def test_the_section_is_written_and_read(bits: int | str) -> None:
    recipe = tuning_recipe("demo", bits)
    assert parse_recipe(parse_toml(to_toml(recipe)), "read") == recipe
    assert "fine_tuning" not in to_toml(tiny_runs.tiny_recipe())


@pytest.mark.parametrize(("name", "bits"), [("demo_8bit", 8), ("demo_4bit", 4), ("demo_ternary", "ternary")])
def test_the_recipes_start_from_the_demo(name: str, bits: int | str) -> None:
    recipe, origin = load_recipe(name), load_recipe("demo")
    assert recipe.fine_tuning is not None
    assert (recipe.name, recipe.fine_tuning.weight_bits, recipe.fine_tuning.run) == (name, bits, origin.name)
    assert fixed_keys(recipe) == fixed_keys(origin)
