"""Moved to :mod:`snn_delays.runs.results`."""

from snn_delays.moved import forward

__getattr__ = forward(__name__, "snn_delays.runs.results")
