"""Surrogates: the derivative is that of the primitive, the forward pass is the step, the numbers are checked."""

import math

import pytest
import torch

from snn_delays.errors import ConfigError
from snn_delays.ops import ATan, Boxcar, Exponential, FastSigmoid, MultiGaussian, Sigmoid, Triangle, lif
from snn_delays.ops.surrogate import spike
from tests.support.contracts import RARER, SURROGATES

ALL = SURROGATES + RARER

HEIGHTS = {
    ATan(5.0): 2.5, FastSigmoid(10.0): 1.0, Triangle(0.7, 0.3): 0.3, Sigmoid(4.0): 1.0, Boxcar(0.5): 1.0,
    Exponential(5.0, 0.4): 1.0, MultiGaussian(0.5, 0.15): 0.5 * (1.15 - 0.05) / math.sqrt(math.pi / 2),
}  # fmt: skip


@pytest.mark.parametrize("surrogate", ALL, ids=str)
def test_derivative_is_that_of_the_primitive(surrogate) -> None:
    u = torch.linspace(-3, 3, 401, dtype=torch.float64, requires_grad=True)
    (want,) = torch.autograd.grad(surrogate.primitive(u).sum(), u)
    torch.testing.assert_close(surrogate.derivative(u.detach()), want, rtol=1e-12, atol=1e-14)
    assert surrogate.derivative(torch.zeros(())).item() == pytest.approx(HEIGHTS[surrogate])


@pytest.mark.parametrize("surrogate", ALL, ids=str)
@pytest.mark.parametrize("strict", [False, True])
def test_forward_is_the_step_and_backward_the_surrogate(surrogate, strict: bool) -> None:
    u = torch.tensor([-1.0, -1e-12, 0.0, 1e-12, 1.0], dtype=torch.float64, requires_grad=True)
    s = spike(u, surrogate, strict)
    assert s.tolist() == [0, 0, 0 if strict else 1, 1, 1]
    cotangent = torch.arange(1.0, 6.0, dtype=torch.float64)
    (grad,) = torch.autograd.grad(s, u, cotangent)
    torch.testing.assert_close(grad, cotangent * surrogate.derivative(u.detach()))


@pytest.mark.parametrize("kind", [ATan, FastSigmoid, Triangle, Sigmoid, Boxcar, Exponential, MultiGaussian])
@pytest.mark.parametrize("number", [0.0, -1.0, float("nan"), float("inf")])
def test_a_scale_that_is_not_positive_is_refused(kind, number: float) -> None:
    with pytest.raises(ConfigError, match=rf"{kind.__name__}\.\w+ must be a positive number"):
        kind(number)


def test_far_from_the_threshold_nothing_overflows() -> None:
    u = torch.tensor([-1e30, -1e4, 1e4, 1e30], requires_grad=True)
    for surrogate in ALL:
        (grad,) = torch.autograd.grad(spike(u, surrogate).sum(), u)
        assert torch.isfinite(grad).all()


def test_equal_numbers_make_equal_surrogates() -> None:
    assert ATan(2.0) == ATan(2.0) != ATan(3.0)
    assert len({ATan(2.0), ATan(2.0), Sigmoid(2.0)}) == 2


@pytest.mark.parametrize("u", [-1.7, -0.5, -0.2, 0.0, 0.2, 0.5, 1.7])
def test_derivatives_are_those_of_their_sources(u: float) -> None:
    """Written out from the publications: the boxcar with its one closed end, densities of the normal distribution."""

    def normal(sigma: float) -> float:
        return math.exp(-((u / sigma) ** 2) / 2) / (sigma * math.sqrt(2 * math.pi))

    want = {
        Boxcar(0.5): float(-0.5 < u <= 0.5),
        Exponential(5.0, 0.4): 0.4 * 5 / 2 * math.exp(-5 * abs(u)),
        MultiGaussian(0.5, 0.15): 0.5 * (1.15 * normal(0.5) - 2 * 0.15 * normal(3.0)),
    }
    for surrogate, value in want.items():
        got = surrogate.derivative(torch.tensor(u, dtype=torch.float64))
        assert float(got) == pytest.approx(value, rel=1e-12)


def test_every_kernel_knows_the_closed_end_of_the_boxcar() -> None:
    for backend in ("numba_cpu", "reference"):
        current = torch.tensor([0.5, 1.0, 1.5], dtype=torch.float64)[None, None].requires_grad_()
        spikes, _ = lif(current, decay=0.5, threshold=1.0, surrogate=Boxcar(0.5), backend=backend)
        (grad,) = torch.autograd.grad(spikes.sum(), current)
        assert grad.flatten().tolist() == [0, 1, 1]
