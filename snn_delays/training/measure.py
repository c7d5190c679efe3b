"""What a network does on samples: scores, loss, accuracy, confusion, firing rates.

The readout is measured as it was trained. With ``padding = "published"`` it counts every step up to the end of the
longest sample that is measured, tail included, for all of them alike: that does not depend on batches or their order.
The masked readout, which counts a sample's own steps alone, is measured beside it, from the same membranes.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from torchmetrics.functional.classification import multiclass_confusion_matrix

from snn_delays.data.dataset import BinnedDataset, ResidentDataset
from snn_delays.nn import SpikingModule, call_layer, layers_of
from snn_delays.nn.neuron import Neuron
from snn_delays.recipes.events import Recipe
from snn_delays.training.objective import class_scores, valid_steps


@dataclass(frozen=True)
class Measurement:
    """Results over a set of samples, in the order requested.

    ``scores`` ``[n, class]``, of the readout as it was trained; ``labels`` ``[n]``; ``firing_rates``: by LIF layer,
    spikes per neuron and own step of a sample; ``masked_scores``: of the readout over a sample's own steps alone, None
    where that is how it was trained.
    """

    scores: Tensor
    labels: Tensor
    firing_rates: dict[str, float]
    masked_scores: Tensor | None = None

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

    @property
    def masked(self) -> "Measurement":
        """The same with the masked readout."""
        return self if self.masked_scores is None else replace(self, scores=self.masked_scores, masked_scores=None)

    def confusion(self) -> Tensor:
        """Counts ``[true class, predicted class]``."""
        matrix: Tensor = multiclass_confusion_matrix(self.predictions, self.labels, num_classes=self.scores.shape[1])
        return matrix


class Measured(NamedTuple):
    """A batch to measure on.

    ``positions`` int64 ``[batch]`` in the indices requested; ``counts`` ``[time, batch, ...]``; ``own`` and ``counted``
    bool ``[time, batch]``: a sample's own steps with its tail, and those that the readout as trained counts.
    """

    positions: NDArray[np.int64]
    counts: Tensor
    own: Tensor
    counted: Tensor


def measured_batches(
    dataset: BinnedDataset | ResidentDataset, indices: NDArray[np.int64], recipe: Recipe
) -> Iterator[Measured]:
    """Samples in batches of the recipe's size, of like length together: less padding, the same results."""
    lengths, tail = dataset.lengths()[indices], recipe.data.tail_steps
    published = recipe.data.padding == "published"
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), recipe.training.batch_size):
        positions = order[start : start + recipe.training.batch_size]
        batch = dataset.batch(indices[positions], tail)
        counts, own = batch.counts, batch.lengths
        if missing := (int(lengths.max()) + tail - len(counts)) * published:
            counts = torch.cat([counts, counts.new_zeros(missing, *counts.shape[1:])])
        mask = valid_steps(own, len(counts))
        yield Measured(positions, counts, mask, torch.ones_like(mask) if published else mask)


@torch.inference_mode()
def measure(
    network: SpikingModule,
    dataset: BinnedDataset | ResidentDataset,
    indices: NDArray[np.int64],
    recipe: Recipe,
    device: torch.device | str = "cpu",
) -> Measurement:
    """Run a network in evaluation on samples of a data set; no result depends on how they fall into batches."""
    was_training = network.training
    network.eval()
    dtype = next((p.dtype for p in network.parameters()), torch.float32)
    rates = {name: 0.0 for name, layer in layers_of(network) if isinstance(layer, Neuron) and layer.fires}
    neurons = dict.fromkeys(rates, 1)
    order, scores, masked, steps = [], [], [], 0
    for positions, counts, own, counted in measured_batches(dataset, indices, recipe):
        x, valid = counts.to(device, dtype), own.to(device)
        for name, layer in layers_of(network):
            x, _ = call_layer(layer, x)
            if name in rates:
                rates[name] += float((x * valid.view(*valid.shape, *[1] * (x.ndim - 2))).sum())
                neurons[name] = x[0, 0].numel()
        order.append(positions)
        scores.append(class_scores(x, counted.to(device), recipe.training.readout).float().cpu())
        if counted is not own:
            masked.append(class_scores(x, valid, recipe.training.readout).float().cpu())
        steps += int(valid.sum())
    network.train(was_training)
    back = torch.from_numpy(np.argsort(np.concatenate(order), kind="stable"))
    return Measurement(
        torch.cat(scores)[back],
        torch.from_numpy(dataset.labels[indices]),
        {name: total / (steps * neurons[name]) for name, total in rates.items()},
        torch.cat(masked)[back] if masked else None,
    )
