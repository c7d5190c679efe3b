"""The spiking embedding: a pattern of spikes for every token, and its surrogate gradient."""

import math

import pytest
import torch

from snn_delays.errors import ShapeError
from snn_delays.nn import SpikingEmbedding
from snn_delays.ops import ATan


def embedding(rows: list[list[float]], **options) -> SpikingEmbedding:
    layer = SpikingEmbedding(len(rows), len(rows[0]), **options).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(rows, dtype=torch.float64))
    return layer


def test_fires_at_zero_and_above() -> None:
    layer = embedding([[0.0, -1e-9, 2.0], [-3.0, 1e-9, -0.5]])
    y, state = layer(torch.tensor([[0, 1], [1, 1]]))
    assert state is None
    assert y.tolist() == [[[1, 0, 1], [0, 1, 0]], [[0, 1, 0], [0, 1, 0]]]
    assert y.dtype == torch.float64


def test_real_embedding_gives_the_numbers_themselves() -> None:
    layer = embedding([[0.25, -1.0], [-3.0, 0.5]], binary=False)
    x = torch.tensor([[1, 0]])
    y, _ = layer(x)
    assert y.tolist() == [[[-3.0, 0.5], [0.25, -1.0]]]
    (grad,) = torch.autograd.grad(y.sum(), layer.weight)
    assert torch.equal(grad, torch.ones_like(grad))


def test_surrogate_gradient_adds_up_over_the_places_of_a_token() -> None:
    weight = [[0.0, -0.7, 2.0], [0.3, 1.0, -1.0], [0.1, 0.1, 0.1]]
    layer = embedding(weight)
    x = torch.tensor([[0, 1], [1, 1]])
    cotangent = torch.randn(2, 2, 3, dtype=torch.float64)
    (grad,) = torch.autograd.grad((layer(x)[0] * cotangent).sum(), layer.weight)
    arrived = [cotangent[0, 0], cotangent[0, 1] + cotangent[1, 0] + cotangent[1, 1], torch.zeros(3)]
    for token, row in enumerate(weight):
        for c, z in enumerate(row):
            want = float(arrived[token][c]) / (1 + (math.pi * z) ** 2)
            assert float(grad[token, c]) == pytest.approx(want, rel=1e-12, abs=1e-15)
    assert not grad[2].any(), "a token that was not there"


def test_surrogate_can_be_chosen() -> None:
    x = torch.tensor([[0]])
    slopes = []
    for alpha in (2.0, 4.0):
        layer = embedding([[0.5]], surrogate=ATan(alpha))
        slopes.append(float(torch.autograd.grad(layer(x)[0].sum(), layer.weight)[0]))
    want = [alpha / 2 / (1 + (math.pi / 2 * alpha * 0.5) ** 2) for alpha in (2.0, 4.0)]
    assert slopes == pytest.approx(want, rel=1e-12)


def test_ones_rate() -> None:
    assert embedding([[0.0, -1.0, 2.0], [-3.0, 1.0, -0.5]]).ones_rate() == 0.5
    assert embedding([[0.0], [1.0], [-1.0]]).ones_rate() == pytest.approx(2 / 3)
    assert 0.45 < SpikingEmbedding(100, 50).ones_rate() < 0.55


def test_starts_standard_normal() -> None:
    weight = SpikingEmbedding(200, 100).weight
    assert abs(float(weight.detach().mean())) < 0.03
    assert 0.97 < float(weight.detach().std()) < 1.03


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_integers_of_either_size(dtype: torch.dtype) -> None:
    layer = SpikingEmbedding(5, 3)
    x = torch.tensor([[0, 4], [2, 1]])
    assert torch.equal(layer(x.to(dtype))[0], (layer.weight[x] >= 0).float())


def test_no_steps_and_no_batch() -> None:
    layer = SpikingEmbedding(5, 3)
    assert layer(torch.zeros(0, 2, dtype=torch.int64))[0].shape == (0, 2, 3)
    assert layer(torch.zeros(4, 0, dtype=torch.int64))[0].shape == (4, 0, 3)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (torch.tensor([[0, 5]]), "tokens reach from 0 to 5, the vocabulary has 5: encode the text"),
        (torch.tensor([[-1, 4]]), "tokens reach from -1 to 4, the vocabulary has 5"),
        (
            torch.tensor([[0.0, 1.0]]),
            r"integers \[time, batch\], int64 or int32, got torch.float32 of shape \(1, 2\)",
        ),
        (torch.tensor([0, 1]), r"takes a tensor \[time, batch\], got an input of shape \(2,\)"),
        (torch.zeros(2, 3, 4, dtype=torch.int64), r"got an input of shape \(2, 3, 4\)"),
    ],
)
def test_what_are_no_tokens_is_refused(x: torch.Tensor, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        SpikingEmbedding(5, 3)(x)


def test_says_what_it_is() -> None:
    assert repr(SpikingEmbedding(5, 3)) == "SpikingEmbedding(5, 3, binary=True, surrogate=ATan(alpha=2.0))"
