"""Formats that a canonical network is written to, and NIR in."""

from snn_delays.moved import forward

__getattr__ = forward(__name__, {"DiscreteNetwork": "snn_delays.discrete", "discretize": "snn_delays.discrete"})
