"""The augmentations of a recipe, applied to a training batch."""

import torch

from snn_delays.data import augment
from snn_delays.data.dataset import Batch
from snn_delays.recipes.events import AugmentConfig


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
