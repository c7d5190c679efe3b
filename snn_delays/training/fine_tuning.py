"""Fine-tuning for chips: a finished run's discrete network trained on, its delays fixed, its weights on a grid.

What is trained is what is exported: whole delays, norms folded into weights and biases, weights rounded on the way
forward (:mod:`snn_delays.nn.quantized`). Dropout is all that the discrete network lacks.
"""

import hashlib
from typing import Any

from torch import nn

from snn_delays.data.dataset import BinnedDataset
from snn_delays.discrete.discretize import discretize
from snn_delays.errors import DataError
from snn_delays.models.classifier import delayed_layers
from snn_delays.nn import DelayedLayer, Dropout, Recurrent, Sequential, layers_of
from snn_delays.nn.quantized import quantize_weights
from snn_delays.recipes.build import build_network
from snn_delays.recipes.events import FineTuningConfig, Recipe
from snn_delays.training import checkpoint
from snn_delays.training.runlog import Run, run_to_fine_tune


def network_to_train(recipe: Recipe, sensor: tuple[int, ...], classes: int) -> Sequential:
    """The network of a recipe, freshly drawn, in the form in which it is trained: discrete where it is fine-tuned."""
    network = build_network(recipe, sensor, classes)
    return network if recipe.fine_tuning is None else _discrete(network, recipe.fine_tuning)[0]


def quantize_network(network: Sequential, recipe: Recipe) -> Sequential:
    """The same network, its weights put on the grid of the recipe if that has one: a step for each population."""
    if recipe.fine_tuning is None:
        return network
    layers = [layer for _, layer in layers_of(network)]
    for layer, following in zip(layers, [*layers[1:], None]):
        if isinstance(layer, DelayedLayer):
            back = (following.synapse,) if isinstance(following, Recurrent) else ()
            quantize_weights(layer, *back, bits=recipe.fine_tuning.weight_bits, scale=recipe.fine_tuning.scale)
    return network


def take_up(run: Run, asked: FineTuningConfig, network: Sequential, dataset: BinnedDataset) -> dict[str, Any]:
    """Read what the finished run learned into the network of the run that takes it up; returns what that was.

    Raises as :func:`snn_delays.training.runlog.run_to_fine_tune`, and DataError if that run's data were others.
    """
    origin = run_to_fine_tune(run.folder, run.recipe, asked).pinned()
    progress = origin.progress()
    if progress["checksum"] != dataset.checksum:
        raise DataError(
            f"{origin.folder} was trained on {progress['source']} (sha256 {progress['checksum']}), the file here is "
            f"{dataset.source} ({dataset.checksum}); put the first back, or train that run anew"
        )
    epoch = origin.best_epoch()
    learned = quantize_network(network_to_train(origin.recipe, dataset.sensor, dataset.n_classes), origin.recipe)
    checkpoint.load_network(origin.checkpoints, epoch, learned)
    begin, clamped = _discrete(learned, asked)
    network.load_state_dict(quantize_network(begin, run.recipe).state_dict())
    stored = checkpoint.network_file(origin.checkpoints, epoch)
    return {
        "run": origin.recipe.name,
        "folder": str(origin.folder),
        "epoch": epoch,
        "checkpoint_sha256": hashlib.sha256(stored.read_bytes()).hexdigest(),
        "valid_accuracy": next(row["valid_accuracy"] for row in progress["history"] if row["epoch"] == epoch),
        "synapses_clamped": clamped,
    }


def _discrete(network: Sequential, asked: FineTuningConfig) -> tuple[Sequential, dict[str, int]]:
    """The discrete form, dropout where it was, weights and biases trainable; and its synapses whose delays were cut."""
    discrete = discretize(network, max_delay_steps=asked.max_delay_steps, clamp=True)
    made = _like(network, dict(layers_of(discrete)))
    for layer in delayed_layers(made).values():
        layer.weight.requires_grad_(True)
        if layer.bias is not None:
            layer.bias.requires_grad_(True)
    return made, {layer.name: layer.delays_over_limit for layer in discrete.report.layers}


def _like(chain: Sequential, layers: dict[str, nn.Module], prefix: str = "") -> Sequential:
    """A chain nested as another, of the layers given by dotted name and of the other's dropout."""
    kept: dict[str, nn.Module] = {}
    for name, layer in chain.named_children():
        if isinstance(layer, Sequential):
            kept[name] = _like(layer, layers, f"{prefix}{name}.")
        elif isinstance(layer, Dropout):
            kept[name] = layer
        elif prefix + name in layers:
            kept[name] = layers[prefix + name]
    return Sequential(**kept)
