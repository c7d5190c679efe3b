"""Checkpoints are written whole or not at all, and a damaged one is named."""

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open

from snn_delays import files
from snn_delays.errors import CheckpointError
from snn_delays.reading import parse_toml
from snn_delays.recipes.build import network_for
from snn_delays.recipes.files import parse_recipe
from snn_delays.training import checkpoint, runlog
from snn_delays.training import engine as loop
from snn_delays.training.checkpoint import NetworkCard
from snn_delays.training.optimise import Optimisation, optimise
from snn_delays.training.runlog import Run, create_run
from tests.support import ROOT, tiny_runs


def parts() -> tuple[Any, Optimisation]:
    recipe = tiny_runs.tiny_recipe()
    network = network_for(recipe, tiny_runs.tiny_data())
    optimisation = optimise(recipe.training, network, 3)
    for p in network.parameters():
        p.grad = torch.randn_like(p)
    for optimiser in optimisation.optimisers.values():
        optimiser.step()
    for schedule in optimisation.schedules.values():
        schedule.step()
    return network, optimisation


def progress_at(epoch: int) -> dict[str, Any]:
    rows = [{"epoch": i + 1, "seconds": 1.0, "train_loss": 1.0, "valid_loss": 1.0} for i in range(epoch)]
    return {"history": rows, "best_epoch": epoch, "source": "made up", "checksum": "none"}


def save(folder: Path, epoch: int) -> tuple[Any, Optimisation]:
    network, optimisation = parts()
    card = NetworkCard(tiny_runs.tiny_recipe(), epoch)
    checkpoint.save_checkpoint(folder, network, optimisation, progress_at(epoch), card)
    return network, optimisation


def flat(value: Any) -> list[Any]:
    """A state's numbers, tensors as lists."""
    if isinstance(value, torch.Tensor):
        return value.flatten().tolist()
    if isinstance(value, dict):
        return [x for key in value for x in flat(value[key])]
    if isinstance(value, list | tuple):
        return [x for item in value for x in flat(item)]
    return [value]


def state(optimisation: Optimisation) -> list[Any]:
    every = [*optimisation.optimisers.values(), *optimisation.schedules.values()]
    return [x for part in every for x in flat(part.state_dict()) if not callable(x)]


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    network, optimisation = save(tmp_path, 7)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0007"]
    other, others = parts()
    assert state(others) != state(optimisation)
    checkpoint.load_network(tmp_path, 7, other)
    checkpoint.load_optimisation(tmp_path, 7, others)
    assert state(others) == state(optimisation)
    for name, tensor in network.state_dict().items():
        assert torch.equal(other.state_dict()[name], tensor), name
    assert checkpoint.read_progress(checkpoint.epoch_folder(tmp_path, 7)) == progress_at(7)


def test_the_recipe_is_inside(trained: Run) -> None:
    with safe_open(trained.checkpoints / "epoch-0003" / checkpoint.MODEL, "pt") as file:
        metadata = file.metadata()
    assert metadata["epoch"] == "3"
    assert parse_recipe(parse_toml(metadata["recipe"]), "inside") == trained.recipe


def test_no_pickled_code_is_run(tmp_path: Path) -> None:
    save(tmp_path, 1)

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "harm"),)

    torch.save({"optimisers": Harm()}, tmp_path / "epoch-0001" / checkpoint.OPTIMISER)
    with pytest.raises(CheckpointError, match=r"optimiser\.pt"):
        checkpoint.load_optimisation(tmp_path, 1, parts()[1])
    assert not (tmp_path / "harm").exists()


LOADERS: dict[str, Callable[[Path], Any]] = {
    checkpoint.MODEL: lambda folder: checkpoint.load_network(folder, 1, parts()[0]),
    checkpoint.OPTIMISER: lambda folder: checkpoint.load_optimisation(folder, 1, parts()[1]),
    checkpoint.PROGRESS: lambda folder: checkpoint.read_progress(checkpoint.epoch_folder(folder, 1)),
}


@pytest.mark.parametrize("damage", ["half", "empty", "missing", "noise"])
@pytest.mark.parametrize("name", list(LOADERS))
def test_damaged_files_are_named(name: str, damage: str, tmp_path: Path) -> None:
    save(tmp_path, 1)
    LOADERS[name](tmp_path)
    path = tmp_path / "epoch-0001" / name
    content = path.read_bytes()
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes({"half": content[: len(content) // 2], "empty": b"", "noise": b"\xff" * 300}[damage])
    with pytest.raises(CheckpointError, match=rf"cannot read .*epoch-0001/{name}.*go back to an earlier one"):
        LOADERS[name](tmp_path)


def test_the_checkpoint_of_another_network_is_refused(tmp_path: Path) -> None:
    save(tmp_path, 1)
    other = network_for(tiny_runs.tiny_recipe(model={"hidden": [9]}), tiny_runs.tiny_data())
    with pytest.raises(CheckpointError, match=r"model\.safetensors is of another network"):
        checkpoint.load_network(tmp_path, 1, other)


class FullDisk:
    """Fails with ENOSPC from its n-th call on."""

    def __init__(self, real: Callable[..., Any], call: int) -> None:
        self.real, self.left = real, call

    def __get__(self, owner: Any, kind: Any = None) -> Callable[..., Any]:
        return lambda *args, **kwargs: self(owner, *args, **kwargs)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.left -= 1
        if self.left <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return self.real(*args, **kwargs)


@pytest.mark.parametrize("call", [1, 2, 3])
@pytest.mark.parametrize("where", ["write", "sync", "mkdtemp", "rename"])
def test_a_full_disk_leaves_the_checkpoint_before(
    where: str, call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where in ("mkdtemp", "rename") and call > 1:
        pytest.skip("called once")
    network, _ = save(tmp_path, 1)
    owner, name = {
        "write": (Path, "write_bytes"), "sync": (checkpoint, "sync"), "mkdtemp": (checkpoint.tempfile, "mkdtemp"),
        "rename": (checkpoint.os, "rename"),
    }[where]  # fmt: skip
    monkeypatch.setattr(owner, name, FullDisk(getattr(owner, name), call))
    with pytest.raises(CheckpointError, match=r"epoch-0002: No space left on device; the checkpoint of epoch 1 is int"):
        save(tmp_path, 2)
    monkeypatch.undo()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0001"]
    loaded = parts()[0]
    checkpoint.load_network(tmp_path, 1, loaded)
    for key, tensor in network.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)
    save(tmp_path, 2)
    assert checkpoint.epochs_saved(tmp_path) == [1, 2]


def test_the_first_checkpoint_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "sync", FullDisk(checkpoint.sync, 1))
    with pytest.raises(CheckpointError, match="there is no earlier checkpoint: make room"):
        save(tmp_path / "new", 0)


def test_a_file_really_refused_by_the_system(tmp_path: Path) -> None:
    """The kernel refuses files above a size: training stops with the error, and goes on with room again."""
    run = create_run(tmp_path / "run", tiny_runs.tiny_recipe())

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))

    code = "import sys; from tests.support import tiny_runs; tiny_runs.main(sys.argv[1], 'never')"
    command = [sys.executable, "-c", code, str(run.folder)]
    done = subprocess.run(command, cwd=ROOT, preexec_fn=limited, capture_output=True, text=True, timeout=900)
    assert done.returncode == 1
    assert "CheckpointError: cannot write the checkpoint" in done.stderr
    assert "File too large" in done.stderr
    assert checkpoint.epochs_saved(run.checkpoints) == [0]  # the optimisers had no states yet, it was small
    assert not list(run.checkpoints.glob(".*"))
    loop.fit(run, accelerator="cpu")
    assert len(run.progress()["history"]) == 3


def test_metrics_on_a_full_disk(trained: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = create_run(tmp_path / "run", trained.recipe)
    monkeypatch.setattr(runlog, "write_text", FullDisk(runlog.write_text, 2))
    with pytest.raises(CheckpointError, match=r"cannot write .*metrics\.csv: No space left on device"):
        loop.fit(run, accelerator="cpu")
    monkeypatch.setattr(runlog, "write_text", files.write_text)
    assert len((run.folder / "metrics.csv").read_text().splitlines()) == 2  # as it was after epoch 1
    loop.fit(run, accelerator="cpu")
    assert len((run.folder / "metrics.csv").read_text().splitlines()) == 4


def test_pruning_keeps_what_is_asked_and_clears_leftovers(tmp_path: Path) -> None:
    for epoch in (0, 1, 2, 3):
        (tmp_path / f"epoch-{epoch:04d}").mkdir()
        (tmp_path / f"epoch-{epoch:04d}" / "x").touch()
    (tmp_path / ".writing-abc").mkdir()
    (tmp_path / ".writing-abc" / checkpoint.MODEL).touch()
    (tmp_path / "epoch-notes").mkdir()
    checkpoint.prune(tmp_path, {0, 2})
    assert sorted(p.name for p in tmp_path.iterdir()) == ["epoch-0000", "epoch-0002", "epoch-notes"]
    assert checkpoint.epochs_saved(tmp_path) == [0, 2]
    assert checkpoint.latest_epoch(tmp_path / "nowhere") is None


def test_atomic_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "sub" / "file"
    files.write_text(path, "one")
    assert path.read_text() == "one"
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()
    monkeypatch.setattr(files, "sync", FullDisk(files.sync, 1))
    with pytest.raises(OSError, match="No space"):
        files.write_text(path, "two")
    assert path.read_text() == "one"
    with pytest.raises(KeyboardInterrupt):
        _interrupted(path)
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert path.read_text() == "one"


def _interrupted(path: Path) -> None:
    with files.atomic_path(path) as temporary:
        temporary.write_text("half")
        raise KeyboardInterrupt


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
