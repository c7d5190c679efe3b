"""The whole path on the spoken digits that come with the package, made small."""

from pathlib import Path

import pytest

from snn_delays.data.loaders import load_binned
from snn_delays.recipes.files import load_recipe
from snn_delays.runs import evaluate, samples
from snn_delays.training import engine as loop
from snn_delays.training import sources
from snn_delays.training.runlog import create_run

SMALL = (
    "data.dt_ms=20", "data.channel_group=10", "data.tail_steps=6", "model.hidden=[32]", "model.tau_mem_ms=20.1",
    "model.max_delay_ms=120", "training.epochs=5", "training.batch_size=32", "training.max_lr_weight=0.02",
)  # fmt: skip


def test_the_bundled_digits_are_learned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(sources, "load_binned", load_binned)
    monkeypatch.setattr(samples, "load_binned", load_binned)
    run = create_run(tmp_path / "run", load_recipe("demo", SMALL))
    loop.fit(run, accelerator="cpu")
    assert all(0.02 < row["rate_hidden1"] < 0.6 for row in run.progress()["history"])
    result = evaluate.evaluate(run)
    assert result["data"] == "SHD-regenerated (bundled subset)"
    assert result["test_samples"] == 300
    assert result["test_accuracy_known_speakers"] is None  # nobody speaks in both parts
    assert result["test_accuracy_unseen_speakers"] == result["test_accuracy"]
    assert result["test_accuracy"] > 0.3  # chance is 0.05
    assert abs(result["test_accuracy"] - result["test_accuracy_real_delays"]) < 0.1
