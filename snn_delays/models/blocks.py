"""What classifiers are built of: hidden blocks of synapse, norm, neurons and dropout, and a readout."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from snn_delays.arguments import integer, shown
from snn_delays.errors import ConfigError
from snn_delays.nn import (
    LIF,
    BatchNorm,
    DelayedConv2d,
    DelayedLayer,
    DelayedLinear,
    Dropout,
    LeakyIntegrator,
    Neuron,
    Recurrent,
    Sequential,
    SpikingModule,
)
from snn_delays.nn.specs import DelaySpec, NeuronSpec

# Of a recurrent weight, relative to a feed-forward one. He-uniform weights of n neurons to themselves have spectral
# radius sqrt(2); 0.2 of that times the surrogate's largest slope, 2.5, is below one: at first neither spikes nor
# gradients grow as they go round.
RECURRENT_SCALE = 0.2


def widths(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """Neurons or maps of the layers in a row. Raises ConfigError for anything but a row of integers above 0."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{name} has an integer for each layer, as in {name}=(256, 256); got {shown(given)}")
    return tuple(integer(f"{name}[{i}]", each, 1) for i, each in enumerate(given))


class Blocks(NamedTuple):
    """What the blocks of a classifier have in common; ``factory`` holds device and dtype."""

    delays: DelaySpec
    neurons: NeuronSpec
    dropout: float
    recurrent: bool
    factory: dict[str, Any]

    @property
    def _delays(self) -> DelaySpec:
        """Delays that are not learned are integers: none is spread."""
        return self.delays if self.delays.learn_delay else self.delays.with_fixed_integers()

    def linear(self, inputs: int, outputs: int) -> DelayedLinear:
        """A linear synapse; where maps share a delay per pair of channels, it has one for each synapse."""
        sharing = "synapse" if self.delays.sharing == "channel" else self.delays.sharing
        return DelayedLinear(inputs, outputs, replace(self._delays, sharing=sharing), **self.factory)

    def convolution(self, inputs: int, outputs: int, kernel_size: Any, padding: Any) -> DelayedConv2d:
        """A convolutional synapse."""
        return DelayedConv2d(inputs, outputs, kernel_size, self._delays, padding=padding, **self.factory)

    def hidden(
        self, synapse: DelayedLayer, norm: type[BatchNorm] = BatchNorm, **following: SpikingModule
    ) -> Sequential:
        """Synapse, norm, neurons and dropout, and what follows."""
        outputs = synapse.weight.shape[0]
        return Sequential(
            synapse=synapse,
            norm=norm(outputs, **self.factory),
            neuron=self._population(outputs),
            dropout=Dropout(self.dropout),
            **following,
        )

    def readout(self, inputs: int, classes: int) -> Sequential:
        """Synapse and leaky integrators."""
        integrator = LeakyIntegrator(self.neurons.tau_steps, decay_input=self.neurons.decay_input, **self.factory)
        return Sequential(synapse=self.linear(inputs, classes), integrator=integrator)

    def _population(self, neurons: int) -> Neuron:
        lif = LIF(**vars(self.neurons), **self.factory)
        if not self.recurrent:
            return lif
        back = DelayedLinear(neurons, neurons, self._delays.for_recurrence(), **self.factory)
        with torch.no_grad():
            back.weight.mul_(RECURRENT_SCALE)
        return Recurrent(back, lif)
