"""Trained networks from their files, without the data they were trained on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from snn_delays.discrete.discretize import DiscreteNetwork, discretize
from snn_delays.errors import CheckpointError, ConfigError
from snn_delays.recipes.registry import task_of
from snn_delays.runs.zoo import resolved
from snn_delays.training import checkpoint
from snn_delays.training.checkpoint import NetworkCard
from snn_delays.training.runlog import Run, open_run


def load(path: Path | str, *, epoch: int | None = None, network: nn.Module | None = None) -> Any:
    """Load a trained network, in evaluation mode, on the CPU.

    The file alone is enough: no data set is opened. ``network.card`` is its :class:`NetworkCard`, with recipe, sensor,
    class names, ``dt_ms`` and vocabulary. Delays are as they were trained: :func:`snn_delays.discretize` rounds them.

    Args:
        path: folder of a run, of one of its checkpoints (``checkpoints/epoch-0007``), a ``.safetensors`` file, or
            ``"zoo:NAME"`` for a network that comes with the package (``snn-delays zoo``).
        epoch: of a run folder, the epoch to load; default: the best on validation.
        network: the network to load into, of the class that was trained; needed where it was one of your own, which
            the recipe does not describe.

    Raises:
        CheckpointError: the file is missing, damaged, or of something else; or the epoch was not kept.
    """
    path = resolved(path)
    if path.is_dir() and not (path / checkpoint.MODEL).exists():
        return trained_network(open_run(path), epoch, network=network)
    if epoch is not None:
        raise CheckpointError(f"{path} is of one epoch; give the run's folder to choose an epoch")
    file = path / checkpoint.MODEL if path.is_dir() else path
    return _built(*checkpoint.read_network(file), file, network)


@dataclass(frozen=True)
class Trained:
    """A trained network, and the run that it is from where there is one."""

    network: Any
    run: Run | None = None

    @property
    def has_card(self) -> bool:
        """Whether the network says what it is for; one of your own need not."""
        return isinstance(getattr(self.network, "card", None), NetworkCard)

    @property
    def card(self) -> NetworkCard:
        """What the network is for. Raises CheckpointError for a network that no file was the source of."""
        if not self.has_card:
            raise CheckpointError(
                "the network has no card of its data and recipe; snn_delays.load returns one that has it"
            )
        card: NetworkCard = self.network.card
        return card

    @property
    def name(self) -> str:
        """What to call it in a message: the run's folder, else the recipe's name."""
        return self.recipe.name if self.run is None else str(self.run.folder)

    @property
    def recipe(self) -> Any:
        """The recipe, with the epochs and rates that the run has now."""
        return self.card.recipe if self.run is None else self.run.recipe

    @property
    def best(self) -> dict[str, Any]:
        """The best epoch's row of the run's history; empty without a run."""
        if self.run is None:
            return {}
        progress = self.run.progress()
        row: dict[str, Any] = next(row for row in progress["history"] if row["epoch"] == progress["best_epoch"])
        return row


def trained(source: Trained | Run | Path | str | Any, *tasks: str) -> Trained:
    """A trained network from a run, the path of a run, a checkpoint or a file, or the network itself.

    Of a run it is the best on validation; progress and network are of one moment. Raises CheckpointError, and
    ConfigError if its task is none of ``tasks``, where any are named.
    """
    if isinstance(source, Trained):
        opened = source
    elif isinstance(source, Run):
        run = source.pinned()
        opened = Trained(trained_network(run), run)
    elif not isinstance(source, (str, Path)):
        opened = Trained(source)
    elif (path := resolved(source)).is_file() or (path / checkpoint.MODEL).exists():
        opened = Trained(load(path))
    else:
        return trained(open_run(path), *tasks)
    if tasks and opened.has_card and (task := opened.recipe.task) not in tasks:
        raise ConfigError(f"{opened.name} holds a run of task {task!r}; this is for runs of {' or '.join(tasks)}")
    return opened


def trainable_parameters(network: nn.Module) -> int:
    """Numbers that training sets: fixed delays do not count."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def check_device(device: str) -> None:
    """Raise ConfigError for a device that is not there."""
    try:
        torch.empty(0, device=device)
    except (AssertionError, RuntimeError) as error:  # by the kind of device, torch raises the one or the other
        raise ConfigError(f"cannot run on device {device!r}: {error}") from error


def discrete_network(run: Run) -> DiscreteNetwork:
    """The network of events that is evaluated, drawn and exported: the run's best, discretised."""
    return discretize(trained_network(run))


def trained_network(run: Run, epoch: int | None = None, *, network: nn.Module | None = None) -> Any:
    """The network of a run after an epoch, by default the best. Raises CheckpointError."""
    if epoch is None:
        run = run.pinned()
        epoch = run.best_epoch()
    return _built(*run.network_after(epoch), checkpoint.network_file(run.checkpoints, epoch), network)


def _built(tensors: dict[str, Tensor], card: NetworkCard, path: Path, network: Any) -> Any:
    task = task_of(card.recipe)
    if not (card.sensor or card.vocabulary):
        card = task.complete(card, tensors, path)
    if network is None:
        if card.network_class:
            raise CheckpointError(
                f"{path} holds a {card.network_class}, a network of your own that its recipe does not describe; build "
                "it as you did for training, and load it with snn_delays.load(path, network=...)"
            )
        network = task.build(card, tensors)
    checkpoint.load_tensors(network, tensors, path)
    network.card = card
    return network.eval()
