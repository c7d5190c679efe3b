"""Fine-tuning for chips: a finished run's discrete network trained on, its delays fixed, its weights on a grid.

What is trained is what is exported: integer delays, norms folded into weights and biases, weights rounded in the
forward pass (:mod:`snn_delays.nn.quantize`). Dropout is all that the discrete network lacks.
"""

import hashlib
from pathlib import Path
from typing import Any

from snn_delays.data.dataset import BinnedDataset
from snn_delays.discrete.discretize import discretize
from snn_delays.discrete.network import nested
from snn_delays.errors import CheckpointError, ConfigError, DataError
from snn_delays.messages import command
from snn_delays.nn import DelayedLayer, Dropout, Recurrent, Sequential, layers_of, layers_with_delays
from snn_delays.nn.quantize import quantize_weights
from snn_delays.recipes.build import build_network
from snn_delays.recipes.events import FineTuningConfig, Recipe
from snn_delays.recipes.keys import acting, flat
from snn_delays.training import checkpoint
from snn_delays.training.runlog import Run, open_run


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


def run_to_fine_tune(folder: Path, recipe: Recipe, fine_tuning: FineTuningConfig) -> Run:
    """The finished run that a run in ``folder`` fine-tunes; a name alone is looked for beside ``folder``.

    Raises CheckpointError if it is not there or not finished, ConfigError if its data, its network or the draw of its
    validation samples is not the recipe's.
    """
    beside = Path(fine_tuning.run).name == fine_tuning.run
    path = folder.parent / fine_tuning.run if beside else Path(fine_tuning.run)
    if not (path / "recipe.toml").exists():
        out = () if path == Path("runs", path.name) else ("--out", path)
        raise CheckpointError(
            f"fine-tuning starts from the run {path}, and there is none; train it first: "
            f"{command('train', path.name, *out)} (or name another with --set fine_tuning.run=FOLDER)"
        )
    origin = open_run(path, "events")
    done, epochs = len(origin.progress()["history"]), origin.recipe.training.epochs
    if done < epochs:
        raise CheckpointError(
            f"fine-tuning starts from a finished run, and {path} has done {done} of {epochs} epochs; finish it with "
            f"{origin.resume_command()}"
        )
    old, new = fixed_keys(origin.recipe), fixed_keys(recipe)
    for key in {**old, **new}:
        if old.get(key) != new.get(key):
            raise ConfigError(
                f"{path} was trained with {key} = {old.get(key)!r}, the recipe says {new.get(key)!r}; what is "
                "fine-tuned keeps data and model: take that run's recipe as the base"
            )
    return origin


def fixed_keys(recipe: Recipe) -> dict[str, Any]:
    """What fine-tuning must not change: all that makes the discrete network, its input and its validation samples."""
    table = acting(recipe.model_copy(update={"fine_tuning": None})).model_dump(mode="json", include={"data", "model"})
    if recipe.data.validation == "fraction":
        table["seed"] = recipe.seed  # draws the samples that no epoch has been trained on
    free = (
        "data.memory",
        "data.bucketing",
        "model.dropout",
        "model.recurrent.dropout",
        "model.detach_reset",
        "model.surrogate.",
    )
    return {key: value for key, value in flat(table).items() if not key.startswith(free)}


def warm_start(run: Run, fine_tuning: FineTuningConfig, network: Sequential, dataset: BinnedDataset) -> dict[str, Any]:
    """Load what the finished run learned into the network that is fine-tuned; returns the record of it.

    Raises as :func:`run_to_fine_tune`, and DataError if that run's data were others.
    """
    origin = run_to_fine_tune(run.folder, run.recipe, fine_tuning).pinned()
    progress = origin.progress()
    if progress["checksum"] != dataset.checksum:
        raise DataError(
            f"{origin.folder} was trained on {progress['source']} (sha256 {progress['checksum']}), the file here is "
            f"{dataset.source} ({dataset.checksum}); put the first back, or train that run anew"
        )
    epoch = origin.best_epoch()
    learned = quantize_network(network_to_train(origin.recipe, dataset.sensor, dataset.n_classes), origin.recipe)
    checkpoint.load_network(origin.checkpoints, epoch, learned)
    begin, clamped = _discrete(learned, fine_tuning)
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


def _discrete(network: Sequential, fine_tuning: FineTuningConfig) -> tuple[Sequential, dict[str, int]]:
    """The discrete form, dropout where it was, weights and biases trainable; and its synapses whose delays were cut."""
    discrete = discretize(network, max_delay_steps=fine_tuning.max_delay_steps, clamp=True)
    layers: dict[str, Any] = dict(layers_of(discrete))
    for name, layer in layers_of(network):
        if isinstance(layer, Recurrent):
            layers[name].dropout = layer.dropout
    kept = {name: layer if isinstance(layer, Dropout) else layers.get(name) for name, layer in layers_of(network)}
    trained = Sequential(**nested({name: layer for name, layer in kept.items() if layer is not None}))
    for layer in layers_with_delays(trained).values():
        layer.weight.requires_grad_(True)
        if layer.bias is not None:
            layer.bias.requires_grad_(True)
    return trained, {layer.name: layer.delays_over_limit for layer in discrete.report.layers}
