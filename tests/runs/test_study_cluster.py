"""A study on a real Dask cluster of this machine, one of whose workers is killed, and on one that is not there."""

import os
import signal
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from snn_delays.data import load_binned
from snn_delays.errors import ConfigError
from snn_delays.recipes.study import Job, read_study
from snn_delays.runs import search
from snn_delays.runs.study import Folder, Grid, run_study
from snn_delays.training import engine, sources
from snn_delays.training.runlog import open_run
from snn_delays.workers import executor

distributed = pytest.importorskip("distributed")
STUDY = """
recipe = "synthetic_coincidence"
set = { training.epochs = 12, training.sigma_epochs = 6, model.hidden = [8] }
"""


@pytest.fixture(scope="module")
def workers() -> Iterator[Any]:
    """A cluster of two processes."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as made:
        yield made


class Killer:
    """A view that kills the worker of the first run that has finished two epochs."""

    def __init__(self, folder: Folder, address: str) -> None:
        self.folder, self.address, self.killed = folder, address, ""

    def running(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if not self.killed and self.folder.epochs(job) >= 2:
                with distributed.Client(self.address, set_as_default=False) as client:
                    busy = {worker: calls for worker, calls in client.processing().items() if calls}
                    worker = next(iter(busy))
                    pid = client.run(os.getpid, workers=[worker])[worker]
                os.kill(pid, signal.SIGKILL)
                self.killed = job.name

    def ended(self, job: Job, reason: str) -> None:
        pass


@pytest.mark.slow
def test_a_lost_workers_run_goes_on_from_its_checkpoint(
    workers: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sources, "load_binned", load_binned)  # in the place of made-up data
    path = tmp_path / "study.toml"
    path.write_text(STUDY + "seeds = [0, 1]\n")
    folder = Folder(tmp_path / "out", read_study(path))
    view = Killer(folder, workers.scheduler_address)
    source = Grid(folder)
    assert run_study(folder, source, view, workers=0, scheduler=workers.scheduler_address) == {}
    assert view.killed
    taken_up = 0
    for job in source.jobs:
        run = open_run(folder.run(job))
        whole = engine.train(job.recipe, out=tmp_path / job.name, accelerator="cpu")
        found, alone = ([{**row, "seconds": 0} for row in r.progress()["history"]] for r in (run, whole))
        assert found == alone
        taken_up += len(run.progress()["sessions"]) == 2
    assert taken_up == 1


@pytest.mark.slow
def test_a_search_on_a_cluster(workers: Any, tmp_path: Path) -> None:
    pytest.importorskip("optuna")
    path = tmp_path / "study.toml"
    path.write_text(STUDY.replace("12", "2").replace("6", "1") + "[search]\ntrials = 3\n"
                    "space.training.lr_delay = { low = 0.01, high = 1.0, log = true }\n")  # fmt: skip
    folder = Folder(tmp_path / "out", read_study(path))
    assert folder.study.search is not None
    trials = search.Trials(folder, folder.study.search)
    view = Killer(folder, workers.scheduler_address)
    view.killed = "none"
    assert run_study(folder, trials, view, workers=0, scheduler=workers.scheduler_address) == {}
    assert len(trials.study.trials) == 3
    assert all(trial.value is not None for trial in trials.study.trials)


def test_a_scheduler_that_is_not_there(capfd: pytest.CaptureFixture[str]) -> None:
    for address in ("tcp://127.0.0.1:9", "nonsense://x", "127.0.0.1"):
        with pytest.raises(ConfigError, match=r"no Dask scheduler answers at .*--scheduler tcp://HOST:8786") as caught:
            executor(0, address, timeout_s=1).__enter__()
        assert "\n" not in str(caught.value)
    assert capfd.readouterr().err == ""
