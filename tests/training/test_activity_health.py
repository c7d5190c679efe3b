"""Populations that never fire, or always do, are named, with the keys to turn."""

import warnings
from pathlib import Path

import pytest

from snn_delays.training import activity
from snn_delays.training import engine as loop
from snn_delays.training.progress import describe
from snn_delays.training.runlog import create_run
from tests.support import tiny_runs
from tests.support.tiny_texts import language_recipe


def test_names_by_rate() -> None:
    rates = {"hidden1": 0.0, "hidden2": 0.2, "hidden3": 0.995, "hidden4": 1.0, "hidden5": 1e-6}
    found = activity.silent_and_saturated(rates)
    assert found == {"silent": "hidden1", "saturated": "hidden3 hidden4"}
    assert activity.silent_and_saturated({"hidden1": 0.3}) == {"silent": "", "saturated": ""}


def test_a_silent_layer_is_named_in_the_line_and_warned_of_once(folder: Path) -> None:
    run = create_run(folder, tiny_runs.tiny_recipe(model={"threshold": 1000.0}))
    with pytest.warns(UserWarning, match="hidden1 never fired") as caught:
        loop.fit(run, accelerator="cpu")
    (text,) = {str(w.message) for w in caught if "never fired" in str(w.message)}
    assert sum("never fired" in str(w.message) for w in caught) == 1  # of three epochs
    assert "lower model.threshold (now 1000) or raise model.tau_mem_ms (now 20)" in text
    rows = run.progress()["history"]
    assert [row["silent"] for row in rows] == ["hidden1"] * 3
    assert "silent: hidden1" in describe(rows[-1])


def test_layers_that_fire_are_no_news(folder: Path) -> None:
    run = create_run(folder, tiny_runs.tiny_recipe())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop.fit(run, accelerator="cpu")
    rows = run.progress()["history"]
    assert all(row["rate_hidden1"] > 0.02 and not row["silent"] and not row["saturated"] for row in rows)
    assert "silent" not in describe(rows[-1])


def test_saturated_layers_and_those_of_text_have_their_own_advice(tmp_path: Path) -> None:
    row = {"epoch": 4, "silent": "", "saturated": "hidden2"}
    message = activity.warning([row], tiny_runs.tiny_recipe())
    assert message is not None
    assert "epoch 4: hidden2 fired in at least 99% of all steps" in message
    assert "raise model.threshold" in message
    message = activity.warning([{**row, "silent": "block0.time"}], language_recipe(tmp_path))
    assert message is not None
    assert "block0.time never fired; hidden2 fired" in message
    assert "training.lr" in message
    assert activity.warning([{"epoch": 1}], tiny_runs.tiny_recipe()) is None  # an epoch of a version before
