"""The squared relu against autograd's own, in every kind of memory."""

import pytest
import torch

from snn_delays.ops.squared_relu import squared_relu

LARGE = (300, 1001)  # above the size from which memory is used again


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(0,), (7,), (2, 3, 5), LARGE])
def test_equals_the_square_of_a_relu(shape, dtype) -> None:
    x = torch.randn(shape, dtype=dtype, requires_grad=True)
    grad = torch.randn(shape, dtype=dtype)
    y, want = squared_relu(x), torch.relu(x) ** 2
    assert torch.equal(y, want)
    (got,), (expected,) = torch.autograd.grad(y, x, grad), torch.autograd.grad(want, x, grad)
    torch.testing.assert_close(got, expected)
    assert y.dtype == got.dtype == dtype


def test_what_is_no_number_stays_none() -> None:
    x = torch.tensor([torch.nan, torch.inf, -torch.inf, 2.0], requires_grad=True)
    y = squared_relu(x)
    (grad,) = torch.autograd.grad(y.sum(), x)
    for got, want in ((y, [torch.nan, torch.inf, 0, 4]), (grad, [torch.nan, torch.inf, 0, 4])):
        torch.testing.assert_close(got, torch.tensor(want), equal_nan=True)


def test_gradcheck() -> None:
    assert torch.autograd.gradcheck(squared_relu, torch.randn(4, 5, dtype=torch.float64, requires_grad=True))


def test_strides_and_what_is_written() -> None:
    x = torch.randn(LARGE, requires_grad=True)
    before = x.detach().clone()
    torch.testing.assert_close(squared_relu(x.T), torch.relu(x.T) ** 2)
    assert torch.equal(x, before)
    with torch.inference_mode():
        assert torch.equal(squared_relu(x), torch.relu(x) ** 2)


def test_results_that_are_still_held_are_not_written_over() -> None:
    x = torch.randn(LARGE)
    first = squared_relu(x)
    kept = first.clone()
    for _ in range(3):
        squared_relu(torch.randn(LARGE))
    assert torch.equal(first, kept)


def test_a_kept_graph_can_be_used_twice() -> None:
    x = torch.randn(LARGE, requires_grad=True)
    y = squared_relu(x).sum()
    (first,) = torch.autograd.grad(y, x, retain_graph=True)
    (second,) = torch.autograd.grad(y, x)
    assert torch.equal(first, second)
