"""The check of every case is seen to fail on a side that computes something else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from experiments.benchmarks import CASES, conv_cases, network_checks, peer_neurons, peers, recurrent_cases
from experiments.benchmarks.sides import PEERS, missing
from experiments.benchmarks.sizes import TINY
from snn_delays.ops.backends import Operation
from snn_delays.ops.delay import dense

NETWORKS = [entry.name for entry in CASES if entry.name.startswith(("shd", "long"))]
DELAYS = [entry.name for entry in CASES if entry.name.startswith("delay")]
CONVOLUTIONS = [entry.name for entry in CASES if entry.name.startswith("conv")]


@pytest.fixture(autouse=True)
def peers_at_hand() -> None:
    for peer in PEERS:
        if line := missing(peer):
            pytest.skip(line)


def assert_rejects(name: str, message: str) -> None:
    case = next(entry for entry in CASES if entry.name == name).make(TINY, torch.device("cpu"))
    with pytest.raises(AssertionError, match=message):
        case.check()


def changed(honest: Callable[..., Any], change: Callable[[Any], None]) -> Callable[..., Any]:
    """A peer's maker whose product is changed afterwards."""

    def made(*args: Any, **options: Any) -> Any:
        peer = honest(*args, **options)
        with torch.no_grad():
            change(peer)
        return peer

    return made


@pytest.mark.parametrize("name", [*DELAYS, *NETWORKS])
def test_a_peer_whose_delays_are_a_step_longer_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "dcls_layer", changed(peers.dcls_layer, lambda peer: peer.P.sub_(1)))
    assert_rejects(name, "dcls")


@pytest.mark.parametrize("name", CONVOLUTIONS)
@pytest.mark.parametrize("wrong", ["a step longer", "backwards"])
def test_a_convolution_whose_delays_are_others_is_rejected(
    name: str, wrong: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    change = {"a step longer": lambda peer: peer.P.sub_(1), "backwards": lambda peer: peer.P.neg_()}[wrong]
    monkeypatch.setattr(peers, "DclsConvolution", changed(peers.DclsConvolution, change))
    assert_rejects(name, "dcls")


def test_a_dense_convolution_of_another_width_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    def wider(layer: Any) -> Any:
        layer.sigma *= 1.01

    monkeypatch.setattr(conv_cases, "DenseConvolution", changed(conv_cases.DenseConvolution, wider))
    assert_rejects("conv-layer", "torch conv3d")


@pytest.mark.parametrize("name", ["delay-sigma-0.5", "shd-training-sigma-0.5", "shd-inference"])
def test_a_peer_whose_time_runs_backwards_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "dcls_layer", changed(peers.dcls_layer, lambda peer: peer.P.neg_()))
    assert_rejects(name, "dcls")


@pytest.mark.parametrize("name", DELAYS)
def test_a_backend_of_ours_that_is_a_thousandth_off_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = dense.run
    monkeypatch.setattr(dense, "run", lambda **call: honest(**call) * 1.001)
    assert_rejects(name, r"snn_delays (\(planner\)|dense), output")


def test_a_backend_of_ours_with_a_wrong_gradient_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = dense.run
    monkeypatch.setattr(
        dense, "run", lambda **call: honest(**{**call, "delay": call["delay"] * 0 + call["delay"].detach()})
    )
    assert_rejects("delay-sigma-3", "snn_delays.*, of the delay")


@pytest.mark.parametrize("wrong", [{"v_reset": None}, {"detach_reset": False}, {"decay_input": True}])
def test_another_spikingjelly_is_rejected(wrong: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = peer_neurons.spikingjelly_lif
    monkeypatch.setattr(peer_neurons, "spikingjelly_lif", lambda tau, **options: honest(tau, **{**options, **wrong}))
    assert_rejects("lif", "spikingjelly")


@pytest.mark.parametrize("name", ["recurrent-axon-sigma-10", "recurrent-synapse-sigma-0.06"])
def test_recurrence_in_torch_a_step_late_is_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = recurrent_cases.torch_loop

    def late(layer: Any, x: Any, **how: Any) -> Any:
        return honest(layer, x.roll(1, 0), **how).roll(-1, 0)

    monkeypatch.setattr(recurrent_cases, "torch_loop", late)
    assert_rejects(name, "torch, currents scheduled")


def test_snntorch_with_the_reset_a_step_later_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    import snntorch

    honest = snntorch.Leaky
    monkeypatch.setattr(snntorch, "Leaky", lambda **options: honest(**{**options, "reset_delay": True}))
    assert_rejects("lif", "snntorch")


def test_norse_with_another_time_constant_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = peer_neurons.norse_run
    monkeypatch.setattr(peer_neurons, "norse_run", lambda tau, device: honest(tau * 1.01, device))
    assert_rejects("lif", "norse")


@pytest.mark.parametrize("name", ["lif", "shd-training-sigma-0.5", "shd-inference"])
def test_our_neurons_with_spikes_a_step_late_are_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Operation.__call__

    def late(self: Operation, call: Any, backend: str | None = None) -> Any:
        result = honest(self, call, backend)
        if "lif" not in self.name or self.choose(call, backend).name == "reference":
            return result
        return result[0].roll(1, 0), *result[1:]

    monkeypatch.setattr(Operation, "__call__", late)
    assert_rejects(name, "snn_delays")


@pytest.mark.parametrize("wrong", ["clamp", "loss", "rate"])
def test_another_training_step_is_rejected(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = network_checks.of_peer

    def other(network: Any) -> Any:
        trained = honest(network)
        if wrong == "clamp":
            return replace(trained, clamp=lambda: None)
        if wrong == "loss":
            return replace(trained, forward=lambda x: 1.01 * network(x))
        return replace(trained, weights=trained.others, others=trained.weights)

    monkeypatch.setattr(network_checks, "of_peer", other)
    assert_rejects("shd-training-sigma-0.5", "dcls")


def test_an_evaluation_with_delays_that_are_not_integers_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "dcls_evaluated", lambda peer: peer)
    assert_rejects("shd-inference", "dcls.*readout")


@pytest.mark.parametrize("name", ["shd-training-sigma-12.27", "shd-inference"])
def test_silent_networks_are_rejected(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("snn_delays.nn.LIF.forward", _silent(monkeypatch))
    assert_rejects(name, "compares nothing|nothing but zeros to compare")


def _silent(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    from snn_delays.nn import LIF

    honest = LIF.forward

    def forward(self: LIF, x: torch.Tensor, *rest: Any) -> Any:
        spikes, state = honest(self, x, *rest)
        return spikes * 0, state

    return forward
