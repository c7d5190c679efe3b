"""The benchmark checks every side before it times one, and the check can fail."""

import pytest
import torch

from snn_delays.bench import CASES, Case, Side, peers, run_case
from snn_delays.bench.cases import delay_layer, lif_layer
from snn_delays.nn import DelayedLinear


@pytest.mark.parametrize("make", CASES)
def test_sides_of_every_case_compute_the_same(make):
    case = make()
    case.check()
    assert case.sides[0].name.startswith("snn_delays")


def test_check_rejects_a_peer_with_reversed_delays(monkeypatch):
    pytest.importorskip("DCLS")
    honest = peers.dcls_layer

    def reversed_delays(layer: DelayedLinear):
        peer = honest(layer)
        with torch.no_grad():
            peer.P.neg_()
        return peer

    monkeypatch.setattr(peers, "dcls_layer", reversed_delays)
    with pytest.raises(AssertionError):
        delay_layer(0.5).check()


def test_check_rejects_a_peer_with_another_reset(monkeypatch):
    pytest.importorskip("spikingjelly")
    honest = peers.spikingjelly_lif

    def soft_reset(tau_steps: float):
        peer = honest(tau_steps)
        peer.v_reset = None
        peer.v = 0.0
        return peer

    monkeypatch.setattr(peers, "spikingjelly_lif", soft_reset)
    with pytest.raises(AssertionError):
        lif_layer().check()


def test_sides_run_in_turn_and_the_first_round_does_not_count():
    order = []
    sides = tuple(Side(name, "", lambda name=name: order.append(name)) for name in ("ours", "theirs"))
    timings = run_case(Case("toy", sides, lambda: None), repeats=3)
    assert order == ["ours", "theirs"] * 4
    assert [len(t.seconds) for t in timings] == [3, 3]


def test_nothing_is_timed_on_red():
    def check() -> None:
        raise AssertionError("they differ")

    with pytest.raises(AssertionError, match="they differ"):
        run_case(Case("toy", (Side("ours", "", pytest.fail),), check))
