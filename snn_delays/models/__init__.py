"""Floor 3: whole networks."""

from snn_delays.models.classifier import ConvolutionalClassifier, DelayClassifier
from snn_delays.models.sampling import sample
from snn_delays.models.spikegpt import SpikeGPT, SpikeGPTClassifier, delay_shifts, with_integer_delays
from snn_delays.moved import forward, forward_modules

__all__ = [
    "ConvolutionalClassifier",
    "DelayClassifier",
    "SpikeGPT",
    "SpikeGPTClassifier",
    "delay_shifts",
    "sample",
    "with_integer_delays",
]

__getattr__ = forward(__name__, {"with_whole_delays": "snn_delays.models.spikegpt:with_integer_delays"})
forward_modules(__name__, convolutional="classifier", spikegpt_init="spikegpt")
