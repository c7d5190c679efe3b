"""The pictures of a run, drawn from its records and its discrete network."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from snn_delays import plot
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.models.classifier import delayed_layers
from snn_delays.nn import layers_of, record
from snn_delays.nn.neuron import Neuron
from snn_delays.runs.evaluate import discrete_network, read_evaluation
from snn_delays.runs.load import trained_network
from snn_delays.training.measure import measure
from snn_delays.training.runlog import Run
from snn_delays.training.sources import Selection, selection


def draw(run: Run, what: Sequence[str] = (), sample: int | None = None) -> list[Path]:
    """Draw pictures of a run into its ``figures`` folder; ``what`` names some of ``PICTURES``, none means all.

    Rasters and membranes are of a validation sample, by its number there; by default of the first that is classified
    right. The confusion matrix is of the test samples, as ``evaluate`` counted them. Raises ConfigError for an unknown
    name or sample.
    """
    for name in what:
        if name not in PICTURES:
            hint = did_you_mean(name, PICTURES)
            raise ConfigError(f"there is no picture {name!r}; {hint}choose from {', '.join(PICTURES)}")
    run, chosen = run.pinned(), selection(run.recipe)
    names = what or tuple(PICTURES)
    if sample is None:
        sample = _first_right(run, chosen) if {"rasters", "membranes"} & set(names) else 0
    return [path for name in names for path in PICTURES[name](run, chosen, sample)]


def _first_right(run: Run, chosen: Selection) -> int:
    """The first validation sample that is classified right; 0 if none is."""
    found = measure(discrete_network(run), chosen.validation, chosen.valid, run.recipe, "cpu")
    return int(found.correct.int().argmax())


def _rasters(run: Run, chosen: Selection, sample: int) -> list[Path]:
    counts, layers, length, index = _response(run, chosen, sample)
    dataset = chosen.validation
    spikes = {"input": counts, **{name: out for name, out in layers.items() if name != "readout"}}
    title = dataset.class_names[int(dataset.labels[index])]
    if dataset.speakers[index] >= 0:
        title += f", speaker {dataset.speakers[index]}"
    figure = plot.raster_figure(spikes, dt_ms=run.recipe.data.dt_ms, length=length, title=title)
    return [plot.save_figure(figure, run.figures / "rasters.png")]


def _membranes(run: Run, chosen: Selection, sample: int) -> list[Path]:
    _, layers, length, index = _response(run, chosen, sample)
    dataset = chosen.validation
    longest = chosen.valid[dataset.lengths()[chosen.valid].argmax()]  # what the readout counts may depend on it
    measured = measure(discrete_network(run), dataset, np.array([index, longest]), run.recipe)
    prediction = int(measured.predictions[0])
    axes = plot.membrane_traces(
        layers["readout"], dt_ms=run.recipe.data.dt_ms, label=int(dataset.labels[index]), prediction=prediction,
        class_names=dataset.class_names, length=length,
    )  # fmt: skip
    return [plot.save_figure(axes.figure, run.figures / "membranes.png")]


def _delays(run: Run, chosen: Selection, sample: int) -> list[Path]:
    before, after = (delayed_layers(trained_network(run, epoch)) for epoch in (0, None))
    layers = {
        name.removesuffix(".synapse"): (
            before[name].delay.detach().numpy().ravel(), layer.delay.detach().numpy().ravel(),
            layer.min_delay_steps, layer.max_delay_steps,
        )
        for name, layer in after.items()
        if layer.max_delay_steps > layer.min_delay_steps
    }  # fmt: skip
    if not layers:
        return []
    return [plot.save_figure(plot.delays_figure(layers, dt_ms=run.recipe.data.dt_ms), run.figures / "delays.png")]


def _curves(run: Run, chosen: Selection, sample: int) -> list[Path]:
    figure = plot.learning_curves_figure(run.curves())
    return [plot.save_figure(figure, run.figures / "curves.png")]


def _confusion(run: Run, chosen: Selection, sample: int) -> list[Path]:
    evaluation = read_evaluation(run, "confusion", "class_names")
    axes = plot.confusion_matrix(np.array(evaluation["confusion"]), class_names=evaluation["class_names"])
    return [plot.save_figure(axes.figure, run.figures / "confusion.png")]


PICTURES: dict[str, Callable[[Run, Selection, int], list[Path]]] = {
    "rasters": _rasters,
    "membranes": _membranes,
    "delays": _delays,
    "curves": _curves,
    "confusion": _confusion,
}


def _response(run: Run, chosen: Selection, sample: int) -> tuple[np.ndarray, dict[str, np.ndarray], int, int]:
    """Input counts, hidden spikes and readout membranes of a validation sample, its length in steps, its index."""
    if not 0 <= sample < len(chosen.valid):
        raise ConfigError(f"there is no validation sample {sample}; there are 0..{len(chosen.valid) - 1}")
    dataset, index = chosen.validation, int(chosen.valid[sample])
    batch = dataset.batch(np.array([index]), run.recipe.data.tail_steps)
    network = discrete_network(run)
    shown = {name for name, layer in layers_of(network) if isinstance(layer, Neuron)}
    with torch.inference_mode():
        outputs = record(network, batch.counts.to(next(network.parameters()).dtype))
    layers = {name.partition(".")[0]: out[:, 0].flatten(1).numpy() for name, out in outputs.items() if name in shown}
    return batch.counts[:, 0].flatten(1).numpy(), layers, int(batch.lengths[0]) - run.recipe.data.tail_steps, index
