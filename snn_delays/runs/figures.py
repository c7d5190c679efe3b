"""The pictures of a run, drawn into its folder; data and networks are opened when a picture needs them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

from snn_delays import plot
from snn_delays.data.dataset import BinnedDataset
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.models.spikegpt import SpikeGPT, delay_shifts, with_integer_delays
from snn_delays.nn import layers_of, layers_with_delays, record
from snn_delays.nn.neuron import LIF, Neuron
from snn_delays.runs.evaluate import read_evaluation
from snn_delays.runs.load import trained_network
from snn_delays.training.activity import population
from snn_delays.training.measure import measure
from snn_delays.training.runlog import Run
from snn_delays.training.sources import selection
from snn_delays.training.tasks.text import corpus_of

TOKENS = 128  # of the validation text under the raster


@dataclass(frozen=True)
class Response:
    """What a network does on a validation sample: input counts, outputs ``[time, neuron]`` by layer, steps."""

    data: BinnedDataset
    index: int
    counts: np.ndarray
    layers: dict[str, np.ndarray]
    length: int
    prediction: int

    @property
    def label(self) -> int:
        """The class of the sample."""
        return int(self.data.labels[self.index])


@dataclass
class Source:
    """What a run's pictures are drawn from; ``sample``: number of the validation sample to show."""

    run: Run
    sample: int | None = None

    @property
    def recipe(self) -> Any:
        """The run's recipe."""
        return self.run.recipe

    @cached_property
    def network(self) -> Any:
        """The run's best network, as it was trained."""
        return trained_network(self.run)

    @cached_property
    def initial(self) -> Any:
        """The network before training."""
        return trained_network(self.run, 0)

    @cached_property
    def response(self) -> Response:
        """The response to the sample, by default the first that is classified correctly, the first if none is."""
        recipe, chosen, network = self.recipe, selection(self.recipe), discretize(self.network)
        dataset, sample = chosen.validation, self.sample
        if sample is None:
            sample = int(measure(network, dataset, chosen.valid, recipe).correct.int().argmax())
        if not 0 <= sample < len(chosen.valid):
            raise ConfigError(f"there is no validation sample {sample}; there are 0..{len(chosen.valid) - 1}")
        index = int(chosen.valid[sample])
        batch = dataset.batch(np.array([index]), recipe.data.tail_steps)
        neurons = [name for name, layer in layers_of(network) if isinstance(layer, Neuron)]
        with torch.inference_mode():
            outputs = record(network, batch.counts.to(next(network.parameters()).dtype))
        layers = {name.partition(".")[0]: outputs[name][:, 0].flatten(1).numpy() for name in neurons}
        longest = chosen.valid[dataset.lengths()[chosen.valid].argmax()]  # what the readout counts may depend on it
        predictions = measure(network, dataset, np.array([index, longest]), recipe).predictions
        length = int(batch.lengths[0]) - recipe.data.tail_steps
        return Response(dataset, index, batch.counts[:, 0].flatten(1).numpy(), layers, length, int(predictions[0]))


@dataclass(frozen=True)
class Picture:
    """A picture by its function, which returns a figure or its Axes, or None where there is nothing to show.

    ``without`` says why there is nothing; ``evaluated``: it is of what :func:`snn_delays.runs.evaluate.evaluate` found.
    """

    draw: Callable[[Source], Any]
    without: str = ""
    evaluated: bool = False


def draw(run: Run, what: Sequence[str] = (), sample: int | None = None) -> list[Path]:
    """Draw pictures of a run into its ``figures`` folder.

    Args:
        run: to draw.
        what: names of pictures; none: all that there is something to show of.
        sample: of events, the validation sample in rasters and membranes, by its number there; by default the first
            that is classified correctly.

    Returns:
        The files.

    Raises:
        ConfigError: an unknown name or sample, or a named picture that there is nothing to show of.
        CheckpointError: a named picture is of the evaluation, and the run was not evaluated.
    """
    files: list[Path] = run.task.figures(run, what, sample)
    return files


def draw_pictures(pictures: Mapping[str, Picture], run: Run, what: Sequence[str], sample: int | None) -> list[Path]:
    """:func:`draw`, of the pictures of a task."""
    for name in what:
        if name not in pictures:
            hint = did_you_mean(name, pictures)
            raise ConfigError(f"there is no picture {name!r} of this run; {hint}choose from {', '.join(pictures)}")
    source = Source(run.pinned(), sample)
    there = [name for name, picture in pictures.items() if run.evaluation.exists() or not picture.evaluated]
    figures = {name: pictures[name].draw(source) for name in what or there}
    for name in what:
        if figures[name] is None:
            raise ConfigError(f"{run.folder} has nothing to show in the picture {name!r}: {pictures[name].without}")
    folder = run.figures
    return [
        plot.save_figure(drawn if isinstance(drawn, Figure) else drawn.figure, folder / f"{name}.png")
        for name, drawn in figures.items()
        if drawn is not None
    ]


def _curves(source: Source) -> Any:
    return plot.learning_curves_figure(source.run.curves())


def _rasters(source: Source) -> Any:
    response, dt_ms = source.response, source.recipe.data.dt_ms
    spikes = {"input": response.counts, **response.layers}
    spikes.pop("readout", None)
    title, speaker = response.data.class_names[response.label], response.data.speakers[response.index]
    title += f", speaker {speaker}" if speaker >= 0 else ""
    return plot.raster_figure(spikes, dt_ms=dt_ms, length=response.length, title=title)


def _membranes(source: Source) -> Any:
    response = source.response
    return plot.membrane_traces(
        response.layers["readout"], dt_ms=source.recipe.data.dt_ms, label=response.label,
        prediction=response.prediction, class_names=response.data.class_names, length=response.length,
    )  # fmt: skip


def _delays(source: Source) -> Any:
    initial = layers_with_delays(source.initial)
    layers = {
        name.removesuffix(".synapse"): (
            *(each.effective_delay().detach().numpy().ravel() for each in (initial[name], layer)),
            layer.min_delay_steps, layer.max_delay_steps,
        )
        for name, layer in layers_with_delays(source.network).items()
        if layer.max_delay_steps > layer.min_delay_steps
    }  # fmt: skip
    return plot.delays_figure(layers, dt_ms=source.recipe.data.dt_ms) if layers else None


def _confusion(source: Source) -> Any:
    result = read_evaluation(source.run, "confusion", "class_names")
    return plot.confusion_matrix(np.array(result["confusion"]), class_names=result["class_names"])


def _tokens(source: Source) -> Any:
    vocabulary = source.network.card.vocabulary
    tokens = torch.from_numpy(corpus_of(source.recipe, vocabulary).valid[: TOKENS + 1]).long()
    spikes, bits = spikes_of(with_integer_delays(source.network).eval(), tokens)
    if not spikes:
        return None
    symbols = [vocabulary.decode(tokens[i : i + 1].numpy()) for i in range(len(tokens) - 1)]
    return plot.token_raster_figure(symbols, spikes, bits=bits, neurons=32, title=source.recipe.name)


@torch.inference_mode()
def spikes_of(network: SpikeGPT, tokens: torch.Tensor) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Spikes ``[time, neuron]`` of every population while the network reads a text, and bits of each token.

    ``tokens``: ``[time + 1]``; the last is a target only. The first token's bits are 0: nothing is known before it.
    """
    spikes: dict[str, np.ndarray] = {}

    def keep(name: str, output: torch.Tensor) -> None:
        spikes[population(name)] = output[:, 0].numpy()

    hooks = [
        module.register_forward_hook(lambda module, args, output, name=name: keep(name, output[0]))
        for name, module in network.named_modules()
        if isinstance(module, LIF)
    ]
    logits, _ = network(tokens[:-1, None])
    for hook in hooks:
        hook.remove()
    nats = F.cross_entropy(logits[:-1, 0].double(), tokens[1:-1], reduction="none")
    return spikes, np.concatenate([[0.0], nats.numpy() / np.log(2)])


def _rates(source: Source) -> Any:
    rates = read_evaluation(source.run).get("firing_rates")
    return plot.firing_rates(rates, title=source.recipe.name) if rates else None


def _shift_delays(source: Source) -> Any:
    learned = _delays_and_weights(source.network)
    if not learned:
        return None
    # Weights start at 0, so that initial delays count alike.
    initial = {name: (delay, np.ones_like(w)) for name, (delay, w) in _delays_and_weights(source.initial).items()}
    return plot.shift_delays_figure(learned, max_delay_steps=source.recipe.model.max_delay_steps, before=initial)


def _delays_and_weights(network: nn.Module) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    return {
        population(name.removesuffix(".shift")): (shift.delay.detach().numpy(), shift.weight.detach().numpy())
        for name, shift in delay_shifts(network).items()
        if shift.delay is not None and shift.weight is not None
    }


def _positions(source: Source) -> Any:
    unit = "byte" if source.recipe.data.vocabulary == "bytes" else "character"
    bits = read_evaluation(source.run, "bits_by_position")["bits_by_position"]
    return plot.bits_by_position({source.recipe.name: bits}, unit=unit)


_SILENT = "its network does not spike"
EVENTS = {
    "rasters": Picture(_rasters),
    "membranes": Picture(_membranes),
    "delays": Picture(_delays, "its network has no delays that could be learned"),
    "curves": Picture(_curves),
    "confusion": Picture(_confusion, evaluated=True),
}
SENTENCES = {"curves": Picture(_curves), "rates": Picture(_rates, _SILENT, evaluated=True)}
REGRESSION = {"delays": EVENTS["delays"], "curves": Picture(_curves), "rates": Picture(_rates, _SILENT, evaluated=True)}
LANGUAGE = {
    "tokens": Picture(_tokens, _SILENT),
    "rates": SENTENCES["rates"],
    "shift_delays": Picture(_shift_delays, "its network has no delays"),
    "positions": Picture(_positions, evaluated=True),
    "curves": SENTENCES["curves"],
}
