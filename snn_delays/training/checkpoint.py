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
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from snn_delays.data.text import vocabulary_from_json
from snn_delays.data.text.vocabulary import Vocabulary
from snn_delays.errors import CheckpointError, SnnDelaysError
from snn_delays.files import sync
from snn_delays.reading import open_regular, parse_json
from snn_delays.recipes.files import recipe_from_toml, to_toml
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.training.optimise import Optimisation
from snn_delays.training.records import ProgressRecord, read_record

FORMAT = "2"  # 1 had the recipe alone
MODEL, OPTIMISER, PROGRESS = "model.safetensors", "optimiser.pt", "progress.json"
_PREFIX = "epoch-"
_REMEDY = "remove that epoch's folder to go back to an earlier one"


@dataclass(frozen=True)
class NetworkCard:
    """What a network takes, what it returns, and what it was trained on; kept in the file of the weights.

    Attributes:
        recipe: every setting of the training.
        epoch: after which the weights were saved; 0 before training.
        source, checksum: the training data, and their file's sha256.
        sensor: shape of one step of the input; empty for text.
        class_names: of the outputs; empty where the outputs are no classes, or not known.
        vocabulary: tokens of text; None for events.
        network_class: name of the class of a network of your own; empty where the recipe describes the network.
    """

    recipe: BaseRecipe
    epoch: int
    source: str = ""
    checksum: str = ""
    sensor: tuple[int, ...] = ()
    class_names: tuple[str, ...] = ()
    vocabulary: Vocabulary | None = None
    network_class: str = ""

    @property
    def dt_ms(self) -> float | None:
        """Length of a time step in milliseconds; None for text."""
        return getattr(self.recipe.data, "dt_ms", None)  # type: ignore[attr-defined]

    def to_metadata(self) -> dict[str, str]:
        """As text, the form in which safetensors keeps it."""
        data = {field.name: getattr(self, field.name) for field in fields(self)[2:]}
        data["vocabulary"] = self.vocabulary and self.vocabulary.to_json()
        return {"format": FORMAT, "epoch": str(self.epoch), "recipe": to_toml(self.recipe), "card": json.dumps(data)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str], path: Path) -> "NetworkCard":
        """The card in a file's metadata. Raises CheckpointError naming the file for what is none."""
        try:
            number = metadata["format"]
            if number not in ("1", FORMAT):
                raise CheckpointError(f"{path} is a checkpoint of format {number}; this version reads 1 and {FORMAT}")
            data = parse_json(metadata.get("card", "{}"))
            vocabulary = data.get("vocabulary")
            return cls(
                recipe_from_toml(metadata["recipe"], str(path)),
                int(metadata["epoch"]),
                sensor=tuple(int(size) for size in data.get("sensor", ())),
                class_names=tuple(str(name) for name in data.get("class_names", ())),
                vocabulary=vocabulary and vocabulary_from_json(vocabulary),
                **{name: str(data.get(name, "")) for name in ("source", "checksum", "network_class")},
            )
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} holds no network of snn_delays: its metadata lack or spoil {error}; `snn-delays train` writes "
                "such files"
            ) from error
        except SnnDelaysError as error:
            raise CheckpointError(f"{path}: {error}") from error


@contextmanager
def writing(what: object, remedy: str) -> Iterator[None]:
    """Raise CheckpointError with the remedy if the disk refuses what the block writes."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(f"cannot write {what}: {error.strerror}; {remedy}") from error


def states_of(optimisation: Optimisation) -> dict[str, Any]:
    """States of optimisers and schedules, by kind and name."""
    return {
        kind: {name: part.state_dict() for name, part in getattr(optimisation, kind).items()}
        for kind in ("optimisers", "schedules")
    }


def save_checkpoint(
    folder: Path,
    network: nn.Module,
    optimisation: Optimisation | dict[str, Any],
    progress: dict[str, Any],
    card: NetworkCard,
) -> Path:
    """Write the checkpoint of ``card.epoch``; older ones stay as they were. ``optimisation``: or its :func:`states_of`.

    Raises CheckpointError if the disk refuses.
    """
    states = states_of(optimisation) if isinstance(optimisation, Optimisation) else optimisation
    buffer = io.BytesIO()
    torch.save(states, buffer)
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    contents = {
        MODEL: save(tensors, card.to_metadata()),
        OPTIMISER: buffer.getvalue(),
        PROGRESS: json.dumps(progress, indent=1).encode(),
    }
    target = epoch_folder(folder, card.epoch)
    last = max((epoch for epoch in epochs_saved(folder) if epoch != card.epoch), default=None)
    kept = "there is no earlier checkpoint" if last is None else f"the checkpoint of epoch {last} is intact"
    with writing(f"the checkpoint {target}", f"{kept}: make room and continue with --resume"):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".writing-", dir=folder, ignore_cleanup_errors=True) as path:
            temporary = Path(path)
            for name, data in contents.items():
                (temporary / name).write_bytes(data)
                sync(temporary / name)
            if target.exists():
                shutil.rmtree(target)
            temporary.chmod(0o755)
            os.rename(temporary, target)
        sync(folder)
    return target


def epoch_folder(folder: Path, epoch: int) -> Path:
    """The folder of an epoch's checkpoint."""
    return folder / f"{_PREFIX}{epoch:04d}"


def epochs_saved(folder: Path) -> list[int]:
    """Epochs that have a checkpoint, ascending."""
    names = [path.name.removeprefix(_PREFIX) for path in folder.glob(f"{_PREFIX}*")]
    return sorted(int(name) for name in names if name.isdecimal() and name.isascii() and f"{int(name):04d}" == name)


def latest_epoch(folder: Path) -> int | None:
    """The last epoch that has a checkpoint, or None."""
    return max(epochs_saved(folder), default=None)


def prune(folder: Path, keep: set[int]) -> None:
    """Remove the checkpoints of all other epochs, and what a killed process left half-written."""
    for epoch in epochs_saved(folder):
        if epoch not in keep:
            shutil.rmtree(epoch_folder(folder, epoch))
    for leftover in folder.glob(".writing-*"):
        shutil.rmtree(leftover, ignore_errors=True)


def read_progress(folder: Path) -> dict[str, Any]:
    """History stored in the folder of an epoch. Raises CheckpointError naming the key that is damaged."""
    path = folder / PROGRESS
    try:
        return read_record(path, ProgressRecord, _REMEDY)
    except FileNotFoundError:
        raise CheckpointError(f"cannot read {path}: it is missing; {_REMEDY}") from None


def network_file(folder: Path, epoch: int) -> Path:
    """Where an epoch's parameters and buffers are."""
    return epoch_folder(folder, epoch) / MODEL


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


def load_optimisation(folder: Path, epoch: int, optimisation: Optimisation) -> None:
    """Read the states of optimisers, and bring the schedules to where they were, by the plan of this recipe.

    Learning rates, momenta and decays are those of the schedules and optimisers given, not of the file: a run may be
    continued with other rates or more epochs. Raises CheckpointError if the file is missing or damaged.
    """
    path = epoch_folder(folder, epoch) / OPTIMISER
    try:
        with open_regular(path) as file:
            states = torch.load(file, map_location="cpu", weights_only=True)
        for name, optimiser in optimisation.optimisers.items():
            schedule = optimisation.schedules[name]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that no optimiser step came before
                for _ in range(states["schedules"][name]["last_epoch"] - schedule.last_epoch):
                    schedule.step()
            planned = [{k: v for k, v in group.items() if k != "params"} for group in optimiser.param_groups]
            optimiser.load_state_dict(states["optimisers"][name])
            for group, plan in zip(optimiser.param_groups, planned):
                group.update(plan)
    except Exception as error:  # torch.load reports a damaged file by a dozen types, some with unsafe advice
        raise CheckpointError(
            f"cannot read {path}: it is missing or damaged ({type(error).__name__}); {_REMEDY}"
        ) from error
