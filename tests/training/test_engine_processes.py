"""Several processes train as one does: gradients, numbers, and what is left when one of them is killed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from snn_delays.errors import ConfigError
from snn_delays.ops import use_backend
from snn_delays.recipes.files import to_toml
from snn_delays.training import checkpoint
from snn_delays.training import engine as loop
from snn_delays.training.runlog import Run, create_run, open_run
from tests.support import ROOT, tiny_runs, tiny_texts, two_processes
from tests.support.tiny_runs import numbers

CLOSE = 1e-6  # also in double precision Fabric hands on what a network returns in float32


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every recipe, trained by two processes."""
    folder = tmp_path_factory.mktemp("together")
    done = subprocess.run(
        [sys.executable, "-m", two_processes.__name__, folder], cwd=ROOT, capture_output=True, text=True, timeout=1200
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.fixture
def alone(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A recipe trained by this process."""
    tiny_texts.use_made_up_sentences(monkeypatch)
    two_processes.use_camera(monkeypatch.setattr)
    two_processes.keep_gradients(monkeypatch.setattr)
    return loop.train(two_processes.recipes(tmp_path)[request.param], out=tmp_path / request.param, accelerator="cpu")


def plain(row: dict[str, Any]) -> dict[str, float]:
    return {key: value for key, value in row.items() if isinstance(value, int | float)}


def gradients(folder: Path, rank: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / f"gradients-{rank}.pt", weights_only=True)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("alone", ["events", "published", "maps", "language", "sentences"], indirect=True)
def test_two_processes_equal_one(alone: Run, together: Path) -> None:
    two, want = open_run(together / alone.folder.name), gradients(alone.folder, 0)
    assert max(float(gradient.abs().max()) for gradient in want.values()) > 1e-4
    for rank in (0, 1):
        found = gradients(two.folder, rank)
        assert found.keys() == want.keys()
        for name in want:
            torch.testing.assert_close(found[name], want[name], rtol=CLOSE, atol=CLOSE, msg=name)
    assert len(numbers(two)) == len(numbers(alone)) == 2
    for ours, theirs in zip(numbers(two), numbers(alone)):
        assert plain(ours) == pytest.approx(plain(theirs), rel=CLOSE, abs=CLOSE)
        rate = next(theirs[name] for name in ("rate_hidden1", "rate_conv1", "firing_rate") if name in theirs)
        assert 0.005 < rate < 0.9
    for epoch in (0, 2):
        a, b = (checkpoint.read_network(checkpoint.network_file(run.checkpoints, epoch))[0] for run in (two, alone))
        for name in a:
            torch.testing.assert_close(a[name], b[name], rtol=CLOSE, atol=CLOSE, msg=name)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["events-shards", "language-shards"])
def test_a_network_in_shards_is_trained_as_one_that_is_whole(name: str, together: Path, tmp_path: Path) -> None:
    """Stopped and resumed, in shards or by one process."""
    recipe = two_processes.recipes_in_shards(tmp_path)[name]
    with use_backend("reference"):
        one = loop.train(recipe, out=tmp_path / "one", accelerator="cpu")
        stopped = open_run(together / f"{name}-stopped")
        assert checkpoint.latest_epoch(stopped.checkpoints) == 1
        loop.train(stopped.recipe, out=stopped.folder, accelerator="cpu", resume=True)
    for run in (open_run(together / name), stopped):
        for ours, theirs in zip(numbers(run), numbers(one), strict=True):
            assert plain(ours) == pytest.approx(plain(theirs), rel=1e-4, abs=1e-6)
        last = checkpoint.latest_epoch(run.checkpoints)
        assert last is not None
        a, b = (checkpoint.read_network(checkpoint.network_file(each.checkpoints, last))[0] for each in (run, one))
        for key in a:
            torch.testing.assert_close(a[key], b[key], rtol=1e-3, atol=1e-4, msg=key)
    rates = [row.get("rate_hidden1", row.get("firing_rate")) for row in numbers(one)]
    assert all(0.005 < rate < 0.9 for rate in rates)


@pytest.mark.slow
@pytest.mark.parametrize("alone", ["apart"], indirect=True)
def test_canary_batch_norms_by_themselves_are_seen(alone: Run, together: Path) -> None:
    apart = numbers(open_run(together / "apart"))[0]["train_loss"]
    assert apart != pytest.approx(numbers(alone)[0]["train_loss"], rel=1e-5)


def train_two(recipe: Path, folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", tiny_runs.__name__, "cli", "train", recipe, "--out", folder, *options]
    return subprocess.run(
        [*map(str, command), "--accelerator", "cpu", "--devices", "2", "--strategy", "ddp"], cwd=ROOT, text=True,
        capture_output=True, timeout=1200, env={**os.environ, **environment},
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
def test_a_killed_process_ends_the_job_and_resuming_continues_it(rank: int, tmp_path: Path) -> None:
    recipe = tmp_path / "tiny.toml"
    exact = {"epochs": 2, "precision": "64-true"}
    recipe.write_text(to_toml(tiny_runs.tiny_recipe(model={"dropout": 0.0}, training=exact)))
    one = loop.train(recipe, out=tmp_path / "one", accelerator="cpu")
    folder = tmp_path / "run"
    start = time.monotonic()
    done = train_two(recipe, folder, TINY_KILL=f"{rank}:2:1")
    assert done.returncode in ((2,) if rank == 1 else (-signal.SIGKILL,)), done.stderr
    assert time.monotonic() - start < 1200, "nobody waits for ever"
    if rank == 1:
        assert "error: process 0 of 2 lost another one" in done.stderr
        assert f"go on with snn-delays train {folder}/recipe.toml --resume --out {folder}" in done.stderr
        assert "Traceback" not in done.stderr
    assert checkpoint.latest_epoch(open_run(folder).checkpoints) == 1
    done = train_two(recipe, folder, "--resume")
    assert done.returncode == 0, done.stderr
    for ours, theirs in zip(numbers(open_run(folder)), numbers(one), strict=True):
        assert plain(ours) == pytest.approx(plain(theirs), rel=CLOSE, abs=CLOSE)


SRUN = """#!{python}
import os, subprocess, sys
nodes, tasks = int(os.environ["SLURM_NNODES"]), int(os.environ["SLURM_NTASKS_PER_NODE"])
command = [word for word in sys.argv[1:] if not word.startswith("--kill")]
started = [
    subprocess.Popen(command, env={{**os.environ, "SLURM_PROCID": str(node * tasks + task), "SLURM_LOCALID": str(task),
                                   "SLURM_NODEID": str(node), "SLURM_NTASKS": str(nodes * tasks)}})
    for node in range(nodes) for task in range(tasks)
]
sys.exit(max(process.wait() for process in started))
"""


@pytest.mark.slow
def test_the_script_for_slurm_trains_on_two_nodes(tmp_path: Path) -> None:
    """With an ``srun`` that starts both on this machine."""
    commands = {"srun": SRUN.format(python=sys.executable)}
    commands["snn-delays"] = f'#!/bin/sh\nexec {sys.executable} -m {tiny_runs.__name__} cli "$@"\n'
    for name, text in commands.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    recipe, folder = tmp_path / "tiny.toml", tmp_path / "run"
    exact = {"epochs": 2, "precision": "64-true"}
    recipe.write_text(to_toml(tiny_runs.tiny_recipe(model={"dropout": 0.0}, training=exact)))
    job = {"SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_ID": str(os.getpid())}
    done = subprocess.run(
        ["bash", "experiments/train.sbatch", recipe, "--out", folder, "--accelerator", "cpu"], cwd=ROOT, text=True,
        capture_output=True, timeout=1200, env={**os.environ, **job, "PATH": f"{tmp_path}:{os.environ['PATH']}"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.count("trained: ") == 1
    one = loop.train(recipe, out=tmp_path / "one", accelerator="cpu")
    for ours, theirs in zip(numbers(open_run(folder)), numbers(one), strict=True):
        assert plain(ours) == pytest.approx(plain(theirs), rel=CLOSE, abs=CLOSE)


def test_a_node_that_is_not_the_first_makes_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.setattr(loop, "fit", lambda *_, **__: None)
    loop.train(tiny_runs.tiny_recipe(), out=tmp_path / "run", accelerator="cpu")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "dpp"}, r"there is no strategy 'dpp'; did you mean 'ddp'\? choose from auto, ddp, fsdp"),
        ({"strategy": "fsdp"}, "strategy 'fsdp': The `ModelParallelStrategy` does not support .*64-true"),
        ({"num_nodes": 0}, "num_nodes 0 and strategy 'auto': `num_nodes` must be a positive integer"),
    ],
)
def test_what_is_not_there_is_refused(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    run = create_run(tmp_path / "run", tiny_runs.tiny_recipe(training={"precision": "64-true"}))
    with pytest.raises(ConfigError, match=message):
        loop.fit(run, accelerator="cpu", **options)
