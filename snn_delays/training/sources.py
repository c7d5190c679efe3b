"""The data of a recipe: what is trained on, and what epochs are compared on. Never the test data."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.binning import Binning
from snn_delays.data.dataset import BinnedDataset
from snn_delays.data.encoders.rate_free import RateFreeRule
from snn_delays.data.loaders import load_binned
from snn_delays.data.splits import validation_split
from snn_delays.errors import DataError
from snn_delays.recipes.events import Recipe
from snn_delays.training.callbacks import Callback

LoadingWatcher = Callback


@dataclass(frozen=True, eq=False)
class Selection:
    """The samples that are trained on, ``train`` of ``training``, and those that choose the epoch, ``valid`` of
    ``validation``; both data sets are one where part of the training set is held out.
    """

    training: BinnedDataset
    train: NDArray[np.int64]
    validation: BinnedDataset
    valid: NDArray[np.int64]


def training_data(recipe: Recipe, callback: Callback | None = None) -> BinnedDataset:
    """The training part of a recipe's data set, binned."""
    data = load_binned(recipe.data.dataset, "train", binning(recipe), **options(recipe, callback))
    return shaped(data, recipe)


def selection(recipe: Recipe, callback: Callback | None = None) -> Selection:
    """Training and validation samples by the recipe's rule.

    Rule ``"official"`` takes the data set's own ``valid`` split; see :func:`validation_split` for the others.
    """
    data, training = recipe.data, training_data(recipe, callback)
    if data.validation == "official":
        own = load_binned(data.dataset, "valid", binning(recipe), **options(recipe, callback))
        if own.class_names != training.class_names:
            raise DataError(f"the splits train and valid of {data.dataset!r} name other classes; fetch them again")
        return Selection(training, np.arange(len(training)), shaped(own, recipe), np.arange(len(own)))
    train, valid = validation_split(
        training, data.validation, speakers=data.validation_speakers, fraction=data.validation_fraction,
        seed=recipe.seed,
    )  # fmt: skip
    return Selection(training, train, training, valid)


def binning(recipe: Recipe) -> Binning:
    """How the recipe cuts time."""
    return Binning(recipe.data.binning, recipe.data.dt_ms, recipe.data.channel_group)


def options(recipe: Recipe, callback: Callback | None) -> dict[str, Any]:
    """Further arguments of :func:`load_binned`."""
    data = recipe.data
    rule = None if data.rate_free == "off" else RateFreeRule(data.rate_free_spikes, keep=data.rate_free)
    progress = callback.on_load if callback else None
    return {"memory": data.memory, "on_bad": data.on_bad, "rate_free": rule, "progress": progress}


def shaped(dataset: BinnedDataset, recipe: Recipe) -> BinnedDataset:
    """The data set as the recipe's network takes it: a camera's pixels in a row unless the network is convolutional."""
    return dataset if recipe.model.kind == "convolutional" else dataset.in_a_row()
