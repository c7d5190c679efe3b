"""The classifier with learned delays, in all its published sizes, feed-forward or recurrent."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

import torch
from torch import nn

from snn_delays.arguments import integer, real, shown
from snn_delays.errors import ConfigError
from snn_delays.nn import (
    LIF,
    BatchNorm,
    DelayedLayer,
    DelayedLinear,
    Dropout,
    LeakyIntegrator,
    Neuron,
    Recurrent,
    Sequential,
)
from snn_delays.nn.delayed import rounded
from snn_delays.ops.surrogate import ATan, Surrogate

# Of a recurrent weight, beside that of a feed-forward one. He-uniform weights of n neurons to themselves have spectral
# radius sqrt(2); 0.2 of that times the surrogate's largest slope, 2.5, is below one: at first neither spikes nor
# gradients grow on their way round.
RECURRENT_SCALE = 0.2

_SHD = {"in_features": 140, "classes": 20, "max_delay_steps": 24, "tau_steps": 1.005, "dropout": 0.4}
_SSC = {"in_features": 140, "classes": 35, "max_delay_steps": 30, "tau_steps": 1.5, "dropout": 0.25}

# Hammouamri et al., ICLR 2024: the networks of the paper at 10 ms a step (windows of 25 and 31 steps). Those of SSC
# serve Speech Commands too, and their headline results are those with two synapses a pair (2kc).
PUBLISHED: dict[str, dict[str, Any]] = {
    "hammouamri_2024_shd_2x256": {**_SHD, "hidden": (256, 256)},
    "hammouamri_2024_ssc_2x512_2kc": {**_SSC, "hidden": (512, 512), "delay_count": 2},
    "hammouamri_2024_ssc_3x512": {**_SSC, "hidden": (512, 512, 512)},
    "hammouamri_2024_ssc_3x512_2kc": {**_SSC, "hidden": (512, 512, 512), "delay_count": 2},
}


def widths(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """Neurons or maps of the layers in a row. Raises ConfigError for anything but a row of integers above 0."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{name} has an integer for each layer, as in {name}=(256, 256); got {shown(given)}")
    return tuple(integer(f"{name}[{i}]", each, 1) for i, each in enumerate(given))


class DelayClassifier(Sequential):
    """Spikes in, readout membranes out: hidden layers of delayed synapses, norm, LIF, dropout; then leaky integrators.

    Args:
        in_features: input channels.
        hidden: neurons of each hidden layer.
        classes: readout neurons.
        max_delay_steps: longest delay of every layer; 0 gives the network without delays.
        min_delay_steps: shortest delay of every layer.
        recurrent: every hidden population also hears its own spikes (:class:`snn_delays.nn.Recurrent`), through
            delays of at least one step, and of exactly one where ``max_delay_steps`` is 0.
        delay_count: synapses for each pair of neurons.
        sharing: delays per ``"synapse"``, ``"axon"`` or ``"dendrite"``.
        taps: how delays are spread; with ``learn_delay=False`` delays are whole steps and are not spread.
        sigma_steps: initial width of the taps; None takes half the window.
        learn_delay: train the delays; False keeps random whole ones.
        delay_init: see :class:`snn_delays.nn.DelayedLinear`; with ``learn_delay=False`` what it draws is rounded.
        tau_steps: membrane time constant of all neurons, in steps.
        threshold, reset, detach_reset, surrogate: of the hidden neurons (:class:`snn_delays.nn.LIF`).
        dropout: probability of silencing a hidden neuron for a whole sample.

    Children: ``hidden1``, ``hidden2``, ... each with ``synapse``, ``norm``, ``neuron``, ``dropout``; ``readout`` with
    ``synapse``, ``integrator``. A recurrent ``neuron`` has ``synapse`` and ``neuron`` inside. Shapes:
    ``[time, batch, in_features]`` to ``[time, batch, classes]``.

    Source: Hammouamri et al., ICLR 2024, section 3. There each layer adds ``(K - 1) // 2`` steps to the sequence; here
    none does, and the recipe's ``tail_steps`` runs the network on after a sample's end instead.
    """

    computes_as = Sequential

    def __init__(
        self,
        in_features: int,
        hidden: tuple[int, ...],
        classes: int,
        *,
        max_delay_steps: int,
        min_delay_steps: int = 0,
        recurrent: bool = False,
        delay_count: int = 1,
        sharing: str = "synapse",
        taps: str = "gaussian",
        sigma_steps: float | None = None,
        learn_delay: bool = True,
        delay_init: str = "uniform",
        tau_steps: float = 2.0,
        threshold: float = 1.0,
        reset: str = "hard",
        detach_reset: bool = True,
        surrogate: Surrogate | None = None,
        dropout: float = 0.0,
    ) -> None:
        in_features, classes = integer("in_features", in_features, 1), integer("classes", classes, 1)
        hidden = widths("hidden", hidden)
        if not hidden:
            raise ConfigError("hidden must name at least one layer, as in hidden=(256, 256)")
        tau_steps, threshold = real("tau_steps", tau_steps), real("threshold", threshold)
        if not learn_delay:
            taps, delay_init = "linear", rounded(delay_init)

        delays: dict[str, Any] = {
            "sharing": sharing, "delay_count": delay_count, "taps": taps, "sigma_steps": sigma_steps,
            "learn_delay": learn_delay, "delay_init": delay_init,
        }  # fmt: skip

        def synapse(inputs: int, outputs: int) -> DelayedLinear:
            return DelayedLinear(
                inputs, outputs, max_delay_steps=max_delay_steps, min_delay_steps=min_delay_steps, **delays
            )

        def population(neurons: int) -> Neuron:
            lif = LIF(
                tau_steps, threshold=threshold, reset=reset, detach_reset=detach_reset,
                surrogate=ATan() if surrogate is None else surrogate,
            )  # fmt: skip
            if not recurrent:
                return lif
            back = DelayedLinear(
                neurons, neurons, max_delay_steps=max(max_delay_steps, 1), min_delay_steps=max(min_delay_steps, 1),
                **delays,
            )  # fmt: skip
            with torch.no_grad():
                back.weight.mul_(RECURRENT_SCALE)
            return Recurrent(back, lif)

        neurons = (in_features, *hidden)
        layers = {
            f"hidden{i}": Sequential(
                synapse=synapse(inputs, outputs),
                norm=BatchNorm(outputs),
                neuron=population(outputs),
                dropout=Dropout(dropout),
            )
            for i, (inputs, outputs) in enumerate(pairwise(neurons), 1)
        }
        layers["readout"] = Sequential(synapse=synapse(neurons[-1], classes), integrator=LeakyIntegrator(tau_steps))
        super().__init__(**layers)

    @classmethod
    def published(cls, name: str, **changes: Any) -> "DelayClassifier":
        """A published network by name (see ``PUBLISHED``), with any argument changed."""
        if name not in PUBLISHED:
            raise ConfigError(f"no published network {name!r}; there are {', '.join(PUBLISHED)}")
        return cls(**{"delay_init": "hammouamri_2024", **PUBLISHED[name], **changes})


def delayed_layers(network: nn.Module) -> dict[str, DelayedLayer]:
    """Every delayed synapse of a network, linear or convolutional, by its dotted name."""
    return {name: module for name, module in network.named_modules() if isinstance(module, DelayedLayer)}
