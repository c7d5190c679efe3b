"""What a network does on samples: scores, loss, accuracy, confusion, firing rates."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from snn_delays.data.binned import BinnedDataset
from snn_delays.data.resident import ResidentDataset
from snn_delays.nn import SpikingModule, layers_of
from snn_delays.nn.neuron import Neuron
from snn_delays.training.config import Recipe
from snn_delays.training.objective import class_scores, valid_steps


@dataclass(frozen=True)
class Measurement:
    """Results over a set of samples, in the order asked for.

    ``scores`` ``[n, class]``; ``labels`` ``[n]``; ``firing_rates``: by LIF layer, spikes per neuron and valid step.
    """

    scores: Tensor
    labels: Tensor
    firing_rates: dict[str, float]

    @property
    def predictions(self) -> Tensor:
        """Class with the largest score, ``[n]``."""
        return self.scores.argmax(1)

    @property
    def correct(self) -> Tensor:
        """Whether each sample was classified rightly, bool ``[n]``."""
        return self.predictions == self.labels

    @property
    def accuracy(self) -> float:
        """Share of samples classified rightly; every sample weighs the same."""
        return float(self.correct.double().mean())

    @property
    def loss(self) -> float:
        """Mean cross-entropy of the scores."""
        return float(F.cross_entropy(self.scores.double(), self.labels))

    def confusion(self) -> Tensor:
        """Counts ``[true class, predicted class]``."""
        matrix: Tensor = multiclass_confusion_matrix(self.predictions, self.labels, num_classes=self.scores.shape[1])
        return matrix


@torch.inference_mode()
def measure(
    network: SpikingModule,
    dataset: BinnedDataset | ResidentDataset,
    indices: NDArray[np.int64],
    recipe: Recipe,
    device: torch.device | str = "cpu",
) -> Measurement:
    """Run a network in evaluation on samples of a data set; each sample's result is its own, whatever its batch."""
    was_training = network.training
    network.eval()
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    lengths = dataset.lengths()[indices]
    # Samples of like length together: less padding, the same results.
    order = np.argsort(lengths, kind="stable")
    scores, rates = [], {name: 0.0 for name, layer in layers_of(network) if isinstance(layer, Neuron) and layer.fires}
    neurons = dict.fromkeys(rates, 1)
    steps = 0
    for start in range(0, len(order), recipe.training.batch_size):
        chosen = indices[order[start : start + recipe.training.batch_size]]
        batch = dataset.batch(chosen, recipe.data.tail_steps)
        x = batch.counts.to(device, dtype)
        valid = valid_steps(batch.lengths.to(device), x.shape[0])
        for name, layer in layers_of(network):
            x, _ = layer(x)
            if name in rates:
                rates[name] += float((x * valid.view(*valid.shape, *[1] * (x.ndim - 2))).sum())
                neurons[name] = x[0, 0].numel()
        scores.append(class_scores(x, valid, recipe.training.readout).float().cpu())
        steps += int(valid.sum())
    network.train(was_training)
    back = torch.from_numpy(np.argsort(order, kind="stable"))
    return Measurement(
        torch.cat(scores)[back],
        torch.from_numpy(dataset.labels[indices]),
        {name: total / (steps * neurons[name]) for name, total in rates.items()},
    )
