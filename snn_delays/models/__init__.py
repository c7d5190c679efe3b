"""Floor 3: whole networks."""

from snn_delays.models.classifier import DelayClassifier
from snn_delays.models.convolutional import ConvolutionalClassifier
from snn_delays.models.sampling import sample
from snn_delays.models.spikegpt import SpikeGPT, SpikeGPTClassifier, delay_shifts, with_whole_delays

__all__ = [
    "ConvolutionalClassifier",
    "DelayClassifier",
    "SpikeGPT",
    "SpikeGPTClassifier",
    "delay_shifts",
    "sample",
    "with_whole_delays",
]
