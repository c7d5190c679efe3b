"""Language models and classifiers of sentences survive being killed, and a resumed run is one that was not cut."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from snn_delays.errors import CheckpointError
from snn_delays.runs.evaluate import evaluate
from snn_delays.training import checkpoint
from snn_delays.training import engine as loop
from snn_delays.training.runlog import Run, create_run, open_run
from tests.support import ROOT, tiny_texts
from tests.support.tiny_runs import Stopper, interrupt
from tests.support.tiny_texts import assert_ended_alike, fitted, language_recipe, resumed, tensors

# Counted from the start: an epoch's checkpoint takes 4 syncs and one rename, that of the untrained network too.
MOMENTS = {
    "language:step:3:1": [0, 2],  # amid the last
    "language:rename:3": [0, 1],  # before epoch 2 has its name
    "language:sync:6": [0],  # its files half-written
    "language:metrics:3": [0, 3],  # all trained, the record not written
    "sentences:step:2:1": [0, 1],
    "sentences:sync:10": [0, 1],
}


@pytest.fixture(scope="module")
def finished_sentences(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny recipe on sentences, trained to the end without interruption."""
    with pytest.MonkeyPatch.context() as patch:
        tiny_texts.use_made_up_sentences(patch)
        return fitted(tmp_path_factory.mktemp("sentences") / "run", tiny_texts.sentence_recipe())


@pytest.fixture(scope="module")
def killed(finished: Run, finished_sentences: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs, each killed at a moment."""
    folder = tmp_path_factory.mktemp("killed")
    for moment in MOMENTS:
        create_run(folder / moment, (finished if moment.startswith("language") else finished_sentences).recipe)
    done = subprocess.run(
        [sys.executable, "-m", tiny_texts.__name__, folder, *MOMENTS],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-500:]
    assert done.stdout.splitlines() == [f"{moment} {signal.SIGKILL:d}" for moment in MOMENTS], done.stderr[-500:]
    return folder


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_and_resumed(
    moment: str, killed: Path, finished: Run, finished_sentences: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_texts.use_made_up_sentences(monkeypatch)
    run = open_run(killed / moment)
    saved = checkpoint.epochs_saved(run.checkpoints)
    assert set(MOMENTS[moment]) <= set(saved)
    assert saved[-1:] == MOMENTS[moment][-1:]
    loop.fit(run, accelerator="cpu")
    assert_ended_alike(run, finished if moment.startswith("language") else finished_sentences)


@pytest.mark.parametrize("forgotten", ["nothing", "optimisers", "network"])
def test_canary_a_resumed_run_that_forgot_is_seen(
    forgotten: str, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = create_run(tmp_path / "run", finished.recipe)
    with pytest.raises(KeyboardInterrupt):
        loop.fit(run, accelerator="cpu", callbacks=[Stopper(("end", 1), interrupt)])
    loaders = {"nothing": [], "optimisers": ["load_optimisation"], "network": ["load_tensors"]}
    for name in loaders[forgotten]:
        monkeypatch.setattr(checkpoint, name, lambda *_: None)
    loop.fit(run, accelerator="cpu")
    if forgotten == "nothing":
        assert_ended_alike(run, finished)
    else:
        with pytest.raises(AssertionError):
            assert_ended_alike(run, finished)


@pytest.mark.parametrize("precision", ["bf16-mixed", "64-true"])
def test_other_precisions_train_resume_and_evaluate(precision: str, finished: Run, tmp_path: Path) -> None:
    training = {**finished.recipe.training.model_dump(), "epochs": 2, "precision": precision}
    recipe = language_recipe(Path(finished.recipe.data.corpus), training=training)
    whole, cut = fitted(tmp_path / "whole", recipe), resumed(tmp_path / "cut", recipe)
    assert_ended_alike(cut, whole)
    kinds = {t.dtype for t in tensors(whole).values() if t.is_floating_point()}
    assert kinds == {torch.float64 if precision == "64-true" else torch.float32}
    ours, theirs = (r.progress()["history"][0]["valid_loss"] for r in (whole, finished))
    assert ours != theirs
    assert ours == pytest.approx(theirs, abs=0.2)
    assert evaluate(whole)["test_bits_per_byte"] == pytest.approx(evaluate(cut)["test_bits_per_byte"], abs=0)


def test_an_epoch_on_a_full_disk_leaves_the_one_before(
    finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, real, calls = create_run(tmp_path / "run", finished.recipe), checkpoint.sync, []

    def full(path: Path) -> None:
        calls.append(path)
        if len(calls) > 10:  # two checkpoints take 4 each
            raise OSError(28, "No space left on device")
        real(path)

    monkeypatch.setattr(checkpoint, "sync", full)
    with pytest.raises(CheckpointError, match=r"epoch-0002: No space left on device; the checkpoint of epoch 1 is int"):
        loop.fit(run, accelerator="cpu")
    monkeypatch.undo()
    assert checkpoint.epochs_saved(run.checkpoints) == [0, 1]
    loop.fit(run, accelerator="cpu")
    assert_ended_alike(run, finished)
