"""Spiking neural networks whose synaptic delays are learned."""

import os

# PyTorch and Numba each bring a pool of OpenMP threads whose idle members spin, and on few cores they spin in each
# other's way: a training step takes several times as long. Read once, when the first pool is loaded, so this helps only
# where snn_delays is imported before torch, as by the command line.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

from snn_delays.models import DelayClassifier
from snn_delays.nn import (
    LIF,
    BatchNorm,
    DelayedLinear,
    Dropout,
    LeakyIntegrator,
    Sequential,
    SpikingModule,
    detach_state,
    map_state,
    move_state,
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
    "detach_state",
    "map_state",
    "move_state",
    "use_backend",
]
