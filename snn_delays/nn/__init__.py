"""Floor 2: parameters + operations = layers. Every layer is ``y, state = layer(x, state=None)``."""

from snn_delays.fixed_point import FixedPoint
from snn_delays.moved import forward_modules
from snn_delays.nn.cells import BRF, CAdLIF, CellNeuron, CSiLIF, EFAdLIF, SEAdLIF, SiLIF
from snn_delays.nn.delay_shift import DelayShift, NeuronDelays
from snn_delays.nn.delayed import DelayedLayer, DelayedLinear, DelayLineState
from snn_delays.nn.eventprop import EventPropNetwork
from snn_delays.nn.learned import PLIF, CubaLIF
from snn_delays.nn.maps import AvgPool2d, DelayedConv2d, Flatten, MaxPool2d, Pool2d, SumPool2d
from snn_delays.nn.module import (
    Sequential,
    SpikingModule,
    call_layer,
    detach_state,
    layers_of,
    map_state,
    move_state,
    record,
)
from snn_delays.nn.neuron import LIF, FixedPointIntegrator, FixedPointLIF, LeakyIntegrator, MembraneState, Neuron
from snn_delays.nn.norm import BatchNorm, BatchNorm2d, Dropout, DropoutState, synchronise_batch_norm
from snn_delays.nn.optimise import SigmaSchedule, keep_delays_in_window, layers_with_delays, parameter_groups
from snn_delays.nn.population import CellSpec, population
from snn_delays.nn.quantize import quantize
from snn_delays.nn.recurrent import Recurrent, RecurrentState
from snn_delays.nn.rwkv import Linear, SpikingChannelMix, SpikingEmbedding, SpikingTimeMix
from snn_delays.nn.specs import DelaySpec, NeuronSpec, RecurrentSpec, ShiftSpec

__all__ = [
    "BRF",
    "LIF",
    "PLIF",
    "AvgPool2d",
    "BatchNorm",
    "BatchNorm2d",
    "CAdLIF",
    "CSiLIF",
    "CellNeuron",
    "CellSpec",
    "CubaLIF",
    "DelayLineState",
    "DelayShift",
    "DelaySpec",
    "DelayedConv2d",
    "DelayedLayer",
    "DelayedLinear",
    "Dropout",
    "DropoutState",
    "EFAdLIF",
    "EventPropNetwork",
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
    "RecurrentSpec",
    "RecurrentState",
    "SEAdLIF",
    "Sequential",
    "ShiftSpec",
    "SiLIF",
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
    "population",
    "quantize",
    "record",
    "synchronise_batch_norm",
]

forward_modules(
    __name__, conv="maps", dropout="norm", embedding="rwkv", fixed_point="neuron", linear="rwkv", pooling="maps",
    quantized="quantize", synapse="delayed",
)  # fmt: skip
