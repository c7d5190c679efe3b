"""Numbers given to constructors: checked where they are given, for every layer and network."""

import numpy as np
import pytest
import torch

from snn_delays.errors import ConfigError
from snn_delays.models import ConvolutionalClassifier, DelayClassifier, SpikeGPT, SpikeGPTClassifier
from snn_delays.models.sampling import check_options
from snn_delays.nn import (
    LIF,
    AvgPool2d,
    BatchNorm,
    DelayedConv2d,
    DelayedLinear,
    DelayShift,
    FixedPoint,
    LeakyIntegrator,
    Linear,
    NeuronDelays,
    SpikingChannelMix,
    SpikingEmbedding,
    SpikingTimeMix,
)
from snn_delays.ops.delay import delayed_linear
from snn_delays.ops.delay.transform_length import good_length
from snn_delays.ops.surrogate import ATan, FastSigmoid
from snn_delays.recipes.files import load_recipe
from snn_delays.units import MAX_DELAY_STEPS

# Every argument that is an integer: a maker, and a value that is right.
INTEGERS = {
    "DelayedLinear.in_features": (lambda n: DelayedLinear(n, 3, max_delay_steps=2), 4),
    "DelayedLinear.out_features": (lambda n: DelayedLinear(4, n, max_delay_steps=2), 3),
    "DelayedLinear.max_delay_steps": (lambda n: DelayedLinear(4, 3, max_delay_steps=n), 8),
    "DelayedLinear.min_delay_steps": (lambda n: DelayedLinear(4, 3, max_delay_steps=8, min_delay_steps=n), 1),
    "DelayedLinear.delay_count": (lambda n: DelayedLinear(4, 3, max_delay_steps=8, delay_count=n), 2),
    "DelayedConv2d.in_channels": (lambda n: DelayedConv2d(n, 2, 3, max_delay_steps=2), 2),
    "DelayedConv2d.out_channels": (lambda n: DelayedConv2d(2, n, 3, max_delay_steps=2), 2),
    "DelayedConv2d.kernel_size": (lambda n: DelayedConv2d(2, 2, n, max_delay_steps=2), 3),
    "DelayedConv2d.stride": (lambda n: DelayedConv2d(2, 2, 3, stride=(1, n), max_delay_steps=2), 1),
    "DelayedConv2d.padding": (lambda n: DelayedConv2d(2, 2, 3, padding=n, max_delay_steps=2), 1),
    "DelayedConv2d.max_delay_steps": (lambda n: DelayedConv2d(2, 2, 3, max_delay_steps=n), 5),
    "AvgPool2d.kernel_size": (lambda n: AvgPool2d(n), 2),
    "AvgPool2d.stride": (lambda n: AvgPool2d(2, n), 2),
    "DelayShift.max_delay_steps": (lambda n: DelayShift(torch.ones(1, 4), max_delay_steps=n), 5),
    "DelayShift.points": (lambda n: DelayShift(torch.ones(1, 4), points=n), 2),
    "NeuronDelays.features": (lambda n: NeuronDelays(n), 4),
    "BatchNorm.num_features": (lambda n: BatchNorm(n), 4),
    "Linear.in_features": (lambda n: Linear(n, 3), 4),
    "SpikingEmbedding.tokens": (lambda n: SpikingEmbedding(n, 4), 9),
    "SpikingEmbedding.features": (lambda n: SpikingEmbedding(9, n), 4),
    "SpikingTimeMix.features": (lambda n: SpikingTimeMix(n), 4),
    "SpikingTimeMix.layers": (lambda n: SpikingTimeMix(4, 0, n), 2),
    "SpikingChannelMix.features": (lambda n: SpikingChannelMix(n), 4),
    "SpikeGPT.tokens": (lambda n: SpikeGPT(n, 4, 1), 9),
    "SpikeGPT.features": (lambda n: SpikeGPT(9, n, 1), 4),
    "SpikeGPT.layers": (lambda n: SpikeGPT(9, 4, n), 1),
    "SpikeGPTClassifier.classes": (lambda n: SpikeGPTClassifier(n, 9, 4, 1), 2),
    "DelayClassifier.in_features": (lambda n: DelayClassifier(n, (4,), 2, max_delay_steps=2), 3),
    "DelayClassifier.hidden": (lambda n: DelayClassifier(3, (n,), 2, max_delay_steps=2), 4),
    "DelayClassifier.classes": (lambda n: DelayClassifier(3, (4,), n, max_delay_steps=2), 2),
    "ConvolutionalClassifier.sensor": (
        lambda n: ConvolutionalClassifier((n, 12, 12), (2,), (), 2, max_delay_steps=1),
        2,
    ),
    "ConvolutionalClassifier.maps": (lambda n: ConvolutionalClassifier((2, 12, 12), (n,), (), 2, max_delay_steps=1), 2),
    "FixedPoint.decay_code": (lambda n: FixedPoint(n, 100, 1.0), 2048),
    "FixedPoint.state_bits": (lambda n: FixedPoint(2048, 100, 1.0, state_bits=n), 24),
}
REALS = {
    "LIF.tau_steps": lambda x: LIF(x),
    "LIF.threshold": lambda x: LIF(2.0, threshold=x),
    "LIF.v_reset": lambda x: LIF(2.0, v_reset=x, threshold=9.0),
    "LeakyIntegrator.tau_steps": lambda x: LeakyIntegrator(x),
    "DelayedLinear.sigma_steps": lambda x: DelayedLinear(4, 3, max_delay_steps=2, sigma_steps=x),
    "DelayShift.sigma_steps": lambda x: DelayShift(torch.ones(1, 4), sigma_steps=x),
    "BatchNorm.eps": lambda x: BatchNorm(4, eps=x),
    "DelayClassifier.tau_steps": lambda x: DelayClassifier(3, (4,), 2, max_delay_steps=2, tau_steps=x),
    "DelayClassifier.threshold": lambda x: DelayClassifier(3, (4,), 2, max_delay_steps=2, threshold=x),
    "FixedPoint.scale": lambda x: FixedPoint(2048, 100, x),
    "ATan.alpha": lambda x: ATan(x),
    "FastSigmoid.slope": lambda x: FastSigmoid(x),
    "temperature": lambda x: check_options(x, 0.9),
}
# The operations' own checks of types, switched on in the tests, would come first.
pytestmark = pytest.mark.usefixtures("own_shape_errors")

PER_NEURON = ("LIF.tau_steps", "LIF.threshold", "LeakyIntegrator.tau_steps")


@pytest.mark.parametrize("name", INTEGERS)
def test_integers_are_checked_at_construction(name: str) -> None:
    make, right = INTEGERS[name]
    make(right)
    make(np.int64(right))  # NumPy's scalars are numbers
    for wrong in (right + 0.5, float(right), str(right), True, torch.tensor([right, right]), None, -1):
        if wrong is None and name == "AvgPool2d.stride":
            continue  # windows side by side
        with pytest.raises(ConfigError, match=name.rpartition(".")[2]):
            make(wrong)


@pytest.mark.parametrize("name", REALS)
def test_reals_are_checked_at_construction(name: str) -> None:
    make = REALS[name]
    make(np.float32(2.0))
    make(2)
    for wrong in ("2.0", True, [2.0], float("nan")):
        with pytest.raises(ConfigError):
            make(wrong)
    if name not in PER_NEURON:
        with pytest.raises(ConfigError, match="must be a number, got a Tensor of shape"):
            make(torch.full((4,), 2.0))


@pytest.mark.parametrize("wrong", [16, "16", [4, 2.5], [True]])
def test_hidden_is_a_row_of_integers(wrong) -> None:
    with pytest.raises(ConfigError, match="hidden"):
        DelayClassifier(3, wrong, 2, max_delay_steps=2)


def test_a_surrogate_is_one() -> None:
    for wrong in ("atan", ATan, 5.0):
        with pytest.raises(ConfigError, match="surrogate must be one of"):
            LIF(2.0, surrogate=wrong)


def test_absurd_delays_are_refused_where_they_are_given() -> None:
    """A slip of units: a window of 10^15 steps was searched for a good length for ever."""
    absurd = MAX_DELAY_STEPS + 1
    for make in (
        lambda: DelayedLinear(4, 3, max_delay_steps=absurd),
        lambda: DelayedConv2d(2, 2, 3, max_delay_steps=absurd),
        lambda: DelayShift(torch.ones(1, 4), max_delay_steps=absurd),
        lambda: SpikeGPT(9, 4, 1, shift={"kind": "learned", "max_delay_steps": absurd}),
        lambda: DelayClassifier(3, (4,), 2, max_delay_steps=absurd),
    ):
        with pytest.raises(ConfigError, match="max_delay_steps must be at most 1,048,576"):
            make()
    with pytest.raises(ConfigError, match=r"max_delay_ms = 1e\+15 is .* steps of .* at most 1,048,576"):
        load_recipe("demo", ("model.max_delay_ms=1e15",))
    assert good_length(10**15) < 1.05 * 10**15


def test_the_operation_takes_an_integer_window() -> None:
    x, w = torch.zeros(4, 2, 3), torch.zeros(5, 3, 1)
    for wrong in (7.5, 8.0, "8"):
        with pytest.raises(ConfigError, match="max_delay_steps must be an integer"):
            delayed_linear(x, w, w, max_delay_steps=wrong, taps="linear")
