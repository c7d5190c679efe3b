"""From a file of the user's own to a trained and evaluated network, through the commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from snn_delays import cli
from snn_delays.data import Events, Sample, load_binned
from snn_delays.data.formats.shd import write_shd_hdf5
from snn_delays.recipes.files import load_recipe, to_toml
from snn_delays.runs import samples
from snn_delays.training import sources
from tests.support import tiny_runs

LAG_US = (0, 60_000, 120_000)


def written(path: Path, n: int, seed: int, class_names=("up", "down", "stop")) -> Path:
    """Three classes distinguished by the lag between two groups of channels."""
    random, samples = np.random.default_rng(seed), []
    for i in range(n):
        start = int(random.integers(0, 30_000))
        t_us = np.repeat([start, start + LAG_US[i % 3]], 12) + random.integers(0, 9_000, 24)
        channel = np.concatenate([np.arange(12), 12 + np.arange(12)])
        order = np.argsort(t_us, kind="stable")
        samples.append(Sample(Events(t_us[order], channel[order], 24), i % 3, i % 2))
    write_shd_hdf5(path, samples, n, class_names)
    return path


def snn(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(cli.app, [str(word) for word in words])
    assert result.exit_code == code, result.output + result.stderr
    return result.stdout if code == 0 else result.stderr


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sources, "load_binned", load_binned)  # in the place of made-up data
    monkeypatch.setattr(samples, "load_binned", load_binned)
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "tiny.toml"
    path.write_text(to_toml(tiny_runs.tiny_recipe(training={"epochs": 1}, data={"channel_group": 1})))
    return path


def test_a_file_is_trained_on_and_evaluated_wherever_the_program_is_started(
    recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n, split in ((36, "train"), (12, "test")):
        written(tmp_path / "mine" / f"words_{split}.h5", n, n)
    written(tmp_path / "others_test.h5", 6, 3)
    snn("train", recipe, "--set", "data.dataset=mine/words_train.h5", "--out", tmp_path / "run", "--accelerator", "cpu")
    assert load_recipe(tmp_path / "run" / "recipe.toml").data.dataset == str(tmp_path / "mine" / "words_train.h5")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    snn("evaluate", tmp_path / "run")
    found = json.loads((tmp_path / "run" / "evaluation.json").read_text())
    assert (found["data"], found["test_samples"]) == ("words (own data)", 12)
    assert found["class_names"] == ["up", "down", "stop"]
    snn("evaluate", tmp_path / "run", "--on", "../others_test.h5")
    (also,) = (tmp_path / "run").glob("evaluation_others_test-*.json")
    found = json.loads(also.read_text())
    assert (found["data"], found["test_samples"]) == ("others (own data)", 6)
    assert found["test_accuracy_unseen_speakers"] is None  # nobody says that the numbers mean the same people


def test_what_has_no_test_part_or_other_classes_is_refused(recipe: Path, tmp_path: Path) -> None:
    mine = written(tmp_path / "mine.h5", 36, 0)
    snn("train", recipe, "--set", f"data.dataset={mine}", "--out", tmp_path / "run", "--accelerator", "cpu")
    assert "mine.h5 are for training: name its parts" in snn("evaluate", tmp_path / "run", code=2)
    other = written(tmp_path / "other_test.h5", 6, 3, ("a", "b", "c"))
    assert "other classes" in snn("evaluate", tmp_path / "run", "--on", other, code=2)
    assert "did you mean 'shd'?" in snn("evaluate", tmp_path / "run", "--on", "shdd", code=2)
    assert "did you mean 'shd'?" in snn("train", recipe, "--set", "data.dataset=shdd", code=2)
