"""The pictures of networks on text. The raster opens the text; the others need records and networks alone."""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from torch import nn

from snn_delays import plot
from snn_delays.models.spikegpt import SpikeGPT, delay_shifts, with_integer_delays
from snn_delays.nn.neuron import LIF
from snn_delays.runs.figures import Picture, Source, curves, evaluated
from snn_delays.training.activity import population
from snn_delays.training.tasks.language import corpus_of

SHOWN = 128  # tokens of the validation text under the raster


def _tokens(source: Source) -> Figure | None:
    vocabulary = source.network.card.vocabulary
    tokens = torch.from_numpy(corpus_of(source.recipe, vocabulary).valid[: SHOWN + 1]).long()
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


def _rates(source: Source) -> Figure | None:
    rates = evaluated(source).get("firing_rates")
    return cast(Figure, plot.firing_rates(rates, title=source.recipe.name).figure) if rates else None


def _shift_delays(source: Source) -> Figure | None:
    before, after = (
        {
            population(name.removesuffix(".shift")): (shift.delay.detach().numpy(), shift.weight.detach().numpy())
            for name, shift in delay_shifts(network).items()
            if shift.delay is not None and shift.weight is not None
        }
        for network in (source.initial, source.network)
    )
    if not after:
        return None
    initial = {name: (delay, np.ones_like(weight)) for name, (delay, weight) in before.items()}  # weights start at 0
    return plot.shift_delays_figure(after, max_delay_steps=source.recipe.model.max_delay_steps, before=initial)


def _positions(source: Source) -> Figure:
    unit = "byte" if source.recipe.data.vocabulary == "bytes" else "character"
    bits = evaluated(source, "bits_by_position")["bits_by_position"]
    return cast(Figure, plot.bits_by_position({source.recipe.name: bits}, unit=unit).figure)


_SILENT = "its network does not spike"
OF_SENTENCES = {"curves": Picture(curves), "rates": Picture(_rates, _SILENT, evaluated=True)}
PICTURES = {
    "tokens": Picture(_tokens, _SILENT),
    "rates": OF_SENTENCES["rates"],
    "shift_delays": Picture(_shift_delays, "its network has no delays"),
    "positions": Picture(_positions, evaluated=True),
    "curves": OF_SENTENCES["curves"],
}
