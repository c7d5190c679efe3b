"""A trained classifier of events without the delays that matter least."""

from typing import Any

import torch

from snn_delays.nn.pruning import delay_sensitivity, prune_delays
from snn_delays.runs.load import trained
from snn_delays.training.callbacks import Callback
from snn_delays.training.objective import class_scores, loss, valid_steps
from snn_delays.training.sources import selection


def prune(source: Any, sparsity: float, *, callback: Callback | None = None) -> Any:
    """A copy of a trained network with this share of each layer's delays set to the shortest: those that the training
    loss depends on least (:func:`snn_delays.nn.pruning.delay_sensitivity`). Weights stay as they are.

    ``source``: a run, its path, a checkpoint or a loaded network. Only training samples are read. Raises ConfigError
    for a network that learns no delays, and as :func:`snn_delays.nn.pruning.prune_delays`.
    """
    opened = trained(source, "events")
    recipe, network = opened.recipe, opened.network
    data, dtype = selection(recipe, callback), next(network.parameters()).dtype
    indices = torch.as_tensor(data.train).split(recipe.training.batch_size)

    def losses() -> Any:
        for part in indices:
            counts, lengths, labels = data.training.batch(part.numpy(), recipe.data.tail_steps, recipe.data.padding)
            v, _ = network(counts.to(dtype))
            yield loss(class_scores(v, valid_steps(lengths, len(v)), recipe.training.readout), labels)

    pruned = prune_delays(network, delay_sensitivity(network, losses()), sparsity)
    pruned.card = network.card
    return pruned
