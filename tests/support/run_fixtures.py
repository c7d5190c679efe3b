"""Runs of made-up events and of made-up text."""

from pathlib import Path

import pytest

from snn_delays.runs import samples
from snn_delays.training import engine as loop
from snn_delays.training import sources
from snn_delays.training.runlog import Run, create_run
from tests.support import tiny_runs
from tests.support.tiny_texts import fitted, language_recipe, text_file


@pytest.fixture(autouse=True)
def made_up_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training reads made-up data and fails if it opens test data; a test on real data undoes this."""
    monkeypatch.setattr(sources, "load_binned", tiny_runs.fake_load)
    monkeypatch.setattr(samples, "load_binned", tiny_runs.fake_load_any)


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny recipe, trained to the end without interruption."""
    run = create_run(tmp_path_factory.mktemp("trained") / "run", tiny_runs.tiny_recipe())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sources, "load_binned", tiny_runs.fake_load)
        loop.fit(run, accelerator="cpu")
    return run


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made-up text as a file; a module that writes beside it disturbs no other."""
    return text_file(tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """The tiny recipe of a language model, trained to the end without interruption."""
    return fitted(tmp_path_factory.mktemp("finished") / "run", language_recipe(corpus))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "run"
