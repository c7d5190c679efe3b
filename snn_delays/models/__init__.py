"""Floor 3: whole networks."""

from snn_delays.models.classifier import DelayClassifier
from snn_delays.models.convolutional import ConvolutionalClassifier

__all__ = ["ConvolutionalClassifier", "DelayClassifier"]
