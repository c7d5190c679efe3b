"""Floor 2: parameters + operations = layers. Every layer is ``y, state = layer(x, state=None)``."""

from snn_delays.nn.dropout import Dropout, DropoutState
from snn_delays.nn.module import Sequential, SpikingModule, layers_of, record
from snn_delays.nn.neuron import LIF, LeakyIntegrator, MembraneState
from snn_delays.nn.norm import BatchNorm
from snn_delays.nn.synapse import DelayedLinear, DelayLineState

__all__ = [
    "LIF",
    "BatchNorm",
    "DelayLineState",
    "DelayedLinear",
    "Dropout",
    "DropoutState",
    "LeakyIntegrator",
    "MembraneState",
    "Sequential",
    "SpikingModule",
    "layers_of",
    "record",
]
