"""Killed at any moment and resumed, a run ends with the numbers of one that was not."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file

from snn_delays.training import checkpoint
from snn_delays.training import engine as loop
from snn_delays.training.runlog import Run, create_run, open_run
from tests.support import ROOT, tiny_runs

SCRIPT = [sys.executable, "-m", tiny_runs.__name__]


def assert_ended_alike(run: Run, trained: Run) -> None:
    assert checkpoint.epochs_saved(run.checkpoints) == checkpoint.epochs_saved(trained.checkpoints)
    for epoch in checkpoint.epochs_saved(run.checkpoints):
        name = f"epoch-{epoch:04d}/model.safetensors"
        ours, theirs = load_file(run.checkpoints / name), load_file(trained.checkpoints / name)
        assert ours.keys() == theirs.keys()
        for key in ours:
            assert bool((ours[key] == theirs[key]).all()), f"{name}: {key}"
    ours, theirs = (
        [line.rpartition(",")[0] for line in (r.folder / "metrics.csv").read_text().splitlines()]
        for r in (run, trained)
    )
    assert ours == theirs
    assert len(ours) == 4
    assert (trained.folder / "metrics.csv").read_text().splitlines()[0].endswith(",seconds")
    assert not list(run.folder.rglob(".writing-*"))


# Renames, syncs and removals counted from the start: an epoch's checkpoint takes 4 syncs and one rename.
@pytest.mark.parametrize(
    ("moment", "epochs_then"),
    [
        ("step:1:2", [0]),  # amid the first epoch
        ("step:3:1", [0, 2]),  # amid the last
        ("rename:1", []),  # before the untrained network has its name
        ("rename:3", [0, 1]),  # before epoch 2 has its name
        ("sync:6", [0]),  # its files half-written
        ("metrics:3", [0, 2, 3]),  # all trained, the record not written
        ("end:2", [0, 2]),
    ],
)
def test_killed_and_resumed(moment: str, epochs_then: list[int], folder: Path, trained: Run) -> None:
    killed = subprocess.run([*SCRIPT, folder, moment], cwd=ROOT, capture_output=True, text=True, timeout=900)
    assert killed.returncode == -signal.SIGKILL, killed.stderr[-500:]
    run = open_run(folder)
    saved = checkpoint.epochs_saved(run.checkpoints)
    assert set(epochs_then) <= set(saved)
    assert saved[-1:] == epochs_then[-1:]
    loop.fit(run, accelerator="cpu")
    assert_ended_alike(run, trained)


@pytest.mark.parametrize("moment", [("step", 1, 1), ("step", 2, 3), ("end", 1)])
def test_interrupted_twice_in_the_same_process(moment: tuple, folder: Path, trained: Run) -> None:
    run = create_run(folder, trained.recipe)
    for _ in range(2):
        try:
            loop.fit(run, accelerator="cpu", callbacks=[tiny_runs.Stopper(moment, tiny_runs.interrupt)])
        except KeyboardInterrupt:
            assert checkpoint.latest_epoch(run.checkpoints) is not None
    loop.fit(run, accelerator="cpu")
    assert_ended_alike(run, trained)


def test_torch_keeps_its_threads_through_numbas_kernels(folder: Path, trained: Run) -> None:
    """Numba's kernels set torch's number of threads where both share an OpenMP; the numbers would hang on it."""
    code = (
        "import torch, sys; torch.set_num_threads(1);"
        "from tests.support import tiny_runs; tiny_runs.use_tiny_data();"
        "from snn_delays.training import loop, runlog; from pathlib import Path;"
        "loop.fit(runlog.create_run(Path(sys.argv[1]), tiny_runs.tiny_recipe()), accelerator='cpu');"
        "print(torch.get_num_threads())"
    )
    environment = {**os.environ, "NUMBA_NUM_THREADS": "2"}
    command = [sys.executable, "-c", code, str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=900, check=True)
    assert done.stdout.split() == ["1"]
    assert_ended_alike(open_run(folder), trained)


def test_resuming_a_finished_run_changes_nothing(folder: Path, trained: Run) -> None:
    before = {p: p.read_bytes() for p in trained.checkpoints.rglob("*") if p.is_file()}
    loop.fit(trained, accelerator="cpu")
    assert {p: p.read_bytes() for p in trained.checkpoints.rglob("*") if p.is_file()} == before


def test_canary_an_optimiser_that_forgot_is_seen(folder: Path, trained: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(folder, trained.recipe)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[tiny_runs.Stopper(("end", 1), tiny_runs.interrupt)])
    monkeypatch.setattr(checkpoint, "load_optimisation", lambda *_: None)
    loop.fit(run, accelerator="cpu")
    with pytest.raises(AssertionError):
        assert_ended_alike(run, trained)


def test_going_back_an_epoch_by_removing_the_last(folder: Path, trained: Run) -> None:
    shutil.copytree(trained.folder, folder)
    shutil.rmtree(folder / "checkpoints" / "epoch-0003")
    run = open_run(folder)
    if checkpoint.latest_epoch(run.checkpoints) == 0:  # the best epoch was the last
        assert trained.best_epoch() == 3
    loop.fit(run, accelerator="cpu")
    assert_ended_alike(run, trained)
