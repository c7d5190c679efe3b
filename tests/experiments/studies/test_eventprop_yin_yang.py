"""Yin-Yang in continuous time: what a run measures, what the table says, and that a study goes on where it was."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.studies import eventprop_yin_yang as study
from snn_delays.runs.results import read_results


def small(samples: int = 400) -> dict[str, study.Split]:
    return {split: study.load(split, samples) for split in ("train", "valid", "test")}


def test_samples_are_times_of_four_spikes() -> None:
    times, labels = study.load("valid", 30)
    assert times.shape == (30, 4, 1)
    torch.testing.assert_close(times[:, 0] + times[:, 2], torch.full((30, 1), 22.0).double(), atol=2e-3, rtol=0)
    assert labels.bincount().min() > 3


def test_it_learns_in_a_few_epochs() -> None:
    data = small(1000)
    run = study.train("learned", 0, data, epochs=6)
    assert run["valid_accuracy"] > 0.6
    assert run["test_accuracy_real_delays"] > 0.55
    assert run["parameters"] == 2 * (4 * 30 + 30 * 3)
    assert 0.3 < run["spikes"] < 10
    assert study.train("none", 0, small(100), epochs=1)["parameters"] == 4 * 30 + 30 * 3


def made_up(delays: str, seed: int) -> dict[str, Any]:
    share = {"learned": 0.9, "fixed": 0.8, "none": 0.7}[delays] + seed / 100
    numbers = ("valid_accuracy", "test_accuracy", "test_accuracy_real_delays", "training_minutes", "spikes")
    row = {"run": "eventprop_yin_yang", "data": "yin-yang", "delays": delays, "hidden": "30", "seed": seed}
    return {**row, "parameters": 7, "epochs": 1, "silent": 2, "readout": "as trained", **dict.fromkeys(numbers, share)}


def test_a_study_takes_what_is_there_and_writes_its_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folder, page, rows = tmp_path / "found", tmp_path / "page.md", tmp_path / "results.csv"
    folder.mkdir()
    for delays in study.DELAYS:
        for seed in range(2):
            (folder / f"{delays}_{seed}.json").write_text(json.dumps(made_up(delays, seed)))
    page.write_text("<!-- yin-yang -->\n<!-- /yin-yang -->\n")
    given = ["study", str(tmp_path / "found.md"), "--seeds", "2", "--append", str(rows), "--write", str(page)]
    monkeypatch.setattr(sys, "argv", given)
    study.main()
    line = "| learned | 7 | 2 | 90.5 (90.0 to 91.0) | 90.5 (90.0 to 91.0) | 90.5 (90.0 to 91.0) | 0.9 | 2.0 | 0.9 |"
    gain = "+10.0 (+10.0 to +10.0) points over fixed and +20.0 (+20.0 to +20.0) points over none"
    for text in (page.read_text(), (tmp_path / "found.md").read_text(), capsys.readouterr().out):
        assert line in text
        assert gain in text
    assert [row["delays"] for row in read_results(rows)] == [*study.DELAYS, *study.DELAYS]
