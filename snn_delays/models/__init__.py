"""Floor 3: whole networks."""

from snn_delays.models.classifier import DelayClassifier

__all__ = ["DelayClassifier"]
