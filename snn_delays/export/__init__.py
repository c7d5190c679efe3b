"""Floor 4': the discrete network, and its ways out."""

from snn_delays.export.discretize import discretize
from snn_delays.export.network import DiscreteNetwork

__all__ = ["DiscreteNetwork", "discretize"]
