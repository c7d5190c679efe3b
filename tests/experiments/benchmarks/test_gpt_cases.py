"""The cases of language models: their checks fail on a side that computes something else."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from experiments.benchmarks import CASES, gpt_cases, gpt_checks, gpt_networks, gpt_peers, gpt_softmax, gpt_step
from experiments.benchmarks.gpt_step import LanguageStep
from experiments.benchmarks.run import Case
from experiments.benchmarks.sides import missing
from experiments.benchmarks.sizes import TINY
from snn_delays.models import SpikeGPT
from snn_delays.models.spikegpt import delay_shifts
from snn_delays.ops import matmul
from snn_delays.ops.backends import Operation

CPU = torch.device("cpu")
TRAINING, GENERATION = "gpt-training-8x256", "gpt-generation"
needs_peer = pytest.mark.skipif(missing("spikingjelly") is not None, reason="spikingjelly is not installed")


def make(name: str) -> Case:
    return next(entry for entry in CASES if entry.name == name).make(TINY, CPU)


def assert_rejects(name: str, message: str) -> None:
    case = make(name)
    with pytest.raises(AssertionError, match=message):
        case.check()


def test_the_steps_of_all_contexts_are_there_and_all_but_the_first_are_long() -> None:
    entries = {entry.name: entry.long for entry in CASES if entry.name.startswith("gpt")}
    assert entries == {
        "gpt-training-8x256": False, "gpt-training-16x256": True, "gpt-training-4x1024": True,
        "gpt-training-1x4096": True, "gpt-generation": False, "gpt-matrix-product": False,
        "gpt-generation-8x256-batch-1": False, "gpt-generation-8x256-batch-16": False,
        "gpt-generation-4x128-batch-1": False, "gpt-generation-4x128-batch-16": False,
    }  # fmt: skip


@needs_peer
def test_a_peers_parameters_are_ours_in_the_same_order() -> None:
    ours = gpt_networks.language_network(TINY.language)
    peer = gpt_peers.PlainSpikeGPT(ours)
    for (name, mine), theirs in zip(ours.named_parameters(), peer.parameters(), strict=True):
        assert torch.equal(mine, theirs), name
        assert mine is not theirs


@needs_peer
def test_training_steps_train_every_parameter_and_let_their_gradients_go() -> None:
    for side in make(TRAINING).sides:
        step = side.work
        assert isinstance(step, LanguageStep)
        learned = (*step.network.weights, *step.network.delays)
        before = [parameter.detach().clone() for parameter in learned]
        step()
        assert all(not torch.equal(a, b) for a, b in zip(learned, before))
        assert all(parameter.grad is None for parameter in learned)


def test_a_step_clips_the_gradient_and_keeps_delays_in_the_window() -> None:
    network = gpt_networks.language_network(TINY.language, delays=True)
    tokens, target = gpt_networks.text(TINY.language, 16, 3, CPU)
    step = LanguageStep(gpt_step.of_spikegpt(network), tokens, target)
    norms = []
    step.optimisers[0].register_step_pre_hook(
        lambda *_: norms.append(torch.stack([p.grad.norm() for p in step.network.weights if p.grad is not None]).norm())
    )
    with torch.no_grad():
        for shift in delay_shifts(network).values():
            assert shift.delay is not None
            shift.delay.fill_(32.0)
    step()
    assert float(norms[0]) == pytest.approx(1.0, rel=1e-4)
    for shift in delay_shifts(network).values():
        assert float(shift.delay.detach().max()) <= 32


def test_a_gpt_without_spikes_cannot_see_what_comes_later() -> None:
    network = gpt_networks.softmax_network(TINY.language, 20)
    tokens = torch.randint(32, (2, 20))
    changed = tokens.clone()
    changed[:, 11:] = (changed[:, 11:] + 1) % 32
    with torch.no_grad():
        a, b = network(tokens), network(changed)
    assert torch.equal(a[:, :11], b[:, :11])
    assert not torch.isclose(a[:, 11:], b[:, 11:]).all(-1).any()


def test_ours_alone_is_timed_and_checked_without_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.benchmarks.sides.PEERS", {"spikingjelly": ("absent_peer", "pip install it")})
    for name in (TRAINING, GENERATION):
        case = make(name)
        assert not any(side.name.startswith(gpt_checks.PLAIN) for side in case.sides)
        assert case.notes == ("left out: spikingjelly, since absent_peer is not installed (pip install it)",)
        case.check()


@needs_peer
@pytest.mark.parametrize("wrong", [
    lambda x, last: x,
    lambda x, last: x.roll(2, 0),
    lambda x, last: x.roll(-1, 0),
])  # fmt: skip
def test_a_token_shift_off_by_one_is_rejected(wrong: Callable[..., Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt_peers, "token_shift", wrong)
    assert_rejects(TRAINING, "plain SpikeGPT, branch 1: .* of the spikes differ")


@needs_peer
@pytest.mark.parametrize(("wrong", "message"), [
    ({"detach_reset": True}, "plain SpikeGPT, gradient of"),
    ({"decay_input": False}, "plain SpikeGPT, branch 1"),
    ({"v_reset": None}, "plain SpikeGPT, branch 1"),
    ({"tau": 2.1}, "plain SpikeGPT, branch 1"),
    ({"surrogate_function": None}, "plain SpikeGPT, gradient of"),
])  # fmt: skip
def test_other_neurons_are_rejected(wrong: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from spikingjelly.activation_based import neuron, surrogate

    honest = neuron.LIFNode
    if "surrogate_function" in wrong:
        wrong = {"surrogate_function": surrogate.ATan(5.0)}
    monkeypatch.setattr(neuron, "LIFNode", lambda **options: honest(**{**options, **wrong}))
    assert_rejects(TRAINING, message)


@needs_peer
@pytest.mark.parametrize("wrong", ["bonus", "decay", "value"])
def test_another_wkv_is_rejected(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = gpt_peers.wkv_loop

    def loop(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, sums: Any) -> Any:
        if wrong == "value":  # right values, wrong gradient
            value = value * 2 - value.detach()
        return honest(key, value, log_decay * (1.01 if wrong == "decay" else 1), bonus * (wrong != "bonus"), sums)

    monkeypatch.setattr(gpt_peers, "wkv_loop", loop)
    assert_rejects(TRAINING, "plain SpikeGPT, (branch|logits|gradient)")


@needs_peer
@pytest.mark.parametrize(("wrong", "message"), [("logits", "logits"), ("weights", "shape"), ("rate", "after the step")])
def test_another_training_step_is_rejected(wrong: str, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = gpt_step.of_plain

    def other(network: nn.Module) -> Any:
        trained = honest(network)
        if wrong == "logits":
            return replace(trained, forward=lambda tokens: 1.001 * network(tokens)[0])
        if wrong == "weights":
            return replace(trained, weights=trained.weights[1:])
        return replace(trained, weights=trained.weights[:-1], delays=trained.weights[-1:])

    monkeypatch.setattr(gpt_step, "of_plain", other)
    assert_rejects(TRAINING, f"plain SpikeGPT.*{message}")


@pytest.mark.parametrize("operation", ["lif", "wkv", "depthwise"])
def test_a_fast_operation_of_ours_that_is_late_is_rejected(operation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Operation.__call__

    def late(self: Operation, call: Any, backend: str | None = None) -> Any:
        result = honest(self, call, backend)
        if self.name != operation or self.choose(call, backend).name == "reference":
            return result
        return result.roll(1, 1) if isinstance(result, Tensor) else (result[0].roll(1, 0), *result[1:])

    monkeypatch.setattr(Operation, "__call__", late)
    assert_rejects(TRAINING, "^snn_delays")
    assert_rejects(GENERATION, "^snn_delays")


def test_silent_networks_are_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpt_networks, "GAIN", 0.3)
    assert_rejects(TRAINING, "compares nothing")
    assert_rejects(GENERATION, "compares nothing")


@needs_peer
def test_a_state_that_is_not_handed_on_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = gpt_peers.plain_state
    for change in ({"v": 0.0}, {"last": None}, {"sums": None}):
        monkeypatch.setattr(
            gpt_checks.gpt_peers, "plain_state", lambda state, c=change: [x._replace(**c) for x in honest(state)]
        )
        assert_rejects(GENERATION, "plain SpikeGPT, by tokens")
    forward = SpikeGPT.forward
    monkeypatch.setattr(SpikeGPT, "forward", lambda self, x, state=None: forward(self, x))
    assert_rejects(GENERATION, "snn_delays, by tokens")


def test_a_cache_a_position_off_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = gpt_softmax.SoftmaxBlock.forward
    monkeypatch.setattr(
        gpt_softmax.SoftmaxBlock, "forward", lambda self, x, cache, start: honest(self, x, cache, max(start - 1, 0))
    )
    assert_rejects(GENERATION, "torch GPT, token .* with its cache")


@pytest.mark.parametrize("name", [TRAINING, GENERATION])
def test_the_model_that_is_not_compared_is_said_to_be_another(name: str) -> None:
    case = make(name)
    texts = [side.configuration for side in case.sides if side.name.startswith(gpt_cases.SOFTMAX)]
    assert texts
    assert all("another model" in text and "not compared" in text and "parameters" in text for text in texts)


def test_a_product_without_one_of_its_rows_is_rejected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matmul, "WORTH", 0)  # the small product of the tests goes the way of large ones too
    case = make("gpt-matrix-product")
    case.check()
    right = matmul.product

    def wrong(x: Tensor, weight: Tensor) -> Tensor:
        return right(torch.cat([x[:-1], x[-1:] * 0.99]), weight)

    monkeypatch.setattr(matmul, "product", wrong)
    with pytest.raises(AssertionError, match="snn_delays linear, product"):
        case.check()


@pytest.mark.parametrize("batch", [1, 16])
def test_the_compiled_step_is_checked_and_another_is_rejected(batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"gpt-generation-8x256-batch-{batch}"
    case = make(name)
    case.check()
    for side in case.sides:
        side.work()
    honest = gpt_checks.LanguageEngine.run
    monkeypatch.setattr(gpt_checks.LanguageEngine, "run", lambda self, tokens: honest(self, tokens.roll(1, 0)))
    assert_rejects(name, "snn_delays, LanguageEngine")
