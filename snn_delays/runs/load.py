"""Trained networks from their files, without the data they were trained on."""

from pathlib import Path
from typing import Any

from torch import Tensor, nn

from snn_delays.errors import CheckpointError
from snn_delays.recipes.registry import task_of
from snn_delays.training import checkpoint
from snn_delays.training.card import NetworkCard
from snn_delays.training.runlog import Run, open_run


def load(path: Path | str, *, epoch: int | None = None, network: nn.Module | None = None) -> Any:
    """Load a trained network from a run folder or a ``.safetensors`` file, in evaluation mode, on the CPU.

    The file alone is enough: no data set is opened. ``network.card`` is its :class:`NetworkCard`, with recipe, sensor,
    class names, ``dt_ms`` and vocabulary. Delays are as they were trained: :func:`snn_delays.discretize` rounds them.

    Args:
        path: folder of a run, or file.
        epoch: of a run folder, the epoch to load; default: the best on validation.
        network: the network to load into, of the class that was trained; needed where it was one of your own, which
            the recipe does not describe.

    Raises:
        CheckpointError: the file is missing, damaged, or of something else; or the epoch was not kept.
    """
    path = Path(path)
    if path.is_dir():
        return trained_network(open_run(path), epoch, network=network)
    if epoch is not None:
        raise CheckpointError(f"{path} is one file, of one epoch; give the run's folder to choose an epoch")
    return load_file(path, network=network)


def trained_network(run: Run, epoch: int | None = None, *, network: nn.Module | None = None) -> Any:
    """The network of a run after an epoch, by default the best. Raises CheckpointError."""
    if epoch is None:
        run = run.pinned()
        epoch = run.best_epoch()
    return _built(*run.network_after(epoch), checkpoint.network_file(run.checkpoints, epoch), network)


def load_file(path: Path, *, network: nn.Module | None = None) -> Any:
    """The network of a ``.safetensors`` file, as :func:`load` returns it. Raises CheckpointError."""
    return _built(*checkpoint.read_network(path), path, network)


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
