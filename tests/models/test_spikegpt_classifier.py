"""The classifier of texts: padding changes nothing, and it is SpikeGPT below."""

import copy
from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.models import SpikeGPT, SpikeGPTClassifier
from snn_delays.models.spikegpt import delay_shifts, with_integer_delays
from tests.support.gpt_networks import (
    BATCH,
    FEATURES,
    LAYERS,
    STEPS,
    VOCABULARY,
    assert_lively,
    lively,
    tensors_of,
    text,
)

CLASSES = 3


@cache
def classifier(seed: int = 0, *variant: str) -> SpikeGPTClassifier:
    """Made once: no test may change it."""
    network = lively(seed, *variant, classes=CLASSES)
    assert_lively(network, text(seed=seed))
    return network


def mask_of(lengths: list[int], steps: int = STEPS) -> Tensor:
    return torch.arange(steps)[:, None] < torch.tensor(lengths)


@pytest.mark.parametrize(
    ("spiking", "kind", "delays"),
    [
        ("after", "token", "none"),
        ("after", "learned", "axonal"),
        ("after", "dense", "dendritic"),
        ("before", "learned", "none"),
        ("none", "fixed", "none"),
    ],
)
@settings(max_examples=4)
@given(lengths=st.lists(st.integers(1, STEPS), min_size=BATCH, max_size=BATCH), seed=st.integers(0, 1))
def test_padded_texts_get_the_scores_each_gets_alone(
    spiking: str, kind: str, delays: str, lengths: list[int], seed: int
) -> None:
    network, x = classifier(seed, spiking, kind, delays), text(seed=seed)
    valid = mask_of(lengths)
    with torch.no_grad():
        together, _ = network(x, valid=valid)
        other, _ = network(torch.where(valid, x, (x + 1) % VOCABULARY), valid=valid)
        alone = torch.cat([network(x[:length, b : b + 1])[0] for b, length in enumerate(lengths)])
    assert together.shape == (BATCH, CLASSES)
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-10)
    torch.testing.assert_close(together, other, rtol=1e-9, atol=1e-10)


def test_padding_that_is_not_marked_is_seen() -> None:
    network, x, lengths = classifier(), text(), [STEPS, 9, 4]
    marked, unmarked = (network(x, valid=valid)[0] for valid in (mask_of(lengths), None))
    torch.testing.assert_close(marked[0], unmarked[0], rtol=1e-9, atol=1e-10)
    assert not torch.allclose(marked[1:], unmarked[1:], atol=1e-2)
    late = mask_of(lengths).flip(0)  # padding in front is no padding: it fills the state
    assert not torch.allclose(network(x.flip(0), valid=late)[0][1:], marked[1:], atol=1e-2)


def test_no_mask_means_no_padding() -> None:
    network, x = classifier(1), text(seed=1)
    everything = torch.ones(STEPS, BATCH, dtype=torch.bool)
    torch.testing.assert_close(network(x)[0], network(x, valid=everything)[0], rtol=1e-12, atol=1e-13)


def test_padding_gets_no_gradient() -> None:
    network, lengths = copy.deepcopy(classifier()), [STEPS, 9, 4]
    x = text() % (VOCABULARY - 1)
    padding = VOCABULARY - 1
    valid = mask_of(lengths)
    network(torch.where(valid, x, padding), valid=valid)[0].square().sum().backward()
    grad = network.network.embedding.weight.grad
    assert not grad[padding].any()
    assert grad[:padding].abs().amax(1).min() > 0
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_is_the_mean_of_what_the_head_would_read() -> None:
    network, x = classifier(1, "after", "learned"), text(seed=1)
    stream, state = network.network.stream(x)
    scores, after = network(x)
    want = stream.sum(0) / STEPS @ network.classes.weight.T + network.classes.bias
    torch.testing.assert_close(scores, want, rtol=1e-12, atol=1e-13)
    for got, one in zip(tensors_of(after), tensors_of(state), strict=True):
        assert torch.equal(got, one)


def test_state_goes_on() -> None:
    network, x = classifier(1, "after", "learned", "axonal"), text(seed=1)
    with torch.no_grad():
        whole, state = network(x)
        early, between = network(x[:8])
        late, after = network(x[8:], between)
        forgetful, _ = network(x[8:])
    # The scores are linear in the mean over tokens.
    torch.testing.assert_close((8 * early + (STEPS - 8) * late) / STEPS, whole, rtol=1e-9, atol=1e-10)
    assert not torch.allclose(late, forgetful, atol=1e-2)
    for got, want in zip(tensors_of(after), tensors_of(state), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-10)


def test_parameters_and_their_names() -> None:
    network = SpikeGPTClassifier(CLASSES, VOCABULARY, FEATURES, LAYERS)
    body = sum(p.numel() for p in SpikeGPT(VOCABULARY, FEATURES, LAYERS).parameters()) - VOCABULARY * FEATURES
    assert sum(p.numel() for p in network.parameters()) == body + CLASSES * (FEATURES + 1)
    assert not any("head" in name for name, _ in network.named_parameters())


def test_body_is_the_language_model_of_the_same_seed() -> None:
    torch.manual_seed(4)
    network = SpikeGPTClassifier(CLASSES, VOCABULARY, FEATURES, LAYERS, shift={"kind": "learned"})
    torch.manual_seed(4)
    model = SpikeGPT(VOCABULARY, FEATURES, LAYERS, shift={"kind": "learned"})
    missing, unexpected = network.network.load_state_dict(model.state_dict(), strict=False)
    assert (missing, unexpected) == ([], ["head.weight"])
    assert all(torch.equal(p, model.state_dict()[name]) for name, p in network.network.named_parameters())


def test_delays_are_found_and_rounded() -> None:
    network, x = classifier(0, "before", "learned"), text()
    assert len(delay_shifts(network)) == 2 * LAYERS
    soft = network(x)[0]
    whole = with_integer_delays(network)
    assert not torch.allclose(whole(x)[0], soft)
    assert all(torch.equal(shift.delay, shift.delay.round()) for shift in delay_shifts(whole).values())


def test_a_text_without_tokens_is_refused() -> None:
    network, x = classifier(0, "after", "token"), text()
    valid = torch.ones_like(x, dtype=torch.bool)
    valid[:, 1] = False
    for tokens, mask in ((x, valid), (x[:0], None), (x[:0], valid[:0])):
        with pytest.raises(ShapeError, match="a text has no tokens"):
            network(tokens, None, mask)


@pytest.mark.parametrize("classes", [1, 0, -2])
def test_too_few_classes(classes: int) -> None:
    with pytest.raises(ConfigError, match=f"at least two classes, got {classes}"):
        SpikeGPTClassifier(classes, VOCABULARY, FEATURES, LAYERS)


def test_wrong_input() -> None:
    network = classifier()
    with pytest.raises(ShapeError, match=f"vocabulary has {VOCABULARY}"):
        network(text() + 1)
    with pytest.raises(ShapeError, match="the state has 1 parts, this network 4 branches"):
        network(text(), network(text())[1][:1])
    with pytest.raises(ConfigError, match="init must be one of"):
        SpikeGPTClassifier(CLASSES, VOCABULARY, FEATURES, LAYERS, init="special")
