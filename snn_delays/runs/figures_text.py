"""The pictures of a language model's run, drawn from its records and its network with whole delays."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from snn_delays import plot
from snn_delays.errors import ConfigError
from snn_delays.messages import did_you_mean
from snn_delays.models.spikegpt import SpikeGPT, delay_shifts
from snn_delays.nn.neuron import LIF
from snn_delays.recipes.text import LanguageRecipe
from snn_delays.runs.evaluate import read_evaluation
from snn_delays.runs.evaluate_text import trained_language_network
from snn_delays.training.activity import population
from snn_delays.training.runlog import Run
from snn_delays.training.tasks.language import corpus_of

SHOWN = 128  # tokens of the validation text under the raster


def draw_language(run: Run, what: Sequence[str] = ()) -> list[Path]:
    """Draw pictures of a run into its ``figures`` folder; ``what`` names some of ``PICTURES``, none means all it has.

    Rasters are of the beginning of the validation text. Rates and positions are of the test text, as ``evaluate``
    measured them. Raises ConfigError for an unknown name, or one that this network has nothing to show of.
    """
    pictures = PICTURES if isinstance(run.recipe, LanguageRecipe) else {"curves": _curves, "rates": _rates}
    for name in what:
        if name not in pictures:
            hint = did_you_mean(name, pictures)
            raise ConfigError(f"there is no picture {name!r} of this run; {hint}choose from {', '.join(pictures)}")
    there = [name for name in pictures if name not in EVALUATED or run.evaluation.exists()]
    drawn = {name: pictures[name](run) for name in (what or there)}
    for name in what:
        if not drawn[name]:
            raise ConfigError(f"{run.folder} has nothing to show in the picture {name!r}: {_WITHOUT[name]}")
    return [path for paths in drawn.values() for path in paths]


def _tokens(run: Run) -> list[Path]:
    network, vocabulary = trained_language_network(run)
    tokens = torch.from_numpy(corpus_of(run.recipe, vocabulary).valid[: SHOWN + 1]).long()
    spikes, bits = spikes_of(network, tokens)
    if not spikes:
        return []
    symbols = [vocabulary.decode(tokens[i : i + 1].numpy()) for i in range(len(tokens) - 1)]
    figure = plot.token_raster_figure(symbols, spikes, bits=bits, neurons=32, title=run.recipe.name)
    return [plot.save_figure(figure, run.figures / "tokens.png")]


@torch.inference_mode()
def spikes_of(network: SpikeGPT, tokens: torch.Tensor) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Spikes ``[time, neuron]`` of every population while the network reads a text, and bits of each token.

    ``tokens``: ``[time + 1]``; the last is read by nobody. The first token's bits are 0: nothing is known before it.
    """
    found: dict[str, np.ndarray] = {}

    def recorder(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: tuple[torch.Tensor, Any]) -> None:
            found[name] = output[0][:, 0].numpy()

        return hook

    hooks = [
        module.register_forward_hook(recorder(population(name)))
        for name, module in network.named_modules()
        if isinstance(module, LIF)
    ]
    logits, _ = network(tokens[:-1, None])
    for hook in hooks:
        hook.remove()
    nats = F.cross_entropy(logits[:-1, 0].double(), tokens[1:-1], reduction="none")
    return found, np.concatenate([[0.0], nats.numpy() / np.log(2)])


def _rates(run: Run) -> list[Path]:
    rates = read_evaluation(run).get("firing_rates")
    if not rates:
        return []
    axes = plot.firing_rates(rates, title=run.recipe.name)
    return [plot.save_figure(axes.figure, run.figures / "rates.png")]


def _shift_delays(run: Run) -> list[Path]:
    found = []
    for epoch in (0, None):
        network, _ = trained_language_network(run, epoch, whole=False)
        found.append(
            {
                population(name.removesuffix(".shift")): (shift.delay.detach().numpy(), shift.weight.detach().numpy())
                for name, shift in delay_shifts(network).items()
                if shift.delay is not None and shift.weight is not None
            }
        )
    if not found[1]:
        return []
    longest = run.recipe.model.max_delay_steps
    before = {name: (delay, np.ones_like(weight)) for name, (delay, weight) in found[0].items()}  # weights begin at 0
    figure = plot.shift_delays_figure(found[1], max_delay_steps=longest, before=before)
    return [plot.save_figure(figure, run.figures / "shift_delays.png")]


def _positions(run: Run) -> list[Path]:
    unit = "byte" if run.recipe.data.vocabulary == "bytes" else "character"
    axes = plot.bits_by_position(
        {run.recipe.name: read_evaluation(run, "bits_by_position")["bits_by_position"]}, unit=unit
    )
    return [plot.save_figure(axes.figure, run.figures / "positions.png")]


def _curves(run: Run) -> list[Path]:
    figure = plot.learning_curves_figure(run.curves())
    return [plot.save_figure(figure, run.figures / "curves.png")]


PICTURES: dict[str, Callable[[Run], list[Path]]] = {
    "tokens": _tokens,
    "rates": _rates,
    "shift_delays": _shift_delays,
    "positions": _positions,
    "curves": _curves,
}
EVALUATED = ("rates", "positions")
_WITHOUT = {
    "tokens": "its network does not spike",
    "rates": "its network does not spike",
    "shift_delays": "its network has no delays",
}
