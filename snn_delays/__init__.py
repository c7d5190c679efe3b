"""Spiking neural networks whose synaptic delays are learned."""

import importlib
import os
from typing import TYPE_CHECKING, Any

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

if TYPE_CHECKING:
    from snn_delays.export.discretize import discretize
    from snn_delays.training.trained import load

__version__ = "0.1.0"

# Imported when they are first used: they need more than torch.
_LATE = {"discretize": "snn_delays.export.discretize", "load": "snn_delays.training.trained"}

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
    "discretize",
    "load",
    "map_state",
    "move_state",
    "use_backend",
]


def __getattr__(name: str) -> Any:
    if name in _LATE:
        return getattr(importlib.import_module(_LATE[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATE})
