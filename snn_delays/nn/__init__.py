"""Floor 2: parameters + operations = layers. Every layer is ``y, state = layer(x, state=None)``."""

from snn_delays.fixed_point import FixedPoint
from snn_delays.nn.conv import DelayedConv2d
from snn_delays.nn.delay_shift import DelayShift, NeuronDelays
from snn_delays.nn.delayed import DelayedLayer, DelayLineState
from snn_delays.nn.dropout import Dropout, DropoutState
from snn_delays.nn.embedding import SpikingEmbedding
from snn_delays.nn.fixed_point import FixedPointIntegrator, FixedPointLIF
from snn_delays.nn.linear import Linear
from snn_delays.nn.module import Sequential, SpikingModule, call_layer, layers_of, record
from snn_delays.nn.neuron import LIF, LeakyIntegrator, MembraneState, Neuron
from snn_delays.nn.norm import BatchNorm, BatchNorm2d
from snn_delays.nn.optimise import keep_delays_in_window, layers_with_delays, parameter_groups
from snn_delays.nn.pooling import AvgPool2d, Flatten, MaxPool2d, Pool2d, SumPool2d
from snn_delays.nn.quantize import quantize
from snn_delays.nn.recurrent import Recurrent, RecurrentState
from snn_delays.nn.rwkv import SpikingChannelMix, SpikingTimeMix
from snn_delays.nn.sigma import SigmaSchedule
from snn_delays.nn.specs import DelaySpec, NeuronSpec, ShiftSpec
from snn_delays.nn.state import detach_state, map_state, move_state
from snn_delays.nn.synapse import DelayedLinear

__all__ = [
    "LIF",
    "AvgPool2d",
    "BatchNorm",
    "BatchNorm2d",
    "DelayLineState",
    "DelayShift",
    "DelaySpec",
    "DelayedConv2d",
    "DelayedLayer",
    "DelayedLinear",
    "Dropout",
    "DropoutState",
    "FixedPoint",
    "FixedPointIntegrator",
    "FixedPointLIF",
    "Flatten",
    "LeakyIntegrator",
    "Linear",
    "MaxPool2d",
    "MembraneState",
    "Neuron",
    "NeuronDelays",
    "NeuronSpec",
    "Pool2d",
    "Recurrent",
    "RecurrentState",
    "Sequential",
    "ShiftSpec",
    "SigmaSchedule",
    "SpikingChannelMix",
    "SpikingEmbedding",
    "SpikingModule",
    "SpikingTimeMix",
    "SumPool2d",
    "call_layer",
    "detach_state",
    "keep_delays_in_window",
    "layers_of",
    "layers_with_delays",
    "map_state",
    "move_state",
    "parameter_groups",
    "quantize",
    "record",
]
