"""From a recipe to a network."""

import math
from typing import Any

import torch

from snn_delays.data.dataset import BinnedDataset
from snn_delays.errors import ConfigError
from snn_delays.models import ConvolutionalClassifier, DelayClassifier
from snn_delays.nn import Sequential
from snn_delays.ops.surrogate import ATan, FastSigmoid, Sigmoid, Surrogate, Triangle
from snn_delays.recipes.events import Recipe, SurrogateConfig
from snn_delays.recipes.sigma import sigma_at
from snn_delays.units import tau_steps_from_ms


def build_network(recipe: Recipe, sensor: tuple[int, ...], classes: int) -> Sequential:
    """The network of a recipe, freshly drawn from torch's global generator, in the recipe's precision.

    ``sensor``: shape of a step of the input. Raises ConfigError if the network does not take that shape.
    """
    config = recipe.model
    common: dict[str, Any] = {
        "max_delay_steps": recipe.max_delay_steps,
        "min_delay_steps": config.min_delay_steps,
        "sharing": config.sharing,
        "taps": config.taps,
        "sigma_steps": sigma_at(recipe, 0),
        "learn_delay": config.delays == "learned",
        "delay_init": config.delay_init,
        "tau_steps": tau_steps_from_ms(config.tau_mem_ms, recipe.data.dt_ms),
        "threshold": config.threshold,
        "reset": config.reset,
        "detach_reset": config.detach_reset,
        "surrogate": build_surrogate(config.surrogate),
        "dropout": config.dropout,
    }
    network: Sequential
    if config.kind == "convolutional":
        if len(sensor) != 3:
            raise ConfigError(
                f"kind = 'convolutional' takes [polarity, y, x] and the data set has {sensor}; use kind = 'classifier'"
            )
        network = ConvolutionalClassifier(
            sensor, config.maps, config.hidden, classes, kernel_size=config.kernel_size, padding=config.padding,
            pool=config.pool, pooling=config.pooling, **common,
        )  # fmt: skip
    else:
        network = DelayClassifier(
            math.prod(sensor), config.hidden, classes, recurrent=config.recurrent, delay_count=config.delay_count,
            **common,
        )  # fmt: skip
    return network.to(torch.float64 if recipe.training.precision == "64-true" else torch.float32)


def network_for(recipe: Recipe, dataset: BinnedDataset) -> Sequential:
    """The network of a recipe, sized for a data set."""
    return build_network(recipe, dataset.sensor, dataset.n_classes)


def build_surrogate(config: SurrogateConfig) -> Surrogate:
    """The surrogate a recipe names."""
    match config.kind:
        case "atan":
            return ATan(config.scale)
        case "fast_sigmoid":
            return FastSigmoid(config.scale)
        case "triangle":
            return Triangle(config.scale)
        case "sigmoid":
            return Sigmoid(config.scale)
