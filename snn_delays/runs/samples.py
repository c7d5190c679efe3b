"""The samples a trained classifier of events is measured on; the test part is opened only where it is requested."""

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.dataset import BinnedDataset
from snn_delays.data.loaders import load_binned
from snn_delays.errors import ConfigError
from snn_delays.recipes.events import Recipe
from snn_delays.training.callbacks import Callback
from snn_delays.training.sources import loading, selection, shaped

SPLITS = ("validation", "test")


def load_test_data(recipe: Recipe, callback: Callback | None = None, dataset: str | None = None) -> BinnedDataset:
    """The test part of a recipe's data set, or of another one, binned as the training part was."""
    name = dataset or recipe.data.dataset
    return shaped(load_binned(name, "test", **loading(recipe, callback)), recipe)


def samples_of(recipe: Recipe, split: str, callback: Callback | None = None) -> tuple[BinnedDataset, NDArray[np.int64]]:
    """A data set, and the indices of the samples of ``split``, ``"validation"`` or ``"test"``, in it.

    Raises ConfigError for another split.
    """
    if split not in SPLITS:
        raise ConfigError(f"samples come from the split validation or test, got {split!r}")
    if split == "test":
        dataset = load_test_data(recipe, callback)
        return dataset, np.arange(len(dataset))
    chosen = selection(recipe, callback)
    return chosen.validation, chosen.valid


def counts_of(dataset: BinnedDataset, indices: NDArray[np.int64], recipe: Recipe) -> NDArray[np.uint8]:
    """Counts ``[time, sample, input]`` of samples, with the recipe's tail."""
    return dataset.batch(indices, recipe.data.tail_steps).counts.flatten(2).numpy()
