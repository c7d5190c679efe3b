"""The discrete network: integer delays, and what is computed from it step by step."""

from snn_delays.discrete.discretize import discretize
from snn_delays.discrete.network import DiscreteNetwork

__all__ = ["DiscreteNetwork", "discretize"]
