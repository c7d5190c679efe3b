"""Floor 3: whole networks."""

from snn_delays.models.classifier import DelayClassifier
from snn_delays.models.convolutional import ConvolutionalClassifier
from snn_delays.models.spikegpt import SpikeGPT, SpikeGPTClassifier

__all__ = ["ConvolutionalClassifier", "DelayClassifier", "SpikeGPT", "SpikeGPTClassifier"]
