"""The run folder: recipe, metrics, environment, checkpoints, figures, evaluation."""

import csv
import io
import json
import platform
import resource
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import snn_delays
from snn_delays.data.catalogue.lookup import file_name_of
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.files import alone_in, write_text
from snn_delays.messages import command
from snn_delays.recipes.files import load_recipe, to_toml
from snn_delays.recipes.keys import MAY_CHANGE, check_changes, differences, refuse_unused
from snn_delays.recipes.registry import task_of
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.training.checkpoint import (
    NetworkCard,
    epoch_folder,
    latest_epoch,
    network_file,
    read_network,
    read_progress,
    writing,
)


@dataclass(frozen=True)
class State:
    """A run as one of its checkpoints left it: history and best epoch, and the network of that epoch."""

    progress: dict[str, Any]
    tensors: dict[str, Tensor]
    card: NetworkCard


@dataclass(frozen=True)
class Run:
    """A folder that holds one training run, and the recipe it was made with, of whichever task."""

    folder: Path
    recipe: Any
    state: State | None = field(default=None, compare=False, repr=False)

    @property
    def task(self) -> Any:
        """The :class:`snn_delays.training.task.Task` of the recipe, its data not opened."""
        return task_of(self.recipe)

    def own(self, *names: str) -> Path:
        """A folder within the run's. Raises CheckpointError for a link, which may lead what is written elsewhere."""
        for i in range(len(names)):
            if (path := self.folder.joinpath(*names[: i + 1])).is_symlink():
                raise CheckpointError(
                    f"{path} is a link to {path.readlink()}; a run keeps its files in its own folder: remove the link, "
                    "or move the whole run and link its folder"
                )
        return self.folder.joinpath(*names)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.own("checkpoints")

    @property
    def figures(self) -> Path:
        """Folder of the pictures."""
        return self.own("figures")

    @property
    def evaluation(self) -> Path:
        """Record of ``evaluate``."""
        return self.evaluation_on(None)

    def evaluation_on(self, dataset: str | None) -> Path:
        """Record of ``evaluate`` on the test data of another data set than the recipe's."""
        return self.folder / (f"evaluation_{file_name_of(dataset)}.json" if dataset else "evaluation.json")

    def pinned(self) -> "Run":
        """The run with progress and best network of one moment in memory: a training beside replaces checkpoints."""
        while self.state is None:
            last = latest_epoch(self.checkpoints)
            try:
                progress = self.progress()
                tensors, card = self.network_after(progress["best_epoch"])
            except CheckpointError:
                if latest_epoch(self.checkpoints) == last:  # damaged, not removed meanwhile
                    raise
                continue
            for key, (trained, stated) in differences(card.recipe, self.recipe).items():
                if key not in MAY_CHANGE:
                    raise CheckpointError(
                        f"{network_file(self.checkpoints, card.epoch)} is of another network than recipe.toml: it was "
                        f"trained with {key} = {trained!r}, recipe.toml says {stated!r}; put the run's own recipe back"
                    )
            return replace(self, state=State(progress, tensors, card))
        return self

    def network_after(self, epoch: int) -> tuple[dict[str, Tensor], NetworkCard]:
        """Parameters and buffers after an epoch, and their card. Raises CheckpointError."""
        if self.state is not None and epoch == self.state.progress["best_epoch"]:
            return self.state.tensors, self.state.card
        return read_network(network_file(self.checkpoints, epoch))

    def progress(self) -> dict[str, Any]:
        """History, best epoch and data source up to the last checkpoint."""
        if self.state is not None:
            return self.state.progress
        epoch = latest_epoch(self.checkpoints)
        if epoch is None:
            raise CheckpointError(f"{self.folder} has no checkpoint yet; start it again: {self.resume_command()}")
        return read_progress(epoch_folder(self.checkpoints, epoch))

    def resume_command(self) -> str:
        """The command that continues the run."""
        return command("train", self.folder / "recipe.toml", "--resume", "--out", self.folder)

    def curves(self) -> dict[str, Any]:
        """The history for :func:`snn_delays.plot.learning_curves_figure`: what every epoch has, and the best epoch.

        Raises CheckpointError if no epoch was finished.
        """
        progress = self.progress()
        if not (history := progress["history"]):
            raise CheckpointError(f"{self.folder} has not finished an epoch; continue it: {self.resume_command()}")
        complete = [key for key in history[0] if all(row.get(key) is not None for row in history)]
        return {**{key: [row[key] for row in history] for key in complete}, "best_epoch": progress["best_epoch"]}

    def best_epoch(self) -> int:
        """Epoch that did best on validation; 0, the untrained network, if none was finished."""
        return int(self.progress()["best_epoch"])


def create_run(folder: Path, recipe: BaseRecipe) -> Run:
    """Make a run folder; nothing is written while another process is training in it.

    Raises CheckpointError if it holds a run already or is in use, ConfigError for keys of the recipe that would do
    nothing, or as the task's ``check``.
    """
    refuse_unused(recipe)
    with alone_in(folder):
        if latest_epoch(folder / "checkpoints") is not None:
            raise CheckpointError(
                f"{folder} holds a run already; continue it with --resume, or choose another with --out"
            )
        task_of(recipe).check(folder)  # before anything is written
        with writing(f"into {folder}", "choose another place with --out"):
            write_text(folder / "environment.json", json.dumps(environment(), indent=1))
            write_text(folder / "recipe.toml", to_toml(recipe))  # last: it is what makes the folder a run
    return Run(folder, recipe)


def forget_start(run: Run) -> None:
    """Remove what :func:`create_run` wrote of a run that came to no checkpoint."""
    if latest_epoch(run.checkpoints) is None:
        for name in ("recipe.toml", "environment.json"):
            (run.folder / name).unlink(missing_ok=True)
        if run.checkpoints.is_dir() and not any(run.checkpoints.iterdir()):
            run.checkpoints.rmdir()


def open_run(folder: Path | str, *tasks: str) -> Run:
    """Open a run folder. Raises CheckpointError if there is none, ConfigError if its task is none of ``tasks``."""
    folder = Path(folder)
    if not (folder / "recipe.toml").exists():
        raise CheckpointError(f"{folder} is no run folder: it has no recipe.toml; `snn-delays train RECIPE` makes one")
    recipe = load_recipe(folder / "recipe.toml", alone=True)
    if tasks and recipe.task not in tasks:
        raise ConfigError(f"{folder} holds a run of task {recipe.task!r}; this is for runs of {' or '.join(tasks)}")
    return Run(folder, recipe)


def resume_run(folder: Path, recipe: Any) -> Run:
    """Open a run folder to continue it, its recipe replaced where ``recipe`` has more epochs or other rates.

    The schedules of the new recipe hold from the epoch at which it takes over, as if the run had been started with it:
    a cosine or one-cycle over more epochs is at an earlier place in its fall, so that the learning rate may rise again.
    What came before stays as it was. A change that would raise sigma again is refused.

    Raises ConfigError if anything else differs, or a change would not go on from where the run is, and CheckpointError
    if another process is training there.
    """
    run = open_run(folder)
    changes = differences(run.recipe, recipe)
    check_changes(changes, folder)
    if not changes:
        return run
    old, new = run.recipe.training.epochs, recipe.training.epochs
    if new < old:
        raise ConfigError(
            f"{folder} is of {old} epochs, the recipe now says training.epochs = {new}; a run can be lengthened only: "
            f"resume with --set training.epochs={old} or more"
        )
    done = latest_epoch(run.checkpoints) or 0
    before, after = run.recipe.sigma_at(done), recipe.sigma_at(done)
    if before != after:
        annealing = run.recipe.annealing()
        raise ConfigError(
            f"with this recipe, taps would be {after:.3g} steps wide after epoch {done}, and they are {before:.3g}: "
            "annealing takes a part of all epochs unless training.sigma_epochs says how many; resume with --set "
            f"training.sigma_epochs={round(annealing.epochs) if annealing else 0} to keep its end"
        )
    active, later = run.recipe.sparsity_at(done), recipe.sparsity_at(done)
    if active != later:
        raise ConfigError(
            f"with this recipe, {later:.3g} of the delays would be inactive after epoch {done}, and {active:.3g} are: "
            "a mask takes a part of all epochs unless training.sparsity_epochs says how many; resume with --set "
            f"training.sparsity_epochs={old // 4}"
        )
    with alone_in(folder), writing(folder / "recipe.toml", "make room and resume again"):
        write_text(folder / "recipe.toml", to_toml(recipe))
    return Run(folder, recipe)


def write_metrics(run: Run, history: list[dict[str, Any]]) -> None:
    """Write ``metrics.csv``, a row an epoch; the last has all columns. Raises CheckpointError if the disk refuses."""
    if not history:
        return
    text, path = io.StringIO(), run.folder / "metrics.csv"
    writer = csv.DictWriter(text, list(history[-1]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(history)
    with writing(path, "the checkpoint is written: make room and continue with --resume"):
        write_text(path, text.getvalue())


def session(device: torch.device, processes: int) -> dict[str, Any]:
    """What a stretch of training in one process records, besides its seconds and memory: program, machine, device."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {
        "started": datetime.now(timezone.utc).isoformat(timespec="seconds"), "snn_delays": snn_delays.__version__,
        "revision": revision(), "torch": torch.__version__, "device": f"{device.type}, {name}",
        "processes": processes, "torch_threads": torch.get_num_threads(),
    }  # fmt: skip


def spent(since: float, device: torch.device) -> dict[str, float | None]:
    """Seconds since a moment of ``time.perf_counter``, and this process's peak memory and its device's, in MiB."""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    on_device = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "seconds": round(time.perf_counter() - since, 2),
        "peak_memory_mib": round(kib / (2**20 if sys.platform == "darwin" else 2**10), 1),
        "peak_device_memory_mib": on_device and round(on_device / 2**20, 1),
    }


@cache
def revision() -> str | None:
    """Commit of the checkout that the package is imported from, ``+`` where its files were changed; else None."""
    package = Path(snn_delays.__file__).resolve().parent
    if not (package.parent / ".git").exists():
        return None
    call = ["git", "-C", str(package.parent), "describe", "--always", "--abbrev=40", "--dirty=+", "--exclude=*"]
    try:
        return subprocess.run(call, capture_output=True, text=True, check=True, timeout=60).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def environment() -> dict[str, Any]:
    """Versions and machine, for the record."""

    def version(package: str) -> str | None:
        try:
            return metadata.version(package)
        except metadata.PackageNotFoundError:
            return None

    packages = ("torch", "numpy", "numba", "lightning-fabric", "tonic", "h5py", "nir")
    return {
        "snn_delays": snn_delays.__version__,
        "revision": revision(),
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "torch_threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "packages": {package: version(package) for package in packages},
    }
