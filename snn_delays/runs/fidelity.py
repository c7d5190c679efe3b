"""What discretising changed, measured on samples: spikes, predictions, accuracy."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from snn_delays.data.dataset import BinnedDataset
from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.nn import Sequential, layers_of, record
from snn_delays.nn.neuron import Neuron
from snn_delays.recipes.events import Recipe
from snn_delays.training.measure import measured_batches
from snn_delays.training.objective import class_scores


@dataclass(frozen=True)
class LayerFidelity:
    """Spikes of a layer over all samples, before and after; ``changed``: spikes that came or went."""

    name: str
    before: int
    after: int
    changed: int

    def __str__(self) -> str:
        share = f" ({self.changed / self.before:.1%})" if self.before else ""
        return f"{self.name}: {self.before:,} spikes, {self.after:,} after, {self.changed:,} changed{share}"


@dataclass(frozen=True)
class Fidelity:
    """The network given against the discrete one, on the same samples."""

    samples: int
    accuracy_before: float
    accuracy_after: float
    predictions_changed: int
    layers: tuple[LayerFidelity, ...]

    def lines(self) -> list[str]:
        """For the screen."""
        return [
            f"on {self.samples} validation samples: accuracy {self.accuracy_before:.1%} before, "
            f"{self.accuracy_after:.1%} after; {self.predictions_changed} predictions changed",
            *map(str, self.layers),
        ]


def firing_layers(network: DiscreteNetwork) -> list[str]:
    """The names of the layers of a network whose neurons fire."""
    return [name for name, layer in layers_of(network) if isinstance(layer, Neuron) and layer.fires]


@torch.inference_mode()
def fidelity(
    before: Sequential, after: DiscreteNetwork, dataset: BinnedDataset, indices: NDArray[np.int64], recipe: Recipe
) -> Fidelity:
    """Run both networks over samples of a data set, padding and tails included in the spikes; scores are as trained.

    Neurons of the two are matched by the names of their layers.
    """
    before.eval()
    spikes = {name: np.zeros(3, np.int64) for name in firing_layers(after)}
    right, predictions_changed = np.zeros(2, np.int64), 0
    for batch in measured_batches(dataset, indices, recipe):
        labels = torch.from_numpy(dataset.labels[indices[batch.positions]])
        old, new = (record(side, batch.counts.to(next(side.parameters()).dtype)) for side in (before, after))
        first, second = (
            class_scores(list(outputs.values())[-1], batch.counted, recipe.training.readout).argmax(1)
            for outputs in (old, new)
        )
        right += (int((first == labels).sum()), int((second == labels).sum()))
        predictions_changed += int((first != second).sum())
        for name, count in spikes.items():
            a, b = old[name] > 0, new[name] > 0
            count += (int(a.sum()), int(b.sum()), int((a != b).sum()))
    before_after = (right / len(indices)).tolist()
    layers = tuple(LayerFidelity(name, *map(int, count)) for name, count in spikes.items())
    return Fidelity(len(indices), before_after[0], before_after[1], predictions_changed, layers)
