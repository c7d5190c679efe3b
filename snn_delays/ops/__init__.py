"""Pure functions on tensors ``[time, batch, neuron]``, or maps. State goes in, state comes out."""

from snn_delays.ops.backends import Backend, Operation, use_backend
from snn_delays.ops.cells import cells
from snn_delays.ops.delay import delayed_linear
from snn_delays.ops.delay_conv import delayed_conv2d
from snn_delays.ops.depthwise import depthwise
from snn_delays.ops.eventprop import EventPropOutput, eventprop
from snn_delays.ops.leaky_integrator import leaky_integrator
from snn_delays.ops.lif import lif
from snn_delays.ops.norm_lif import norm_lif
from snn_delays.ops.recurrent import recurrent_lif
from snn_delays.ops.surrogate import (
    ATan,
    Boxcar,
    Exponential,
    FastSigmoid,
    MultiGaussian,
    Sigmoid,
    Surrogate,
    Triangle,
)
from snn_delays.ops.wkv import wkv

__all__ = [
    "ATan",
    "Backend",
    "Boxcar",
    "EventPropOutput",
    "Exponential",
    "FastSigmoid",
    "MultiGaussian",
    "Operation",
    "Sigmoid",
    "Surrogate",
    "Triangle",
    "cells",
    "delayed_conv2d",
    "delayed_linear",
    "depthwise",
    "eventprop",
    "leaky_integrator",
    "lif",
    "norm_lif",
    "recurrent_lif",
    "use_backend",
    "wkv",
]
