"""A run is lengthened or goes on with other rates by the plan of its new recipe; readers see one state of a run."""

import math
from pathlib import Path
from typing import Any

import pytest

from snn_delays.errors import CheckpointError, ConfigError, TrainingError
from snn_delays.recipes.files import load_recipe
from snn_delays.runs import evaluate
from snn_delays.runs.load import trained_network
from snn_delays.training import checkpoint, runlog
from snn_delays.training import engine as loop
from snn_delays.training.runlog import Run, create_run, open_run, resume_run
from snn_delays.training.tasks import events as classification
from tests.support import tiny_runs
from tests.support.tiny_runs import Stopper, fitted, interrupt, numbers, same, tensors
from tests.support.tiny_texts import language_recipe


def recipe(**training: Any) -> Any:
    return tiny_runs.tiny_recipe(training=training)


def lengthened(folder: Path, new: Any) -> Run:
    run = resume_run(folder, new)
    loop.fit(run, accelerator="cpu")
    return run


@pytest.mark.parametrize("every", ["step", "epoch"])
def test_what_follows_is_by_the_plan_of_the_longer_run(every: str, tmp_path: Path) -> None:
    plan = {"epochs": 5, "schedule_every": every}
    whole = numbers(fitted(tmp_path / "whole", recipe(**plan)))
    run = lengthened(fitted(tmp_path / "run", recipe(**plan | {"epochs": 2})).folder, recipe(**plan))
    history = numbers(run)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    settings = ("sigma", "lr_weight", "lr_delay")
    assert [[row[key] for key in settings] for row in history[2:]] == [
        [row[key] for key in settings] for row in whole[2:]
    ]
    assert history[2]["lr_weight"] > 2 * history[1]["lr_weight"] or every == "step"
    assert open_run(run.folder).recipe == recipe(**plan)
    assert run.progress()["changes"] == [{"after_epoch": 2, "training.epochs": [2, 5]}]
    assert evaluate.evaluate(run)["changes"] == run.progress()["changes"]
    again = numbers(lengthened(run.folder, recipe(**plan)))  # nothing is left to do, and nothing is recorded anew
    assert again == history


def test_other_rates_hold_from_there_on_and_the_rest_is_kept(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", recipe(epochs=3))
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Stopper(("end", 1), interrupt)])
    before = numbers(run)
    whole = numbers(fitted(tmp_path / "whole", recipe(epochs=3)))
    history = numbers(lengthened(run.folder, recipe(epochs=3, max_lr_weight=5e-4, lr_delay=0.05)))
    assert history[:1] == before
    for row, other in zip(history[1:], whole[1:]):
        assert row["lr_weight"] == pytest.approx(other["lr_weight"] / 10)
        assert row["lr_delay"] == pytest.approx(other["lr_delay"] / 2)


@pytest.mark.parametrize(
    ("training", "says"),
    [
        ({"epochs": 1}, r"can be lengthened only: resume with --set training\.epochs=2 or more"),
        ({"epochs": 2, "batch_size": 8}, r"training\.batch_size = 16, the recipe now says 8.*what may change is"),
        ({"epochs": 2, "sigma_epochs": 9}, r"taps would be .* wide after epoch 2.*training\.sigma_epochs=2 to keep"),
    ],
)
def test_changes_that_would_not_go_on_from_where_the_run_is(training: Any, says: str, tmp_path: Path) -> None:
    folder = fitted(tmp_path / "run", recipe(epochs=2)).folder
    before = (folder / "recipe.toml").read_text()
    with pytest.raises(ConfigError, match=says):
        resume_run(folder, recipe(**training))
    assert (folder / "recipe.toml").read_text() == before


def test_annealing_over_a_part_of_all_epochs_is_not_stretched_in_silence(tmp_path: Path) -> None:
    folder = create_run(tmp_path / "run", recipe(epochs=40, sigma_epochs=None)).folder
    source = fitted(tmp_path / "source", recipe(epochs=2)).checkpoints
    source.rename(folder / "checkpoints")  # of epoch 2, amid 10 of annealing
    with pytest.raises(ConfigError, match=r"resume with --set training\.sigma_epochs=10"):
        resume_run(folder, recipe(epochs=80, sigma_epochs=None))
    assert resume_run(folder, recipe(epochs=80, sigma_epochs=10)).recipe.training.epochs == 80


def test_text_is_lengthened_as_events_are(corpus: Path, tmp_path: Path) -> None:
    plan = {"sigma_epochs": 1}
    short, long = (language_recipe(corpus, training={"epochs": n, **plan}) for n in (1, 3))
    run = create_run(tmp_path / "run", short)
    loop.fit(run, accelerator="cpu")
    whole = create_run(tmp_path / "whole", long)
    loop.fit(whole, accelerator="cpu")
    ours, theirs = (r.progress()["history"] for r in (lengthened(run.folder, long), whole))
    assert [row["lr_weight"] for row in ours[1:]] == [row["lr_weight"] for row in theirs[1:]]
    assert len(ours) == 3
    assert {"silent", "saturated"} <= ours[-1].keys()


def test_the_advice_after_a_divergence_works(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", recipe(epochs=2, max_lr_weight=1e30))
    with pytest.raises(TrainingError, match="--resume") as failure:
        loop.fit(run, accelerator="cpu")
    advice = str(failure.value)
    assert f"--out {run.folder} --set training.max_lr_weight=1e+29" in advice
    loaded = load_recipe(run.folder / "recipe.toml", ("training.max_lr_weight=1e-3",))
    done = lengthened(run.folder, loaded)
    assert len(done.progress()["history"]) == 2
    assert all(math.isfinite(row["train_loss"]) for row in done.progress()["history"])


def test_a_run_begun_in_the_folder_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", recipe())
    other = create_run(tmp_path / "run", tiny_runs.tiny_recipe(seed=8))
    with pytest.raises(CheckpointError, match="is now of a run with seed = 8, this one has 3"):
        loop.fit(run, accelerator="cpu")
    loop.fit(other, accelerator="cpu")


def test_a_reader_beside_a_training_sees_one_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classification.EventsTraining, "best_epoch", lambda self, history: history[-1]["epoch"])
    run = create_run(tmp_path / "run", recipe(epochs=3))
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Stopper(("end", 1), interrupt)])
    real, trains = runlog.read_network, iter([True])

    def meanwhile(path: Path) -> Any:
        if next(trains, False):  # the progress of epoch 1 was read, and before its network is, all epochs are done
            monkeypatch.setattr(runlog, "read_network", real)
            loop.fit(run, accelerator="cpu")
            assert not path.exists()
        return real(path)

    monkeypatch.setattr(runlog, "read_network", meanwhile)
    pinned = run.pinned()
    assert (len(pinned.progress()["history"]), pinned.best_epoch()) == (3, 3)
    assert same(dict(trained_network(pinned).state_dict()), tensors(run, 3))
    checkpoint.prune(run.checkpoints, {0})  # what was read is held
    assert same(dict(trained_network(pinned).state_dict()), dict(trained_network(pinned, 3).state_dict()))
    assert evaluate.evaluate(pinned)["epochs"] == 3


def test_a_damaged_state_is_no_endless_wait(tmp_path: Path) -> None:
    run = fitted(tmp_path / "run", recipe(epochs=1))
    checkpoint.network_file(run.checkpoints, 1).write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot read"):
        run.pinned()


def test_the_same_recipe_goes_on_to_the_same_numbers(trained: Run, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", trained.recipe)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Stopper(("end", 1), interrupt)])
    assert same(tensors(lengthened(run.folder, trained.recipe)), tensors(trained))
    assert "changes" not in run.progress()
