"""The networks of the zoo reach what their cards say, and damage is named."""

import hashlib
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

import snn_delays
from snn_delays.cli.app import app
from snn_delays.errors import CheckpointError
from snn_delays.runs import zoo as rooms
from snn_delays.runs.zoo import MOST_BYTES, zoo, zoo_file


@pytest.mark.parametrize("name", list(zoo()))
def test_a_card_says_what_evaluating_finds(name: str) -> None:
    card = zoo()[name]
    assert zoo_file(name).stat().st_size <= MOST_BYTES
    result = snn_delays.evaluate(f"zoo:{name}", on=card.subset)
    assert round(result[card.measure], 4) == card.subset_test
    assert card.subset or card.subset_test == card.test
    assert snn_delays.load(f"zoo:{name}").card.recipe.name == card.recipe


def test_an_unknown_name_is_answered_with_a_near_one() -> None:
    with pytest.raises(CheckpointError, match="did you mean 'shd-learned-delays'"):
        snn_delays.load("zoo:shd-learned-delay")


def test_a_damaged_file_or_card_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(rooms.zoo_folder(), tmp_path / "zoo")
    monkeypatch.setattr(rooms, "recipes_folder", lambda: tmp_path)
    weights = tmp_path / "zoo" / "shd-learned-delays.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    assert hashlib.sha256(content).hexdigest() != zoo()["shd-learned-delays"].sha256
    with pytest.raises(CheckpointError, match="not the file of its card"):
        snn_delays.load("zoo:shd-learned-delays")
    weights.with_suffix(".toml").write_text("recipe = 3\n")
    zoo.cache_clear()
    with pytest.raises(CheckpointError, match="no card of the zoo"):
        zoo()
    zoo.cache_clear()


def test_the_command_lists_the_zoo() -> None:
    result = CliRunner().invoke(app, ["zoo"])
    assert result.exit_code == 0, result.output
    assert "zoo:shd-learned-delays" in result.output
