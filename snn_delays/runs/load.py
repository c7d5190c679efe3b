"""Trained networks from their files, without the data they were trained on."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from snn_delays.data.text import vocabulary_from_json
from snn_delays.errors import CheckpointError
from snn_delays.nn import SpikingModule
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.strict import BaseRecipe
from snn_delays.recipes.text import LanguageRecipe, SentenceRecipe
from snn_delays.training import checkpoint
from snn_delays.training.card import NetworkCard
from snn_delays.training.fine_tuning import network_to_train, quantize_network
from snn_delays.training.runlog import Run, open_run
from snn_delays.training.sources import training_data
from snn_delays.training.tasks.language import language_network, stored_vocabulary
from snn_delays.training.tasks.sentences import sentence_network


def load(path: Path | str, *, epoch: int | None = None) -> Any:
    """Load a trained network from a run folder or a ``.safetensors`` file, in evaluation mode, on the CPU.

    The file alone is enough: no data set is opened. ``network.card`` is its :class:`NetworkCard`, with recipe, sensor,
    class names, ``dt_ms`` and vocabulary. Delays are as they were trained: :func:`snn_delays.discretize` rounds them.

    Args:
        path: folder of a run, or file.
        epoch: of a run folder, the epoch to load; default: the best on validation.

    Raises:
        CheckpointError: the file is missing, damaged, or of something else; or the epoch was not kept.
    """
    path = Path(path)
    if path.is_dir():
        return trained_network(open_run(path, BaseRecipe), epoch)
    if epoch is not None:
        raise CheckpointError(f"{path} is one file, of one epoch; give the run's folder to choose an epoch")
    return load_file(path)


def trained_network(run: Run, epoch: int | None = None) -> Any:
    """The network of a run after an epoch, by default the best. Raises CheckpointError."""
    if epoch is None:
        run = run.pinned()
        epoch = run.best_epoch()
    return _built(*run.network_after(epoch), checkpoint.network_file(run.checkpoints, epoch))


def load_file(path: Path) -> Any:
    """The network of a ``.safetensors`` file, as :func:`load` returns it. Raises CheckpointError."""
    return _built(*checkpoint.read_network(path), path)


def _built(tensors: dict[str, Tensor], card: NetworkCard, path: Path) -> Any:
    kind = next(kind for kind in BUILDERS if isinstance(card.recipe, kind))
    if not (card.sensor or card.vocabulary):
        card = _completed(card, tensors, path)
    network = BUILDERS[kind](card, tensors)
    checkpoint.load_tensors(network, tensors, path)
    network.card = card
    return network.eval()


def _events(card: NetworkCard, tensors: dict[str, Tensor]) -> Any:
    classes = len(card.class_names) or len(tensors["readout.synapse.weight"])
    return quantize_network(network_to_train(card.recipe, card.sensor, classes), card.recipe)  # type: ignore[arg-type]


def _language(card: NetworkCard, tensors: dict[str, Tensor]) -> SpikingModule:
    return language_network(card.recipe, card.vocabulary.size)  # type: ignore


def _sentences(card: NetworkCard, tensors: dict[str, Tensor]) -> SpikingModule:
    return sentence_network(card.recipe, card.vocabulary.size, len(card.class_names))  # type: ignore


BUILDERS: dict[type[BaseRecipe], Callable[[NetworkCard, dict[str, Tensor]], Any]] = {
    Recipe: _events,
    LanguageRecipe: _language,
    SentenceRecipe: _sentences,
}


def _completed(card: NetworkCard, tensors: dict[str, Tensor], path: Path) -> NetworkCard:
    """The card of a file of format 1, whose sensor or vocabulary lies elsewhere.

    A dense network's sensor follows from its weights, a convolutional one's from its data set, which has to be at hand.
    A vocabulary is in ``progress.json`` beside the file.
    """
    if isinstance(card.recipe, Recipe):
        if card.recipe.model.kind == "convolutional":
            data = training_data(card.recipe)
            return replace(card, sensor=data.sensor, class_names=data.class_names)
        first = tensors.get("hidden1.synapse.weight")
        if first is None:
            raise CheckpointError(f"{path} is of another network: it has no hidden1.synapse.weight")
        return replace(card, sensor=(first.shape[1],))
    progress = checkpoint.read_progress_file(path.with_name(checkpoint.PROGRESS))
    vocabulary = vocabulary_from_json(stored_vocabulary(progress, str(path)))
    trained = checkpoint.fingerprint_in(path)
    if trained is not None and trained != vocabulary.fingerprint:
        raise CheckpointError(
            f"the network in {path} was trained with the vocabulary {trained}, progress.json beside it holds "
            f"{vocabulary.fingerprint} of {vocabulary.size} tokens; put the run's own progress.json back"
        )
    return replace(card, vocabulary=vocabulary, class_names=tuple(progress.get("class_names", ())))
