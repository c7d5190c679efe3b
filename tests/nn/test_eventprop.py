"""A network in continuous time: what it is made of, that it learns, and that delays stay in their window."""

import math

import numpy as np
import pytest
import torch

from snn_delays.errors import ConfigError
from snn_delays.nn import EventPropNetwork
from snn_delays.ops import eventprop


def test_it_is_the_operation_with_layers_joined() -> None:
    net = EventPropNetwork((3, 5, 4, 2), end_ms=40.0, recurrent=True, gain=3.0)
    pairs = set(zip(net.pre.tolist(), net.post.tolist()))
    inside = {(3 + a, b) for a in range(5) for b in range(5)} | {(8 + a, 5 + b) for a in range(4) for b in range(4)}
    ahead = {(a, b) for a in range(3) for b in range(5)} | {(3 + a, 5 + b) for a in range(5) for b in range(4)}
    assert pairs == inside | ahead | {(8 + a, 9 + b) for a in range(4) for b in range(2)}
    assert len(net.pre) == len(pairs)
    assert net.threshold.tolist() == [1.0] * 9 + [math.inf] * 2
    times = 15 * torch.rand(2, 3, 2, dtype=torch.float64)
    out = net(times)
    assert out.times_ms.isfinite().sum() > 10
    plain = eventprop(
        times, net.weight, net.delay_ms, net.pre, net.post, net.threshold, tau_mem_ms=20.0, tau_syn_ms=5.0, end_ms=40.0
    )
    assert all(torch.equal(a, b) for a, b in zip(out, plain))


@pytest.mark.parametrize("taus", [(20.0, 5.0), (5.0, 20.0)])
def test_weights_begin_as_the_gain_says(taus: tuple[float, float]) -> None:
    net = EventPropNetwork((400, 50, 30), end_ms=9.0, gain=2.0, threshold=3.0, tau_mem_ms=taus[0], tau_syn_ms=taus[1])
    s = np.linspace(0, 60, 60001)
    top = (taus[1] / (taus[0] - taus[1]) * (np.exp(-s / taus[0]) - np.exp(-s / taus[1]))).max()
    hidden, readout = net.weight.detach().split([20000, 1500])
    assert float(hidden.mean()) == pytest.approx(2 * 3 / (top * 400), abs=4 * float(hidden.std()) / 141)
    assert float(hidden.std()) == pytest.approx(2 * 3 / (top * 20), rel=0.05)
    assert float(readout.std()) == pytest.approx(2 / (top * math.sqrt(50)), rel=0.05)


def test_a_delay_is_learned_that_brings_a_spike_where_it_is_wanted() -> None:
    net = EventPropNetwork((2, 1, 1), end_ms=60.0, max_delay_ms=20.0, gain=1.0)
    with torch.no_grad():
        net.weight[:2] = 5.0
        net.delay_ms[:2] = torch.tensor([2.0, 9.0])
    net.weight.requires_grad_(False)
    optimiser = torch.optim.Adam([net.delay_ms], lr=0.2)
    optimiser.register_step_post_hook(lambda *_: net.clamp_delays_())
    times = torch.tensor([[[0.0], [6.0]]], dtype=torch.float64)
    for _ in range(150):
        loss = (net(times).times_ms[0, 0, 0] - 14.0) ** 2
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 1e-3
    assert bool(((net.delay_ms >= 0) & (net.delay_ms <= 20)).all())
    with torch.no_grad():
        net.delay_ms += 100
    net.clamp_delays_()
    assert bool((net.delay_ms == 20).all())


def test_delays_learned_fixed_and_none() -> None:
    made = {kind: EventPropNetwork((2, 3, 2), end_ms=9.0, delays=kind) for kind in ("learned", "fixed", "none")}
    assert [kind for kind, net in made.items() if net.delay_ms.requires_grad] == ["learned"]
    assert not made["none"].delay_ms.any()
    assert made["fixed"].delay_ms.any()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"sizes": (3,)}, "sizes are channels, neurons of each layer, readouts"),
        ({"delays": "some"}, "delays must be one of learned, fixed, none"),
        ({"tau_mem_ms": 0.0}, "tau_mem_ms must be a positive number"),
        ({"max_delay_ms": -1.0}, "max_delay_ms must be a finite number >= 0"),
    ],
)
def test_what_cannot_be(wrong: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        EventPropNetwork(**{"sizes": (2, 3, 2), "end_ms": 9.0, **wrong})
