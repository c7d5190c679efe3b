"""Checkpoints: one folder an epoch, written whole or not at all, no pickles.

``epoch-0007/model.safetensors`` holds parameters and buffers with a :class:`NetworkCard` inside, ``optimiser.pt`` the
states of optimisers and schedules (read with ``weights_only=True``), ``progress.json`` the history up to that epoch.
``epoch-0000`` is the network before training. The folder appears under its name by one rename, so a
run killed at any moment has its last finished epoch intact.
"""

import io
import json
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from snn_delays.errors import CheckpointError
from snn_delays.files import sync
from snn_delays.reading import open_regular
from snn_delays.training.card import NetworkCard
from snn_delays.training.optimise import Optimisation
from snn_delays.training.records import ProgressRecord, read_record

MODEL, OPTIMISER, PROGRESS = "model.safetensors", "optimiser.pt", "progress.json"
_PREFIX = "epoch-"
_REMEDY = "remove that epoch's folder to go back to an earlier one"


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    optimisation: Optimisation,
    progress: dict[str, Any],
    card: NetworkCard,
) -> Path:
    """Write the checkpoint of ``card.epoch``; older ones stay as they were.

    Raises CheckpointError if the disk refuses.
    """
    states = {
        kind: {name: part.state_dict() for name, part in getattr(optimisation, kind).items()}
        for kind in ("optimisers", "schedules")
    }
    buffer = io.BytesIO()
    torch.save(states, buffer)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    contents = {
        MODEL: save(tensors, card.to_metadata()),
        OPTIMISER: buffer.getvalue(),
        PROGRESS: json.dumps(progress, indent=1).encode(),
    }
    target = folder / f"{_PREFIX}{card.epoch:04d}"
    temporary = None
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=".writing-", dir=folder))
        for name, data in contents.items():
            (temporary / name).write_bytes(data)
            sync(temporary / name)
        if target.exists():
            shutil.rmtree(target)
        temporary.chmod(0o755)
        os.rename(temporary, target)
        sync(folder)
    except OSError as error:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        last = latest_epoch(folder)
        kept = f"the checkpoint of epoch {last} is intact" if last is not None else "there is no earlier checkpoint"
        raise CheckpointError(
            f"cannot write the checkpoint {target}: {error.strerror}; {kept}: make room and continue with --resume"
        ) from error
    return target


def epochs_saved(folder: Path) -> list[int]:
    """Epochs that have a checkpoint, ascending."""
    names = [p.name.removeprefix(_PREFIX) for p in folder.glob(f"{_PREFIX}*")] if folder.is_dir() else []
    return sorted(int(name) for name in names if name.isdecimal() and name.isascii() and f"{int(name):04d}" == name)


def latest_epoch(folder: Path) -> int | None:
    """The last epoch that has a checkpoint, or None."""
    epochs = epochs_saved(folder)
    return epochs[-1] if epochs else None


def prune(folder: Path, keep: set[int]) -> None:
    """Remove the checkpoints of all other epochs, and what a killed process left half-written."""
    for epoch in epochs_saved(folder):
        if epoch not in keep:
            shutil.rmtree(folder / f"{_PREFIX}{epoch:04d}")
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def read_progress(folder: Path, epoch: int) -> dict[str, Any]:
    """History stored with the checkpoint of an epoch."""
    return read_progress_file(folder / f"{_PREFIX}{epoch:04d}" / PROGRESS)


def read_progress_file(path: Path) -> dict[str, Any]:
    """History in a ``progress.json``. Raises CheckpointError naming the key that is damaged."""
    try:
        return read_record(path, ProgressRecord, _REMEDY)
    except FileNotFoundError:
        raise CheckpointError(f"cannot read {path}: it is missing; {_REMEDY}") from None


def network_file(folder: Path, epoch: int) -> Path:
    """Where an epoch's parameters and buffers are."""
    return folder / f"{_PREFIX}{epoch:04d}" / MODEL


def read_network(path: Path) -> tuple[dict[str, Tensor], NetworkCard]:
    """Parameters and buffers of a file by name, and its card. Raises CheckpointError if it is missing or damaged."""
    try:
        open_regular(path).close()
        with safetensors.safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
        return load_file(path), NetworkCard.from_metadata(metadata, path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"cannot read {path}: {error}; in a run folder, {_REMEDY}") from error


def load_network(folder: Path, epoch: int, network: nn.Module) -> None:
    """Read parameters and buffers into a network of the same recipe.

    Raises CheckpointError if the file is missing, damaged or of another network.
    """
    path = network_file(folder, epoch)
    load_tensors(network, read_network(path)[0], path)


def load_tensors(network: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Put parameters and buffers read from ``path`` into a network. Raises CheckpointError where they do not fit."""
    try:
        network.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} is of another network: {error}") from error


def fingerprint_in(path: Path) -> str | None:
    """Fingerprint of the vocabulary that a checkpoint of format 1 names, whose vocabulary is in its progress.json."""
    with safetensors.safe_open(path, framework="pt") as file:
        return (file.metadata() or {}).get("vocabulary")


def load_optimisation(folder: Path, epoch: int, optimisation: Optimisation) -> None:
    """Read the states of optimisers, and bring the schedules to where they were, by the plan of this recipe.

    Learning rates, momenta and decays are those of the schedules and optimisers given, not of the file: a run may be
    continued with other rates or more epochs. Raises CheckpointError if the file is missing or damaged.
    """
    path = folder / f"{_PREFIX}{epoch:04d}" / OPTIMISER
    try:
        with open_regular(path) as file:
            states = torch.load(file, map_location="cpu", weights_only=True)
        for name, optimiser in optimisation.optimisers.items():
            _go_on(optimisation.schedules[name], states["schedules"][name]["last_epoch"])
            planned = [{k: v for k, v in group.items() if k != "params"} for group in optimiser.param_groups]
            optimiser.load_state_dict(states["optimisers"][name])
            for group, plan in zip(optimiser.param_groups, planned):
                group.update(plan)
    except Exception as error:  # torch.load reports a damaged file by a dozen types, some with unsafe advice
        raise CheckpointError(
            f"cannot read {path}: it is missing or damaged ({type(error).__name__}); {_REMEDY}"
        ) from error


def _go_on(schedule: LRScheduler, steps: int) -> None:
    """Move a schedule forward to where it is after so many steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that no optimiser step came before
        for _ in range(steps - schedule.last_epoch):
            schedule.step()
