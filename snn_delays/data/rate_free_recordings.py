"""Moved to :mod:`snn_delays.data.encoders.rate_free`."""

from snn_delays.moved import forward

__getattr__ = forward(__name__, "snn_delays.data.encoders.rate_free")
