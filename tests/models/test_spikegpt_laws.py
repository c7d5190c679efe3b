"""The laws of SpikeGPT: token by token is the same as in one go, the past alone counts, the state stays small."""

import copy
from functools import cache
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.models import SpikeGPT
from snn_delays.nn import DelayShift
from tests.support import gpt_networks
from tests.support.gpt_networks import (
    BATCH,
    FEATURES,
    LAYERS,
    NAMES,
    STEPS,
    VARIANTS,
    VOCABULARY,
    assert_lively,
    cuts,
    in_chunks,
    numbers_in,
    populations,
    same,
    tensors_of,
    text,
    zeroed,
)

STEP_BY_STEP = list(range(STEPS + 1))
SEEDS = st.integers(0, 1)
ALL = pytest.mark.parametrize(("spiking", "kind", "delays"), VARIANTS, ids=NAMES)
PLACES = pytest.mark.parametrize("spiking", ["after", "before", "none"])


@cache
def lively(seed: int, *variant: str) -> SpikeGPT:
    """A network that is active on the text of its seed. Made once: no test may change it."""
    network = gpt_networks.lively(seed, *variant)
    assert_lively(network, text(seed=seed))
    return network


@cache
def lively_float32(*args: Any) -> SpikeGPT:
    return copy.deepcopy(lively(*args)).float()


# The chunk law.


@ALL
@settings(max_examples=3)
@given(seed=SEEDS, ends=cuts())
@example(seed=0, ends=STEP_BY_STEP)
def test_any_cut_gives_the_same_logits_and_state(spiking: str, kind: str, delays: str, seed: int, ends: list) -> None:
    network, x = lively(seed, spiking, kind, delays), text(seed=seed)
    whole, state = in_chunks(network, x, [0, STEPS])
    parts, after = in_chunks(network, x, ends)
    assert whole.shape == (STEPS, BATCH, VOCABULARY)
    same(parts, whole)
    for got, want in zip(tensors_of(after), tensors_of(state), strict=True):
        same(got, want)


def assert_same_up_to_ties(network: SpikeGPT, x: Tensor, ends: list[int], tie: float = 1e-4, **between: Any) -> None:
    """In float32 each text's logits are the same up to where a membrane was at the threshold, which all but none are.

    There, rounding alone may decide on a spike, and everything after it may be another.
    """
    (whole, fired), (parts, refired) = populations(network, x), populations(network, x, ends, **between)
    compared = 0
    for b in range(BATCH):
        flips = [one.spikes[:, b] != other.spikes[:, b] for one, other in zip(fired, refired, strict=True)]
        places = [(int(t), p) for p, flip in enumerate(flips) for t in flip.any(-1).nonzero()]
        end = STEPS
        if places:
            end, first = min(places)  # the first in time, and there the first in the network
            margin = float(fired[first].margin()[end, b][flips[first][end]].max())
            assert margin < tie, f"a spike differs at token {end} of text {b}, {margin:.1g} from the threshold"
        same(parts[:end, b], whole[:end, b], 2e-5) if end else None
        compared += end
    assert compared > 0.6 * STEPS * BATCH


@ALL
def test_token_by_token_in_float32(spiking: str, kind: str, delays: str) -> None:
    network = lively_float32(1, spiking, kind, delays)
    assert_lively(network, text(seed=1))
    assert_same_up_to_ties(network, text(seed=1), STEP_BY_STEP)


def test_a_spike_at_the_threshold_may_differ_and_no_other() -> None:
    network, x = lively(0), text()

    def higher(state: Any) -> Any:
        return tuple(part._replace(neuron=type(part.neuron)(part.neuron.v + 0.01)) for part in state)

    (_, fired), (_, refired) = populations(network, x), populations(network, x, STEP_BY_STEP, between=higher)
    assert any((one.spikes != other.spikes).any() for one, other in zip(fired, refired))
    assert_same_up_to_ties(network, x, STEP_BY_STEP, tie=0.02, between=higher)
    with pytest.raises(AssertionError, match="from the threshold"):
        assert_same_up_to_ties(network, x, STEP_BY_STEP, between=higher)


FORGOTTEN = [
    (*variant, part)
    for variant, parts in (
        (("after", "token", "none"), ("shift", "sums", "neuron")),
        (("after", "learned", "axonal"), ("shift", "sums", "neuron", "delays")),
        (("after", "fixed", "dendritic"), ("shift", "neuron", "delays")),
        (("before", "dense", "none"), ("shift", "sums", "neurons")),
        (("none", "learned", "none"), ("shift", "sums")),
    )
    for part in parts
]


@pytest.mark.parametrize(("spiking", "kind", "delays", "part"), FORGOTTEN, ids=["-".join(case) for case in FORGOTTEN])
def test_a_state_that_is_not_carried_is_seen(spiking: str, kind: str, delays: str, part: str) -> None:
    network, x, ends = lively(1, spiking, kind, delays), text(seed=1), [0, 7, STEPS]
    whole = network(x)[0]
    parts, _ = in_chunks(network, x, ends, between=lambda state: zeroed(state, part))
    same(parts[:7], whole[:7].detach())
    assert not torch.allclose(parts, whole, rtol=1e-2, atol=1e-2)
    with pytest.raises(AssertionError, match=r"spike differs|not close"):
        assert_same_up_to_ties(
            lively_float32(1, spiking, kind, delays), x, ends, between=lambda state: zeroed(state, part)
        )


@pytest.mark.parametrize(
    ("spiking", "kind", "delays"),
    [("after", "learned", "axonal"), ("after", "dense", "dendritic"), ("before", "learned", "none")],
)
def test_gradients_pass_from_chunk_to_chunk(spiking: str, kind: str, delays: str) -> None:
    network, x = lively(1, spiking, kind, delays), text(seed=1)
    cotangent = torch.randn(STEPS, BATCH, VOCABULARY, dtype=torch.float64)
    learns = {name: p for name, p in network.named_parameters() if p.requires_grad}

    def gradients(cut: int, held: bool = False) -> dict[str, Tensor]:
        early, state = network(x[:cut])
        if held:
            state = pickle_free(state, lambda part: part.detach())
        late, _ = network(x[cut:], state)
        grads = torch.autograd.grad((torch.cat([early, late]) * cotangent).sum(), list(learns.values()))
        return dict(zip(learns, grads))

    want, got, without = gradients(STEPS), gradients(8), gradients(8, held=True)
    for name in learns:
        assert want[name].abs().max() > 0, name
        same(got[name], want[name], 1e-9)
    assert not torch.allclose(without["blocks.0.time.mixing.value.weight"], want["blocks.0.time.mixing.value.weight"])


# The past alone, and each text by itself.


def changed_before(network: SpikeGPT, x: Tensor, at: int) -> tuple[float, float]:
    """Largest change of the logits before ``at``, and from there on, if the tokens from there on change."""
    other = x.clone()
    other[at:] = (other[at:] + 1 + text(seed=99)[at:] % (VOCABULARY - 1)) % VOCABULARY
    with torch.no_grad():
        change = (network(x)[0] - network(other)[0]).abs()
    return float(change[:at].max()), float(change[at:].max())


@ALL
@settings(max_examples=3)
@given(seed=SEEDS, at=st.integers(1, STEPS - 1))
def test_later_tokens_change_nothing(spiking: str, kind: str, delays: str, seed: int, at: int) -> None:
    network, x = lively(seed, spiking, kind, delays), text(seed=seed)
    before, after = changed_before(network, x, at)
    assert before < 1e-11
    assert after > 0.1, "the change has no effect at all"


def test_a_look_ahead_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = DelayShift.forward
    monkeypatch.setattr(DelayShift, "forward", lambda self, x, *rest: honest(self, x.roll(-1, 0), *rest))
    assert changed_before(lively(0, "after", "learned"), text(), 9)[0] > 0.1


@ALL
def test_texts_of_different_lengths_give_what_each_gives_alone(spiking: str, kind: str, delays: str) -> None:
    network, x = lively(0, spiking, kind, delays), text()
    with torch.no_grad():
        together, _ = network(x)
        for b, length in enumerate((STEPS, 9, 1)):
            same(network(x[:length, b : b + 1])[0][:, 0], together[:length, b])


# The state.


def pickle_free(state: Any, change: Any = lambda part: part.clone()) -> Any:
    """The state rebuilt from its tensors: there must be nothing else in it."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return change(state)
    assert isinstance(state, tuple), type(state)
    parts = [pickle_free(part, change) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


@pytest.mark.parametrize(
    ("spiking", "kind", "delays", "channels"),
    [
        ("none", "token", "none", 5),  # two delay lines of one token, three sums
        ("after", "token", "none", 5 + 2),  # two membranes
        ("after", "token", "axonal", 5 + 2 + 2 * 4),
        ("after", "learned", "none", 3 + 2 + 2 * 5),
        ("after", "learned", "dendritic", 3 + 2 + 4 * 5),
        ("after", "fixed", "none", 3 + 2 + 2 * 5),
        ("after", "dense", "none", 3 + 2 + 2 * 3),
        ("before", "token", "none", 5 + 4 + 2 + 4),  # in front of the last matrix, four times as many channels
    ],
    ids=str,
)
def test_state_has_the_same_size_after_any_number_of_tokens(
    spiking: str, kind: str, delays: str, channels: int
) -> None:
    network = lively_float32(0, spiking, kind, delays)
    for steps in (1, 2, 40, 300):
        with torch.no_grad():
            state = network(text(steps))[1]
        assert numbers_in(state) == LAYERS * channels * FEATURES * BATCH
        for part in tensors_of(state):
            assert part.dtype == torch.float32
            assert part.untyped_storage().nbytes() <= 2 * 4 * part.numel(), "it keeps more alive than it shows"


@ALL
def test_state_is_tensors_alone_and_never_written_to(spiking: str, kind: str, delays: str) -> None:
    network, x = lively(1, spiking, kind, delays), text(seed=1)
    with torch.no_grad():
        _, state = network(x[:11])
        kept = pickle_free(state)
        first, _ = network(x[11:], state)
        again, _ = copy.deepcopy(network)(x[11:], kept)
    assert torch.equal(first, again)
    for part, copied in zip(tensors_of(state), tensors_of(kept), strict=True):
        assert torch.equal(part, copied)


# Other precisions and modes.


@PLACES
def test_mixed_precision_keeps_the_state_in_float32(spiking: str) -> None:
    network, x = lively_float32(1, spiking, "learned"), text(seed=1)
    exact, fired = populations(network, x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, refired = populations(network, x)
        parts, state = in_chunks(network, x, STEP_BY_STEP)
    assert rounded.dtype == torch.bfloat16
    assert {part.dtype for part in tensors_of(state)} == {torch.float32}
    agreement = [float((a.spikes == b.spikes).float().mean()) for a, b in zip(fired, refired, strict=True)]
    assert min(agreement, default=1.0) > 0.95
    # A spike that differs changes what follows; before it, and in the network of real numbers, only digits differ.
    off = (rounded.float() - exact).abs() / exact.std()
    assert float(off.median()) < 0.03
    assert float(((parts - rounded).float().abs() / exact.std()).median()) < 0.03


@PLACES
def test_inference_mode_and_training_after_it(spiking: str) -> None:
    network, x = copy.deepcopy(lively(0, spiking, "learned")), text()
    want, _ = network(x)
    with torch.inference_mode():
        early, state = network(x[:9])
        late, _ = network(x[9:], state)
    same(torch.cat([early, late]).clone(), want.detach())
    network.train()
    network(x)[0].square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_dropout_acts_in_training_alone() -> None:
    network, x = gpt_networks.lively(0, dropout=0.5), text()
    want, _ = lively(0)(x)
    assert torch.equal(network(x)[0], want)
    network.train()
    first, second = network(x)[0], network(x)[0]
    assert not torch.allclose(first, second)
    assert not torch.allclose(first, want)
    network.dropout = 0.0
    same(network(x)[0], want.detach())
