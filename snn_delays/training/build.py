"""Moved to :mod:`snn_delays.recipes.build`."""

from snn_delays.moved import forward

__getattr__ = forward(__name__, "snn_delays.recipes.build")
