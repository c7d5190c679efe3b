"""Floor 4': the discrete network, and its ways out."""

from snn_delays.export.discretize import DiscreteNetwork, discretize

__all__ = ["DiscreteNetwork", "discretize"]
