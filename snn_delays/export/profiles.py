"""Moved to :mod:`snn_delays.chips.profiles`."""

from snn_delays.moved import forward

__getattr__ = forward(__name__, "snn_delays.chips.profiles")
