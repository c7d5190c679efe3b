"""`python -m experiments.studies`: what is done is skipped, a failure does not stop the rest."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

from experiments.studies import __main__ as runner


def test_every_study_is_a_script() -> None:
    for name in runner.STUDIES:
        assert callable(importlib.import_module(f"experiments.studies.{name}").main)


def test_done_studies_are_skipped_and_failures_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    calls = []

    def run(command: list[str]) -> subprocess.CompletedProcess:
        calls.append(command[2])
        return subprocess.CompletedProcess(command, int(command[2].endswith("planted_delays")))

    monkeypatch.setattr(subprocess, "run", run)
    monkeypatch.setattr(sys, "argv", ["studies"])
    done = tmp_path / runner.OUT / runner.STUDIES["augmentation_gallery"][0]
    done.mkdir(parents=True)
    with pytest.raises(SystemExit, match="failed: planted_delays"):
        runner.main()
    assert calls == [f"experiments.studies.{name}" for name in runner.STUDIES if name != "augmentation_gallery"]
    assert "augmentation_gallery: done" in capsys.readouterr().out
