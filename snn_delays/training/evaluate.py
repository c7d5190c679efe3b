"""Moved to :mod:`snn_delays.runs.evaluate` and its neighbours."""

from snn_delays.moved import forward

__getattr__ = forward(
    __name__,
    {
        "evaluate": "snn_delays.runs.evaluate",
        "read_evaluation": "snn_delays.runs.evaluate",
        "discrete_network": "snn_delays.runs.load",
        "trained_network": "snn_delays.runs.load",
        "trainable_parameters": "snn_delays.runs.load",
    },
)
