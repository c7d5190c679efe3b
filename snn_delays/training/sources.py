"""The data of a recipe for training and validation, and their augmentation. Never the test data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from snn_delays.data import augment
from snn_delays.data.binning import Binning
from snn_delays.data.dataset import Batch, BinnedDataset
from snn_delays.data.encoders.rate_free import RateFreeRule
from snn_delays.data.loaders import load_binned
from snn_delays.data.splits import validation_split
from snn_delays.errors import DataError
from snn_delays.recipes.events import AugmentConfig, Recipe
from snn_delays.training.callbacks import Callback


@dataclass(frozen=True, eq=False)
class Selection:
    """The samples that are trained on, ``train`` of ``training``, and those that choose the epoch, ``valid`` of
    ``validation``; one data set where a part of the training set is for validation.
    """

    training: BinnedDataset
    train: NDArray[np.int64]
    validation: BinnedDataset
    valid: NDArray[np.int64]


def training_data(recipe: Recipe, callback: Callback | None = None) -> BinnedDataset:
    """The training part of a recipe's data set, binned."""
    return shaped(load_binned(recipe.data.dataset, "train", **loading(recipe, callback)), recipe)


def selection(recipe: Recipe, callback: Callback | None = None) -> Selection:
    """Training and validation samples by the recipe's rule.

    Rule ``"official"`` takes the data set's own ``valid`` split; see :func:`validation_split` for the others.
    """
    data, training = recipe.data, training_data(recipe, callback)
    if data.validation == "official":
        valid = load_binned(data.dataset, "valid", **loading(recipe, callback))
        if valid.class_names != training.class_names:
            raise DataError(f"the splits train and valid of {data.dataset!r} name other classes; fetch them again")
        return Selection(training, np.arange(len(training)), shaped(valid, recipe), np.arange(len(valid)))
    train, valid_indices = validation_split(
        training, data.validation, speakers=data.validation_speakers, fraction=data.validation_fraction,
        seed=recipe.seed,
    )  # fmt: skip
    return Selection(training, train, training, valid_indices)


def loading(recipe: Recipe, callback: Callback | None) -> dict[str, Any]:
    """How :func:`load_binned` reads the recipe's data: its arguments besides name and split."""
    data = recipe.data
    return {
        "binning": Binning(data.binning, data.dt_ms, data.channel_group),
        "memory": data.memory,
        "on_bad": data.on_bad,
        "rate_free": None if data.rate_free == "off" else RateFreeRule(data.rate_free_spikes, keep=data.rate_free),
        "progress": callback.on_load if callback else None,
    }


def shaped(dataset: BinnedDataset, recipe: Recipe) -> BinnedDataset:
    """The data set as the recipe's network takes it: a camera's pixels in a row unless the network is convolutional."""
    return dataset if recipe.model.kind == "convolutional" else dataset.in_a_row()


def augmented(batch: Batch, config: AugmentConfig, classes: int, generator: torch.Generator) -> Batch:
    """The batch after every augmentation that is on, in the order of the recipe's section."""
    if config.channel_shift:
        batch = augment.channel_shift(batch, config.channel_shift, generator)
    if config.time_shift_steps:
        batch = augment.time_shift(batch, config.time_shift_steps, generator)
    if config.neuron_mask_probability:
        batch = augment.neuron_mask(batch, config.neuron_mask_probability, config.neuron_mask_max, generator)
    if config.time_mask_probability:
        batch = augment.time_mask(batch, config.time_mask_probability, config.time_mask_max_steps, generator)
    if config.cutmix_probability:
        batch = augment.cutmix(batch, classes, config.cutmix_probability, generator)
    return batch
