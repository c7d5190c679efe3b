"""Spiking neural networks whose synaptic delays are learned."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from snn_delays.data import Binning, load_binned
    from snn_delays.discrete.discretize import discretize
    from snn_delays.models import DelayClassifier, SpikeGPT
    from snn_delays.nn import (
        LIF,
        BatchNorm,
        DelayedConv2d,
        DelayedLinear,
        DelaySpec,
        Dropout,
        LeakyIntegrator,
        NeuronSpec,
        Recurrent,
        Sequential,
        SigmaSchedule,
        SpikingModule,
        detach_state,
        keep_delays_in_window,
        map_state,
        move_state,
        parameter_groups,
    )
    from snn_delays.ops import ATan, FastSigmoid, Sigmoid, Triangle, use_backend
    from snn_delays.recipes.registry import register_task
    from snn_delays.runs.evaluate import evaluate
    from snn_delays.runs.export import export
    from snn_delays.runs.load import load
    from snn_delays.training.engine import train

__version__ = "0.2.0"

__all__ = [
    "LIF",
    "ATan",
    "BatchNorm",
    "Binning",
    "DelayClassifier",
    "DelaySpec",
    "DelayedConv2d",
    "DelayedLinear",
    "Dropout",
    "FastSigmoid",
    "LeakyIntegrator",
    "NeuronSpec",
    "Recurrent",
    "Sequential",
    "SigmaSchedule",
    "Sigmoid",
    "SpikeGPT",
    "SpikingModule",
    "Triangle",
    "detach_state",
    "discretize",
    "evaluate",
    "export",
    "keep_delays_in_window",
    "load",
    "load_binned",
    "map_state",
    "move_state",
    "parameter_groups",
    "register_task",
    "train",
    "use_backend",
]

# Where a name is; in nn if it is in none of these.
_HOMES = {
    "data": ("Binning", "load_binned"),
    "discrete": ("discretize",),
    "models": ("DelayClassifier", "SpikeGPT"),
    "ops": ("ATan", "FastSigmoid", "Sigmoid", "Triangle", "use_backend"),
    "recipes.registry": ("register_task",),
    "runs.evaluate": ("evaluate",),
    "runs.load": ("load",),
    "training.engine": ("train",),
}
_ROOMS = (
    "chips", "data", "discrete", "errors", "export", "interop", "ir", "models", "nn", "ops", "plot", "recipes", "runs",
    "streaming", "training", "units",
)  # fmt: skip


def __getattr__(name: str) -> Any:
    """Import a name when it is first used: the command line answers ``--help`` without torch."""
    if name in _ROOMS:
        return importlib.import_module(f"snn_delays.{name}")
    if name in __all__:
        home = next((home for home, names in _HOMES.items() if name in names), "nn")
        value = globals()[name] = getattr(importlib.import_module(f"snn_delays.{home}"), name)
        return value
    raise AttributeError(f"module 'snn_delays' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
