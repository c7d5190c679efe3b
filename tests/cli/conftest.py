"""The command line on made-up data, in this process."""

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from snn_delays import cli
from snn_delays.recipes.files import to_toml
from snn_delays.runs import samples
from snn_delays.training import sources
from tests.support import tiny_runs

Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def made_up_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "load_binned", tiny_runs.fake_load)
    monkeypatch.setattr(samples, "load_binned", tiny_runs.fake_load_any)
    monkeypatch.setenv("SNN_DELAYS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("SNN_DELAYS_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(cli.console, "width", 200)


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.toml"
    path.write_text(to_toml(tiny_runs.tiny_recipe(training={"epochs": 2})))
    return path


@pytest.fixture
def snn() -> Run:
    """Run a command that succeeds; the result."""

    def run(*arguments: object) -> Result:
        result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
        assert result.exit_code == 0, result.stderr
        return result

    return run


@pytest.fixture
def refused() -> Callable[..., str]:
    """Run a command that fails as it should: exit code, one line on stderr; the line."""

    def run(*arguments: object, code: int = 2) -> str:
        result = CliRunner().invoke(cli.app, [str(a) for a in arguments])
        assert result.exit_code == code, result.stderr
        assert isinstance(result.exception, SystemExit)
        assert result.stderr.startswith("error: ")
        assert result.stderr.count("\n") == 1
        assert "Traceback" not in result.output
        return result.stderr

    return run
