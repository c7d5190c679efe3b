"""Networks of steps come to the one in continuous time as they shrink; without a surrogate gradients are exact."""

import pytest
import torch

from experiments.studies.exact_gradients import directions, discrete, late_ms, network, stimuli
from snn_delays.ops import ATan


def test_networks_of_steps_converge_to_continuous_time() -> None:
    net, times = network(1), stimuli(6)
    off, alike = zip(*[late_ms(net, times, dt) for dt in (0.5, 0.125)])
    assert 0.2 < off[0] < 1.0
    assert off[1] < 0.35 * off[0]
    assert alike[1] > 0.75
    with torch.no_grad():
        exact = net(times)
        assert (exact.times_ms[:, :12].isfinite().sum(-1) > 1).double().mean() > 0.1
        means = [(discrete(net, times, dt).mean - exact.mean).abs().mean() for dt in (0.5, 0.125)]
    assert means[1] < 0.5 * means[0]


def test_canary_another_time_constant_does_not_converge() -> None:
    net, times = network(1), stimuli(6)
    wrong = network(1)
    wrong.constants["tau_syn_ms"] *= 1.1
    with torch.no_grad():
        right, other = (discrete(each, times, 0.125).mean for each in (net, wrong))
        exact = net(times).mean
    assert (other - exact).abs().mean() > 2 * (right - exact).abs().mean()


def test_gradients_without_a_surrogate_in_them_point_where_the_exact_ones_do() -> None:
    found = directions(network(1), stimuli(6), 0.125, ATan())
    assert found["readout weights"] == pytest.approx(1, abs=0.02)
    assert found["readout delays"] == pytest.approx(1, abs=0.05)
    assert 0 < found["hidden weights"] < 0.95  # a surrogate is no derivative of the spikes' times
