"""A trained network is a value: opened from its file, without the data it was trained on."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import snn_delays
from snn_delays.errors import CheckpointError
from snn_delays.recipes.events import Recipe
from snn_delays.runs.load import discrete_network, load
from snn_delays.training import checkpoint, sources
from snn_delays.training.runlog import Run
from tests.support import tiny_runs


@pytest.fixture
def no_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any look for a data set fails."""

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("a data set was opened")

    monkeypatch.setattr(sources, "load_binned", never)


@pytest.fixture
def file(trained: Run, tmp_path: Path) -> Path:
    """The weights of the best epoch alone, far from their run."""
    path = tmp_path / "network.safetensors"
    shutil.copy(checkpoint.network_file(trained.checkpoints, trained.best_epoch()), path)
    return path


def with_metadata(path: Path, **changes: str | None) -> Path:
    with safe_open(path, framework="pt") as file:
        metadata = {**file.metadata(), **changes}
    save_file(load_file(path), path, {key: value for key, value in metadata.items() if value is not None})
    return path


@pytest.mark.usefixtures("no_data")
def test_the_file_alone_is_enough(file: Path, trained: Run) -> None:
    network = snn_delays.load(file)
    assert not network.training
    assert tiny_runs.same(dict(network.state_dict()), dict(load(trained.folder).state_dict()))
    card = network.card
    assert isinstance(card.recipe, Recipe)
    assert (card.recipe, card.epoch, card.dt_ms) == (trained.recipe, trained.best_epoch(), 10.0)
    assert (card.sensor, card.class_names) == ((12,), ("class 0", "class 1", "class 2", "class 3"))
    assert (card.source, card.checksum, card.vocabulary) == ("made up", "none-train", None)
    discrete = snn_delays.discretize(network)
    assert discrete.card == card
    x = torch.from_numpy(tiny_runs.tiny_data().batch(np.arange(8)).counts.numpy()).float()
    scores = discrete(x)[0]
    assert torch.equal(scores, discrete_network(trained)(x)[0])
    assert 0.02 < float(discrete.hidden1(x)[0].mean()) < 0.6


def test_other_epochs_of_a_run(trained: Run, file: Path) -> None:
    before = load(trained.folder, epoch=0)
    assert before.card.epoch == 0
    assert not tiny_runs.same(dict(before.state_dict()), dict(load(trained.folder).state_dict()))
    with pytest.raises(CheckpointError, match="epoch-0077"):
        load(trained.folder, epoch=77)
    with pytest.raises(CheckpointError, match="is of one epoch"):
        load(file, epoch=1)


@pytest.mark.usefixtures("no_data")
def test_an_old_dense_checkpoint_tells_its_sensor_by_its_weights(file: Path, trained: Run) -> None:
    network = load(with_metadata(file, format="1", card=None))
    assert (network.card.sensor, network.card.class_names) == ((12,), ())
    assert tiny_runs.same(dict(network.state_dict()), dict(load(trained.folder).state_dict()))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "3"}, "a checkpoint of format 3; this version reads 1 and 2"),
        ({"format": None}, "its metadata lack or spoil 'format'"),
        ({"recipe": "name = "}, "not valid TOML"),
        ({"recipe": "base = '/dev/zero'"}, "unknown key 'base'"),
        ({"card": "{"}, "lack or spoil"),
        ({"card": "[]"}, "lack or spoil"),
        ({"card": json.dumps({"sensor": ["wide"]})}, "lack or spoil"),
        ({"card": json.dumps({"sensor": [13], "class_names": ["a"] * 4})}, "is of another network"),
        ({"epoch": "last"}, "lack or spoil"),
    ],
)
def test_a_card_that_is_none(changes: dict[str, str | None], says: str, file: Path) -> None:
    with pytest.raises(CheckpointError, match=says) as caught:
        load(with_metadata(file, **changes))
    assert str(file) in str(caught.value)


def test_files_of_others(tmp_path: Path, file: Path) -> None:
    with pytest.raises(CheckpointError, match="no run folder"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match="cannot read"):
        load(tmp_path / "nothing.safetensors")
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(CheckpointError, match="cannot read"):
        load(file)
