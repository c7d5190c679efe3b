"""Moved to :mod:`snn_delays.discrete.streaming`."""

from snn_delays.moved import forward

__getattr__ = forward(__name__, "snn_delays.discrete.streaming")
