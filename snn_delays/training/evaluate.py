"""Moved to :mod:`snn_delays.runs.evaluate`."""

from snn_delays.moved import forward

__getattr__ = forward(__name__, "snn_delays.runs.evaluate")
