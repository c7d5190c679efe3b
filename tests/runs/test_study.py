"""The runs of a study, each trained in this process: none twice, failures beside the rest, goes on where it stopped."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from snn_delays import cli
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.files import alone_in
from snn_delays.recipes.files import to_toml
from snn_delays.recipes.study import Job, read_study
from snn_delays.runs import study
from snn_delays.runs.study import Folder, Grid, measure_of, numbers, open_folder, run_study
from snn_delays.training.runlog import Run, open_run
from tests.support import tiny_runs

TEXT = """
recipe = "tiny.toml"
seeds = [3, 4]
evaluate = true
variants.learned = {}
variants.none = { model.delays = "none" }
"""


class Recorded:
    """A view that keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[str] = []
        self.ends: dict[str, str] = {}

    def running(self, jobs: Sequence[Job]) -> None:
        self.seen += [job.name for job in jobs]

    def ended(self, job: Job, reason: str) -> None:
        self.ends[job.name] = reason


class Here:
    """Stands in for ``run_commands``: the commands in this process; or what ``instead`` says of a folder's name."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.instead: dict[str, list[Any]] = {}

    def __call__(self, commands: Sequence[Sequence[str]], log: Path, stop: Path, threads: int) -> tuple[int, str]:
        name = log.stem
        self.calls.append(name)
        if self.instead.get(name):
            answer = self.instead[name].pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer  # type: ignore[no-any-return]
        for words in commands:
            result = CliRunner().invoke(cli.app, [*words])
            log.write_text(result.output)
            if result.exit_code:
                return result.exit_code, result.stderr.strip()
        return 0, ""


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> Here:
    made = Here()
    monkeypatch.setattr(study, "run_commands", made)
    return made


@pytest.fixture
def folder_of(tmp_path: Path) -> Any:
    """The folder of a study in ``tmp_path``, as a text describes it, whose recipe is the tiny one."""

    def made(text: str = TEXT, epochs: int = 1) -> Folder:
        (tmp_path / "tiny.toml").write_text(to_toml(tiny_runs.tiny_recipe(training={"epochs": epochs})))
        (tmp_path / "study.toml").write_text(text)
        return Folder(tmp_path / "out", read_study(tmp_path / "study.toml"))

    return made


def done(folder: Folder, view: Recorded | None = None) -> dict[str, str]:
    return run_study(folder, Grid(folder), view or Recorded(), workers=1)


def test_every_run_once_and_new_ones_later(here: Here, folder_of: Any) -> None:
    folder, view = folder_of(), Recorded()
    assert done(folder, view) == {}
    names = ["learned_seed_3", "learned_seed_4", "none_seed_3", "none_seed_4"]
    assert here.calls == list(view.ends) == names
    assert set(view.seen) == set(names)
    assert done(folder) == {}
    assert here.calls == names
    assert done(folder_of(TEXT.replace("[3, 4]", "[3, 4, 5]"))) == {}
    assert here.calls[4:] == ["learned_seed_5", "none_seed_5"]
    result = numbers(open_run(folder.path / "runs" / "none_seed_4"))
    assert (result["seed"], result["delays"], result["epoch"]) == (4, "none", 1)
    assert 0 <= result["test_accuracy"] <= 1


def test_a_longer_study_goes_on_with_its_runs(here: Here, folder_of: Any) -> None:
    text = TEXT.replace("[3, 4]", "[3]")
    done(folder_of(text))
    folder = folder_of(text, epochs=2)
    assert done(folder) == {}
    for name in ("learned_seed_3", "none_seed_3"):
        run = open_run(folder.path / "runs" / name)
        assert [len(run.progress()[key]) for key in ("history", "sessions")] == [2, 2]
        assert numbers(run)["epochs"] == 2  # evaluated again
    with pytest.raises(ConfigError, match=r"was trained with training.epochs = 2, the study now says 1"):
        Grid(folder_of(text, epochs=1))
    with pytest.raises(ConfigError, match=r"was trained with training.max_lr_weight = 0.005, the study now says 0.1"):
        Grid(folder_of(text + "set = { training.max_lr_weight = 0.1 }\n", epochs=2))


def test_failures_are_listed_and_stop_nothing(here: Here, folder_of: Any) -> None:
    folder, view = folder_of(), Recorded()
    here.instead["learned_seed_3"] = [(2, "no data (exit code 2)")]
    here.instead["none_seed_3"] = [OSError("a lost worker\nand more")]
    expected = {"learned_seed_3": "no data (exit code 2)", "none_seed_3": "a lost worker and more"}
    assert done(folder, view) == expected
    assert {name: reason for name, reason in view.ends.items() if reason} == expected
    assert done(folder) == {}  # tried anew
    assert here.calls[4:] == ["learned_seed_3", "none_seed_3"]


def test_a_killed_run_is_taken_up_again_but_not_for_ever(here: Here, folder_of: Any) -> None:
    killed = (-9, "its process was killed (exit code -9)")
    here.instead = {"learned_seed_3": [killed, killed], "none_seed_3": [killed] * 9}
    assert done(folder_of(TEXT.replace("[3, 4]", "[3]"))) == {"none_seed_3": killed[1]}
    assert [here.calls.count(f"{name}_seed_3") for name in ("learned", "none")] == [study.TRIES, study.TRIES]


def test_ctrl_c_stops_every_run(here: Here, folder_of: Any, tmp_path: Path) -> None:
    class Interrupted(Recorded):
        def ended(self, job: Job, reason: str) -> None:
            raise KeyboardInterrupt

    folder, stop = folder_of(), tmp_path / "out" / "stop"
    with pytest.raises(KeyboardInterrupt):
        done(folder, Interrupted())
    assert stop.exists()
    assert done(folder) == {}
    assert not stop.exists()


def test_the_stop_file_ends_a_study_without_failures(here: Here, folder_of: Any, tmp_path: Path) -> None:
    class Stopped(Recorded):
        def ended(self, job: Job, reason: str) -> None:
            super().ended(job, reason)
            (tmp_path / "out" / "stop").touch()

    folder, view = folder_of(), Stopped()
    assert done(folder, view) == {}
    assert list(view.ends) == here.calls == ["learned_seed_3"]
    here.instead["learned_seed_4"] = [(-9, "its process was killed")]
    assert done(folder) == {}
    assert len(here.calls) == 1 + 4


def test_one_process_at_a_time(here: Here, folder_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_of()
    with alone_in(folder.path), monkeypatch.context() as patch:
        patch.setattr("os.getpid", lambda: -1)
        with pytest.raises(CheckpointError, match="another process"):
            done(folder)


def test_the_folder_is_found_again(here: Here, folder_of: Any, tmp_path: Path) -> None:
    folder = folder_of(TEXT.replace("[3, 4]", "[3]"))
    done(folder)
    for path in (folder.path, tmp_path / "study.toml"):
        found = open_folder(path, tmp_path)
        assert found.study.labels() == folder.study.labels()
    assert found.path == tmp_path / "study"
    with pytest.raises(ConfigError, match="is a run, not a study"):
        open_folder(folder.path / "runs" / "learned_seed_3", tmp_path)
    with pytest.raises(ConfigError, match=r"has no study.toml"):
        open_folder(folder.path / "runs", tmp_path)


def test_the_number_that_is_compared(folder_of: Any, trained: Run) -> None:
    config = folder_of().study
    found = {key: value for key, value in numbers(trained).items() if not key.startswith("test")}
    assert measure_of(config, [found]) == "valid_accuracy"
    assert measure_of(config, [found, {"test_accuracy": 0.5}]) == "test_accuracy"
    with pytest.raises(ConfigError, match="no run of the study has a number 'valid_acuracy'; did you mean 'valid_ac"):
        measure_of(config.model_copy(update={"measure": "valid_acuracy"}), [found])
