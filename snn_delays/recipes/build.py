"""From a recipe to a network."""

import math
from dataclasses import fields
from typing import Any

from snn_delays.data.dataset import BinnedDataset
from snn_delays.errors import ConfigError
from snn_delays.models import ConvolutionalClassifier, DelayClassifier
from snn_delays.nn import CellSpec, Sequential
from snn_delays.nn.specs import DelaySpec, NeuronSpec, RecurrentSpec
from snn_delays.ops.surrogate import ATan, Boxcar, Exponential, FastSigmoid, MultiGaussian, Sigmoid, Triangle
from snn_delays.recipes.events import Recipe
from snn_delays.recipes.strict import Strict
from snn_delays.units import tau_steps_from_ms

_SURROGATES: dict[str, Any] = {
    "atan": ATan, "fast_sigmoid": FastSigmoid, "triangle": Triangle, "sigmoid": Sigmoid, "boxcar": Boxcar,
    "exponential": Exponential, "multi_gaussian": MultiGaussian,
}  # fmt: skip


def build_network(recipe: Recipe, sensor: tuple[int, ...], classes: int) -> Sequential:
    """The network of a recipe, freshly drawn from torch's global generator, in the recipe's precision.

    ``sensor``: shape of a step of the input. Raises ConfigError if the network does not take that shape.
    """
    config = recipe.model
    specs = (delay_spec(recipe), neuron_spec(recipe))
    network: Sequential
    if config.kind == "convolutional":
        if len(sensor) != 3:
            raise ConfigError(
                f"kind = 'convolutional' takes [polarity, y, x] and the data set has {sensor}; use kind = 'classifier'"
            )
        network = ConvolutionalClassifier(
            sensor, config.maps, config.hidden, classes, *specs, kernel_size=config.kernel_size,
            padding=config.padding, pool=config.pool, pooling=config.pooling, dropout=config.dropout,
            readout=readout_options(recipe),
        )  # fmt: skip
    else:
        network = DelayClassifier(
            math.prod(sensor), config.hidden, classes, *specs, recurrent=recurrence(recipe), dropout=config.dropout,
            readout=readout_options(recipe), readout_bias=config.readout_bias,
        )  # fmt: skip
    return network.to(recipe.training.dtype)


def network_for(recipe: Recipe, dataset: BinnedDataset) -> Sequential:
    """The network of a recipe, sized for a data set."""
    return build_network(recipe, dataset.sensor, dataset.n_classes)


def delay_spec(recipe: Recipe) -> DelaySpec:
    """The delays of a recipe's layers, in steps."""
    annealing = recipe.annealing()
    return DelaySpec(
        **_shared(recipe.model, DelaySpec),
        max_delay_steps=recipe.max_delay_steps,
        sigma_steps=None if annealing is None else annealing.sigma_at(0),
        learn_delay=recipe.model.delays == "learned",
    )


def recurrence(recipe: Recipe) -> bool | RecurrentSpec:
    """The recurrence of a recipe's hidden layers."""
    loop = recipe.model.loop
    if loop is None:
        return bool(recipe.model.recurrent)
    annealing = recipe.annealing()
    learns = {"learn_delay": True} if loop.delays == "learned" else {"learn_delay": False, "learn_width": "none"}
    options = _shared(loop, DelaySpec) | learns | {"taps": loop.taps if loop.delays == "learned" else "linear"}
    delays = DelaySpec(
        **options, max_delay_steps=recipe.max_recurrent_steps, delay_rounding=recipe.model.delay_rounding,
        sigma_steps=None if annealing is None else annealing.sigma_at(0),
    )  # fmt: skip
    return RecurrentSpec(delays, orthogonal=loop.weight_init == "orthogonal", dropout=loop.dropout, layers=loop.layers)


def readout_options(recipe: Recipe) -> dict[str, Any]:
    """Arguments of the readout's integrator that are not those of the hidden layers."""
    config = recipe.model
    if config.readout == "linear":
        return {"tau_steps": 1.0}
    own = None if config.tau_readout_ms is None else tau_steps_from_ms(config.tau_readout_ms, recipe.data.dt_ms)
    return ({} if own is None else {"tau_steps": own}) | ({"decay_input": True} if config.readout == "average" else {})


def neuron_spec(recipe: Recipe) -> NeuronSpec:
    """The neurons of a recipe's hidden layers."""
    surrogate = recipe.model.surrogate
    options = _shared(recipe.model, NeuronSpec) | {"surrogate": _SURROGATES[surrogate.kind](surrogate.scale)}
    options["tau_steps"] = tau_steps_from_ms(recipe.model.tau_mem_ms, recipe.data.dt_ms)
    kind, own = recipe.model.neuron.kind, recipe.model.neuron.options(recipe.data.dt_ms)
    if "decay_input" in own:
        options["decay_input"] = own.pop("decay_input")
    if kind == "lif":
        return NeuronSpec(**options)
    if kind == "brf":
        del options["detach_reset"]
    return CellSpec(**options, kind=kind, per_neuron=own.pop("per_neuron", False), options=own)


def _shared(section: Strict, kind: Any) -> dict[str, Any]:
    """The keys of a section that are fields of a spec by the same name."""
    return {field.name: getattr(section, field.name) for field in fields(kind) if hasattr(section, field.name)}
