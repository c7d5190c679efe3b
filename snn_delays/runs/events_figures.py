"""The pictures of a classifier of events. Rasters and membranes open the data; delays, curves and confusion do not."""

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from matplotlib.figure import Figure
from torch import nn

from snn_delays import plot
from snn_delays.data.dataset import BinnedDataset
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ConfigError
from snn_delays.nn import layers_of, layers_with_delays, record
from snn_delays.nn.neuron import Neuron
from snn_delays.runs.figures import Picture, Source, curves, evaluated
from snn_delays.training.measure import measure
from snn_delays.training.sources import selection


def delays_of(network: nn.Module, initial: nn.Module) -> dict[str, tuple[Any, Any, int, int]]:
    """Initial and learned delays and their limits by layer, as :func:`snn_delays.plot.delays_figure` takes them."""
    before = layers_with_delays(initial)
    return {
        name.removesuffix(".synapse"): (
            before[name].delay.detach().numpy().ravel(), layer.delay.detach().numpy().ravel(),
            layer.min_delay_steps, layer.max_delay_steps,
        )
        for name, layer in layers_with_delays(network).items()
        if layer.max_delay_steps > layer.min_delay_steps
    }  # fmt: skip


@dataclass(frozen=True)
class Response:
    """What a network does on a validation sample: input counts, outputs ``[time, neuron]`` by layer, steps."""

    data: BinnedDataset
    index: int
    counts: np.ndarray
    layers: dict[str, np.ndarray]
    length: int
    prediction: int


def response(source: Source) -> Response:
    """The response to the source's sample, by default the first that is classified correctly, the first if none is."""
    recipe, chosen, network = source.recipe, selection(source.recipe), discretize(source.network)
    dataset, sample = chosen.validation, source.sample
    if sample is None:
        sample = int(measure(network, dataset, chosen.valid, recipe).correct.int().argmax())
    if not 0 <= sample < len(chosen.valid):
        raise ConfigError(f"there is no validation sample {sample}; there are 0..{len(chosen.valid) - 1}")
    index = int(chosen.valid[sample])
    batch = dataset.batch(np.array([index]), recipe.data.tail_steps)
    shown = {name for name, layer in layers_of(network) if isinstance(layer, Neuron)}
    with torch.inference_mode():
        outputs = record(network, batch.counts.to(next(network.parameters()).dtype))
    layers = {name.partition(".")[0]: out[:, 0].flatten(1).numpy() for name, out in outputs.items() if name in shown}
    longest = chosen.valid[dataset.lengths()[chosen.valid].argmax()]  # what the readout counts may depend on it
    measured = measure(network, dataset, np.array([index, longest]), recipe)
    length = int(batch.lengths[0]) - recipe.data.tail_steps
    return Response(dataset, index, batch.counts[:, 0].flatten(1).numpy(), layers, length, int(measured.predictions[0]))


def _rasters(source: Source) -> Figure:
    found = source.once(response)
    spikes = {"input": found.counts, **{name: out for name, out in found.layers.items() if name != "readout"}}
    title, speaker = found.data.class_names[int(found.data.labels[found.index])], found.data.speakers[found.index]
    if speaker >= 0:
        title += f", speaker {speaker}"
    return plot.raster_figure(spikes, dt_ms=source.recipe.data.dt_ms, length=found.length, title=title)


def _membranes(source: Source) -> Figure:
    found = source.once(response)
    axes = plot.membrane_traces(
        found.layers["readout"], dt_ms=source.recipe.data.dt_ms, label=int(found.data.labels[found.index]),
        prediction=found.prediction, class_names=found.data.class_names, length=found.length,
    )  # fmt: skip
    return cast(Figure, axes.figure)


def _delays(source: Source) -> Figure | None:
    layers = delays_of(source.network, source.initial)
    return plot.delays_figure(layers, dt_ms=source.recipe.data.dt_ms) if layers else None


def _confusion(source: Source) -> Figure:
    found = evaluated(source, "confusion", "class_names")
    axes = plot.confusion_matrix(np.array(found["confusion"]), class_names=found["class_names"])
    return cast(Figure, axes.figure)


PICTURES = {
    "rasters": Picture(_rasters),
    "membranes": Picture(_membranes),
    "delays": Picture(_delays, "its network has no delays that could be learned"),
    "curves": Picture(curves),
    "confusion": Picture(_confusion, evaluated=True),
}
