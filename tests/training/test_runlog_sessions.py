"""What a run records of program, machine, time and memory, over all processes that trained it."""

import json
import subprocess
from pathlib import Path

import pytest

import snn_delays
from snn_delays.runs.evaluate import evaluate
from snn_delays.training import engine, runlog
from snn_delays.training.runlog import Run, create_run, open_run
from tests.support import ROOT, tiny_runs


def test_every_run_records_where_and_how_it_was_trained(trained: Run) -> None:
    progress, environment = trained.progress(), json.loads((trained.folder / "environment.json").read_text())
    (session,) = progress["sessions"]
    assert session["revision"] == environment["revision"] == runlog.revision()
    assert session["device"].startswith("cpu, ")
    assert (session["processes"], session["torch_threads"]) == (1, 1)
    assert sum(row["seconds"] for row in progress["history"]) <= session["seconds"] < 600
    assert 50 < session["peak_memory_mib"] < 1e5
    assert environment["packages"]["torch"]
    assert trained.recipe.seed == 3
    assert progress["checksum"] == "none-train"
    result = evaluate(trained)
    assert (result["training_data_sha256"], result["sessions"]) == ("none-train", progress["sessions"])


def test_a_run_that_was_interrupted_has_a_session_for_each_process(folder: Path) -> None:
    run = create_run(folder, tiny_runs.tiny_recipe())
    with pytest.raises(KeyboardInterrupt):
        engine.fit(run, accelerator="cpu", callbacks=[tiny_runs.Stopper(("step", 3, 1), tiny_runs.interrupt)])
    first = run.progress()["sessions"]
    engine.fit(run, accelerator="cpu")
    both = open_run(folder).progress()["sessions"]
    assert both[:1] == first
    assert len(both) == 2
    engine.fit(run, accelerator="cpu")  # nothing left to train
    assert open_run(folder).progress()["sessions"] == both


def test_the_revision_is_that_of_the_checkout() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not in a checkout")
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert (runlog.revision() or "").rstrip("+") == head.strip()


def test_outside_of_a_checkout_there_is_no_revision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(snn_delays, "__file__", str(tmp_path / "snn_delays" / "__init__.py"))
    assert runlog.revision.__wrapped__() is None
    (tmp_path / ".git").mkdir()  # that git does not know
    assert runlog.revision.__wrapped__() is None
