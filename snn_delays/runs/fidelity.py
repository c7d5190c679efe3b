"""What becoming discrete changed, measured on samples: spikes, predictions, accuracy."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snn_delays.data.dataset import BinnedDataset
from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.nn import Sequential, call_layer, layers_of
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

    def as_json(self) -> dict[str, Any]:
        """Numbers and strings."""
        return asdict(self)


@torch.inference_mode()
def fidelity(
    before: Sequential, after: DiscreteNetwork, dataset: BinnedDataset, indices: NDArray[np.int64], recipe: Recipe
) -> Fidelity:
    """Run both networks over samples of a data set, padding and tails included in the spikes; scores are as trained.

    Neurons of the two are matched by the names of their layers.
    """
    before.eval()
    fires = [name for name, layer in layers_of(after) if isinstance(layer, Neuron) and layer.fires]
    counts = {name: np.zeros(3, np.int64) for name in fires}
    right = np.zeros(2, np.int64)
    changed = 0
    for batch in measured_batches(dataset, indices, recipe):
        labels = torch.from_numpy(dataset.labels[indices[batch.positions]])
        rasters, predictions = [], []
        for side, network in enumerate((before, after)):
            spikes, x = {}, batch.counts.to(next(network.parameters()).dtype)
            for name, layer in layers_of(network):
                x, _ = call_layer(layer, x)
                if name in counts:
                    spikes[name] = x > 0
            rasters.append(spikes)
            predictions.append(class_scores(x, batch.counted, recipe.training.readout).argmax(1))
            right[side] += int((predictions[side] == labels).sum())
        changed += int((predictions[0] != predictions[1]).sum())
        for name, count in counts.items():
            one, other = rasters[0][name], rasters[1][name]
            count += (int(one.sum()), int(other.sum()), int((one != other).sum()))
    return Fidelity(
        samples=len(indices),
        accuracy_before=float(right[0] / len(indices)),
        accuracy_after=float(right[1] / len(indices)),
        predictions_changed=changed,
        layers=tuple(LayerFidelity(name, *map(int, count)) for name, count in counts.items()),
    )
