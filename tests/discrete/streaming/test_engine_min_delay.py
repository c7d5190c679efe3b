"""Networks with a shortest delay stream as they run at once."""

import numpy as np
import pytest
import torch

from snn_delays.discrete.discretize import DiscreteNetwork, DiscretizationReport
from snn_delays.discrete.streaming import StreamingEngine
from snn_delays.errors import ExportError
from snn_delays.nn import LIF, DelayedLinear, LeakyIntegrator
from tests.support.streaming_networks import assert_same, batched, spikes, stepped


def network(least: int) -> DiscreteNetwork:
    """Integer delays that a window from 1 has as well, weights in 64ths."""
    torch.manual_seed(2)
    options = {"max_delay_steps": 7, "min_delay_steps": least, "taps": "linear", "delay_init": "uniform_rounded"}
    made = DiscreteNetwork(
        DiscretizationReport(()),
        first=DelayedLinear(10, 12, **options), neuron=LIF(2.0), second=DelayedLinear(12, 9, delay_count=2, **options),
        soft=LIF(2.0, reset="soft"), out=DelayedLinear(9, 3, sharing="axon", **options), readout=LeakyIntegrator(2.0),
    ).double()  # fmt: skip
    for layer in (made.first, made.second, made.out):
        layer.weight.copy_((layer.weight.abs() * 64).round() / 64 - 0.125)
    return made


@pytest.mark.parametrize("least", [1, 4, 7])
def test_it_streams_to_the_bit(least: int) -> None:
    made, x = network(least), spikes(120, 10, 0.2)
    assert_same(made, stepped(StreamingEngine(made, np.float64), x), batched(made, x), exact=True)


def test_a_delay_below_the_shortest_is_refused() -> None:
    made = network(4)
    made.second.delay[0, 0, 1] = 3
    with pytest.raises(ExportError, match=r"second.delay: 1 of 216 delays are not integer steps in 4\.\.7; pass what"):
        StreamingEngine(made)
