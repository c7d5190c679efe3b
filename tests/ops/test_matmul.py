"""The matrix product against the same in float64, on both sides of the size from which oneDNN serves it."""

import pytest
import torch
import torch.nn.functional as F

from snn_delays.nn.rwkv import Linear
from snn_delays.ops import matmul
from snn_delays.ops.matmul import WORTH, linear

SHAPES = {  # of x, and the outputs
    "wide result": ((16, 64, 48), 200),
    "narrow result": ((16, 64, 200), 48),
    "matrix": ((1024, 96), 65),
    "small": ((3, 5, 7), 11),
    "one step": ((1, 1, 128), 128),
    "empty": ((0, 4, 8), 3),
}


def _case(name: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    shape, out = SHAPES[name]
    torch.manual_seed(0)
    return torch.randn(shape), torch.randn(out, shape[-1]), torch.randn(*shape[:-1], out)


def test_the_large_shapes_are_large_enough() -> None:
    large = [name for name in SHAPES if _case(name)[0].numel() * SHAPES[name][1] >= WORTH]
    assert large == ["wide result", "narrow result", "matrix"]


def _close(got: torch.Tensor, exact: torch.Tensor) -> None:
    assert got.shape == exact.shape
    assert got.dtype == torch.float32
    scale = float(exact.detach().abs().max()) if exact.numel() else 0.0
    torch.testing.assert_close(got.double(), exact, rtol=0, atol=2e-6 * scale)


@pytest.mark.parametrize("name", SHAPES)
def test_equals_float64_with_both_gradients(name) -> None:
    x, weight, grad = _case(name)
    exact = [x.double().requires_grad_(), weight.double().requires_grad_()]
    given = [x.requires_grad_(), weight.requires_grad_()]
    y, want = linear(*given), F.linear(*exact)
    _close(y, want)
    for got, expected in zip(torch.autograd.grad(y, given, grad), torch.autograd.grad(want, exact, grad.double())):
        _close(got, expected)
    with torch.inference_mode():
        _close(linear(x, weight), want)


@pytest.mark.parametrize("learned", ["x", "weight"])
def test_one_gradient_alone(learned) -> None:
    x, weight, grad = _case("wide result")
    leaf = {"x": x, "weight": weight}[learned].requires_grad_()
    exact = {"x": x.detach().double(), "weight": weight.detach().double()}
    exact[learned].requires_grad_()
    linear(x, weight).backward(grad)
    F.linear(**{"input": exact["x"], "weight": exact["weight"]}).backward(grad.double())
    _close(leaf.grad, exact[learned].grad)


def test_strides_of_every_operand() -> None:
    x, weight, grad = _case("wide result")
    strided = torch.empty(48, 64, 16).permute(2, 1, 0).copy_(x).requires_grad_()
    turned = weight.T.contiguous().T.requires_grad_()
    y = linear(strided, turned)
    _close(y, F.linear(x.double(), weight.double()))
    got = torch.autograd.grad(y, (strided, turned), grad.transpose(0, 1).contiguous().transpose(0, 1))
    expected = torch.autograd.grad(linear(a := x.requires_grad_(), b := weight.requires_grad_()), (a, b), grad)
    for one, other in zip(got, expected):
        torch.testing.assert_close(one, other)


def test_a_kept_graph_can_be_used_twice() -> None:
    x, weight, _ = _case("wide result")
    y = linear(x.requires_grad_(), weight).sum()
    (first,) = torch.autograd.grad(y, x, retain_graph=True)
    assert torch.equal(first, torch.autograd.grad(y, x)[0])


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions_are_torch_s_own(dtype) -> None:
    x, weight, _ = _case("wide result")
    assert torch.equal(linear(x.to(dtype), weight.to(dtype)), F.linear(x.to(dtype), weight.to(dtype)))


def test_autocast_lowers_the_precision_as_of_any_linear_layer() -> None:
    x, weight, _ = _case("wide result")
    with torch.autocast("cpu", torch.bfloat16):
        assert linear(x, weight).dtype == torch.bfloat16


def test_torch_serves_where_onednn_is_missing_or_switched_off(monkeypatch) -> None:
    x, weight, _ = _case("wide result")
    want = F.linear(x, weight)

    def never(*_: torch.Tensor) -> None:
        raise AssertionError("oneDNN served")

    monkeypatch.setattr(matmul, "product", never)
    with pytest.raises(AssertionError, match="oneDNN served"):
        linear(x, weight)
    with torch.backends.mkldnn.flags(enabled=False):
        assert torch.equal(linear(x, weight), want)
    monkeypatch.setattr(matmul, "ONEDNN", False)
    assert torch.equal(linear(x, weight), want)


def test_shapes_that_do_not_fit_are_torch_s_error() -> None:
    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        linear(torch.randn(4096, 96), torch.randn(65, 97))


def test_the_layer_is_torch_s_own_without_bias() -> None:
    torch.manual_seed(3)
    ours = Linear(96, 65)
    torch.manual_seed(3)
    theirs = torch.nn.Linear(96, 65, bias=False)
    assert list(ours.state_dict()) == ["weight"]
    assert torch.equal(ours.weight, theirs.weight)
    x = torch.randn(1024, 96)
    _close(ours(x), F.linear(x.double(), theirs.weight.double()))
