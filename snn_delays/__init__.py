"""Spiking neural networks whose synaptic delays are learned."""

from snn_delays.models import DelayClassifier
from snn_delays.nn import (
    LIF,
    BatchNorm,
    DelayedLinear,
    Dropout,
    LeakyIntegrator,
    Sequential,
    SpikingModule,
)
from snn_delays.ops import ATan, FastSigmoid, Sigmoid, Triangle, use_backend

__version__ = "0.1.0"

__all__ = [
    "LIF",
    "ATan",
    "BatchNorm",
    "DelayClassifier",
    "DelayedLinear",
    "Dropout",
    "FastSigmoid",
    "LeakyIntegrator",
    "Sequential",
    "Sigmoid",
    "SpikingModule",
    "Triangle",
    "use_backend",
]
