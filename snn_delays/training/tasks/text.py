"""What the tasks on text share: the vocabulary, and the annealing of sigma step by step."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from snn_delays.data.text import vocabulary_from_json
from snn_delays.data.text.vocabulary import Vocabulary
from snn_delays.errors import CheckpointError
from snn_delays.training import checkpoint
from snn_delays.training.card import NetworkCard
from snn_delays.training.optimise import Optimisation
from snn_delays.training.task import Task


class TextTraining(Task):
    """The part that does not depend on what is learned from the text."""

    vocabulary: Vocabulary

    def card(self) -> dict[str, Any]:
        """The vocabulary."""
        return {"vocabulary": self.vocabulary}

    def complete(self, card: NetworkCard, tensors: Mapping[str, Tensor], path: Path) -> NetworkCard:
        """The vocabulary of a file of format 1 is in ``progress.json`` beside it. Raises CheckpointError."""
        progress = checkpoint.read_progress_file(path.with_name(checkpoint.PROGRESS))
        if not isinstance(stored := progress.get("vocabulary"), dict):
            raise CheckpointError(f"{path} has no vocabulary in its checkpoint; train it anew")
        vocabulary, trained = vocabulary_from_json(stored), checkpoint.fingerprint_in(path)
        if trained is not None and trained != vocabulary.fingerprint:
            raise CheckpointError(
                f"the network in {path} was trained with the vocabulary {trained}, progress.json beside it holds "
                f"{vocabulary.fingerprint} of {vocabulary.size} tokens; put the run's own progress.json back"
            )
        return replace(card, vocabulary=vocabulary, class_names=tuple(progress.get("class_names", ())))

    def on_fit_start(self, network: nn.Module) -> dict[str, Any]:
        """The vocabulary, so that a run can be read without its data."""
        return {"vocabulary": self.vocabulary.to_json(), "fingerprint": self.vocabulary.fingerprint}

    def on_step_start(self, epoch: int, step: int, network: nn.Module, optimisation: Optimisation) -> None:
        """Anneal sigma."""
        optimisation.set_sigma(self.recipe.sigma_at(epoch - 1 + step / self.steps))

    def describe(self) -> dict[str, Any]:
        """Kind of delays, and the network in short."""
        return {"delays": self.recipe.model.delays, "hidden": self.recipe.model.shape}


def vocabulary_in(card: NetworkCard) -> Vocabulary:
    """The vocabulary of a network of text."""
    assert card.vocabulary is not None
    return card.vocabulary
