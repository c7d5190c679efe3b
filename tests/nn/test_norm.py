"""Batch norm over time and batch: padding does not count, folding needs only scale and shift."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.errors import ShapeError
from snn_delays.nn import BatchNorm


def test_training_normalises_over_time_and_batch() -> None:
    norm = BatchNorm(5).double().train()
    x = torch.randn(40, 6, 5, dtype=torch.float64) * 3 + torch.arange(5.0)
    y, state = norm(x)
    assert state is None
    torch.testing.assert_close(y.mean((0, 1)), torch.zeros(5, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close(y.var((0, 1), unbiased=False), torch.ones(5, dtype=torch.float64), atol=1e-4, rtol=0)
    torch.testing.assert_close(norm.running_mean, 0.1 * x.mean((0, 1)))
    torch.testing.assert_close(norm.running_var, 0.9 + 0.1 * x.var((0, 1)))


def test_equals_torchs_norm_with_gradients() -> None:
    x = torch.randn(20, 3, 4, dtype=torch.float64, requires_grad=True)
    norm, theirs = BatchNorm(4).double(), torch.nn.BatchNorm1d(4).double()
    with torch.no_grad():
        for parameter, their in ((norm.gamma, theirs.weight), (norm.beta, theirs.bias)):
            their.copy_(parameter.uniform_(0.5, 1.5))
    for training in (True, False):
        got = norm.train(training)(x)[0]
        want = theirs.train(training)(x.flatten(0, 1)).view_as(x)
        torch.testing.assert_close(got, want)
        cotangent = torch.randn_like(x)
        ours = torch.autograd.grad(got, (x, norm.gamma, norm.beta), cotangent)
        others = torch.autograd.grad(want, (x, theirs.weight, theirs.bias), cotangent)
        for a, b in zip(ours, others):
            torch.testing.assert_close(a, b)


@given(seed=st.integers(0, 10**6), lengths=st.lists(st.integers(2, 12), min_size=1, max_size=5))
def test_padding_does_not_matter_in_training(seed: int, lengths: list[int]) -> None:
    torch.manual_seed(seed)
    steps = max(lengths)
    valid = torch.arange(steps)[:, None] < torch.tensor(lengths)
    outcomes = []
    for padding, extra in ((0.0, 0), (100.0, 0), (-7.0, 4)):
        torch.manual_seed(seed)
        x = torch.randn(steps, len(lengths), 3, dtype=torch.float64)
        x = torch.where(valid[..., None], x, torch.tensor(padding, dtype=x.dtype))
        x = torch.cat([x, torch.full((extra, len(lengths), 3), padding, dtype=x.dtype)])
        mask = torch.cat([valid, valid.new_zeros(extra, len(lengths))])
        norm = BatchNorm(3).double().train()
        y, _ = norm(x, None, mask)
        assert not y[~mask].any()
        outcomes.append((y[:steps], norm.running_mean, norm.running_var))
        alone = BatchNorm(3).double().train()(x[mask].view(-1, 1, 3))[0][:, 0]
        torch.testing.assert_close(y[mask], alone)
    for other in outcomes[1:]:
        for got, want in zip(other, outcomes[0]):
            torch.testing.assert_close(got, want)


def test_without_the_mask_padding_does_matter() -> None:
    x = torch.randn(10, 2, 3)
    padded = torch.cat([x, torch.zeros(10, 2, 3)])
    assert not torch.allclose(BatchNorm(3).train()(padded)[0][:10], BatchNorm(3).train()(x)[0])


def test_evaluation_is_scale_and_shift() -> None:
    norm = BatchNorm(4).double()
    for tensor, low, high in ((norm.running_mean, -1, 1), (norm.running_var, 0.1, 3), (norm.gamma, -2, 2)):
        torch.nn.init.uniform_(tensor, low, high)
    x = torch.randn(7, 2, 4, dtype=torch.float64)
    scale, shift = norm.scale_and_shift()
    before = norm.running_mean.clone()
    assert torch.equal(norm.eval()(x)[0], x * scale + shift)
    want = (x - norm.running_mean) / (norm.running_var + 1e-5).sqrt() * norm.gamma + norm.beta
    torch.testing.assert_close(norm(x)[0], want)
    assert torch.equal(norm.running_mean, before)


def test_refusals() -> None:
    with pytest.raises(ShapeError, match="batch norm of 4 neurons got a current of shape"):
        BatchNorm(4)(torch.zeros(2, 1, 5))
    with pytest.raises(ShapeError, match="at least two valid steps"):
        BatchNorm(4).train()(torch.zeros(1, 1, 4))
