"""Searches with Optuna: what is asked and told, by validation alone; one that was stopped goes on."""

from typing import Any

import pytest

from snn_delays.errors import ConfigError
from snn_delays.runs.report import report
from snn_delays.runs.search import Trials
from snn_delays.runs.study import Folder, numbers, run_study
from snn_delays.training.runlog import open_run
from tests.runs.test_study import Here, Recorded, folder_of, here  # noqa: F401

optuna = pytest.importorskip("optuna")
TEXT = """
recipe = "tiny.toml"
seeds = [3]
[search]
trials = 4
sampler = "random"
space.training.lr_delay = { low = 0.01, high = 1.0, log = true }
space.model.hidden = { choices = [[6], [5, 5]] }
space.model.delays = { choices = ["learned", "none"] }
"""


def done(folder: Folder, view: Recorded | None = None) -> Trials:
    assert folder.study.search is not None
    trials = Trials(folder, folder.study.search)
    run_study(folder, trials, view or Recorded(), workers=1)
    return trials


def test_trials_are_runs_and_optuna_is_told_their_validation(here: Here, folder_of: Any) -> None:  # noqa: F811
    folder = folder_of(TEXT)
    found = done(folder).study.trials
    assert [trial.number for trial in found] == [0, 1, 2, 3]
    assert len({trial.params["training.lr_delay"] for trial in found}) == 4
    for trial in found:
        run = open_run(folder.path / "runs" / f"trial_{trial.number:04d}")
        assert trial.value == numbers(run)["valid_accuracy"]
        assert str(list(run.recipe.model.hidden)) == trial.params["model.hidden"]
        assert run.recipe.model.delays == trial.params["model.delays"]
        learned = run.recipe.model.delays == "learned"
        assert run.recipe.training.lr_delay == (trial.params["training.lr_delay"] if learned else 0.1)
    assert {trial.params["model.delays"] for trial in found} == {"learned", "none"}
    assert len(done(folder).study.trials) == len(here.calls) == 4
    assert (folder.path / "optuna.db").exists()
    (folder.path / "runs" / "trial_0000" / "evaluation.json").unlink(missing_ok=True)
    rows = report(folder).rows
    assert [row.interval.mean for row in rows] == sorted((trial.value for trial in found), reverse=True)
    assert [path.name for path in report(folder).write()] == ["table.md", "table.csv", "runs.csv", "search.png"]


def test_a_trial_that_was_under_way_is_taken_up_again(here: Here, folder_of: Any) -> None:  # noqa: F811
    class Interrupted(Recorded):
        def ended(self, job: Any, reason: str) -> None:
            if job.name == "trial_0001":
                raise KeyboardInterrupt

    folder = folder_of(TEXT)
    here.instead["trial_0001"] = [(-9, "killed")] * 3
    with pytest.raises(KeyboardInterrupt):
        done(folder, Interrupted())
    assert folder.study.search is not None
    before = Trials(folder, folder.study.search).study.trials
    assert [trial.state.name for trial in before] == ["COMPLETE", "FAIL"]
    other = Trials(folder, folder.study.search)
    job = other.next()  # asked for, and never told
    assert job is not None
    found = done(folder).study.trials
    assert [trial.state.name for trial in found] == ["COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert job.name == "trial_0002"
    assert here.calls.count("trial_0002") == 1


def test_a_trial_whose_recipe_cannot_be_fails_alone(here: Here, folder_of: Any) -> None:  # noqa: F811
    text = TEXT.replace("trials = 4", "trials = 6").partition("space.model")[0]
    both = "space.model.min_delay_steps = { choices = [0, 6] }\nspace.model.max_delay_ms = { choices = [40.0, 80.0] }\n"
    trials = done(folder_of(text + both))
    bad = [
        t for t in trials.study.trials if (t.params["model.min_delay_steps"], t.params["model.max_delay_ms"]) == (6, 40)
    ]
    assert 0 < len(bad) == len(trials.failed) < 6
    assert all("must not exceed the longest delay" in reason for reason in trials.failed.values())
    assert {trial.state.name for trial in bad} == {"FAIL"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("training.lr_delay", "training.lr_dela"), "unknown key 'training.lr_dela'; did you mean 'lr_delay'"),
        (("[5, 5]", "[-5]"), r"search.space, model.hidden = \[-5\]: .*model.hidden.0: Input should be greater"),
        (
            ("trials = 4", "trials = 4\nstorage = 'postgresql://nobody@127.0.0.1:9/none'"),
            "cannot open the storage postg",
        ),
        (("trials = 4", "trials = 4\nstorage = 'nonsense'"), "cannot open the storage nonsense"),
    ],
)
def test_searches_that_cannot_be(folder_of: Any, change: tuple[str, str], message: str) -> None:  # noqa: F811
    with pytest.raises(ConfigError, match=message) as caught:
        done(folder_of(TEXT.replace(*change)))
    assert "\n" not in str(caught.value)
