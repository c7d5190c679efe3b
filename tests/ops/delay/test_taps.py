"""Taps: equal to DCLS's at every position of the window, gradients included; sums; a whole layer against Dcls1d."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from snn_delays.ops import delayed_linear
from snn_delays.ops.delay.taps import TAPS, delay_kernel, tap_weights

# Their version, and what they add to |SIG| to get our sigma.
IN_DCLS = {"gaussian": ("gauss", 0.27), "triangle": ("max", 0.0), "linear_normalized": ("v1", None),
           "linear": ("v0", None)}  # fmt: skip


def positions(window: int, count: int, draw: torch.Generator) -> torch.Tensor:
    """Positions p in 0..window-1, ``[1, 1, count]``: all whole ones (so both borders), halves, and anything else."""
    whole = torch.arange(window, dtype=torch.float64)
    anywhere = torch.rand(count, generator=draw, dtype=torch.float64) * (window - 1)
    return torch.cat([whole, whole[:-1] + 0.5, anywhere]).view(1, 1, -1)


def both_kernels(taps: str, window: int, seed: int = 0, wrong: str | None = None):
    """Our kernel and DCLS's on the same numbers, each with its gradients by weight, delay and sigma, in our terms."""
    modules = pytest.importorskip("DCLS.construct.modules", reason="dcls is not installed")
    version, offset = IN_DCLS[taps]
    draw = torch.Generator().manual_seed(seed)
    p = positions(window, 40, draw)
    n = p.shape[-1]
    weight = torch.randn(n, 1, 1, generator=draw, dtype=torch.float64)
    raw_sigma = torch.rand(n, 1, 1, generator=draw, dtype=torch.float64) * 3
    cotangent = torch.randn(window, n, 1, generator=draw, dtype=torch.float64)
    p = p.view(n, 1, 1)

    theirs = [weight.clone(), (p - window // 2)[None].clone()]
    theirs += [raw_sigma[None].clone()] if offset is not None else []
    theirs = [tensor.requires_grad_() for tensor in theirs]
    construct = modules.ConstructKernel1d(n, 1, 1, 1, (window,), version)
    kernel = construct(*theirs, *([] if offset is not None else [None]))  # [out, in, tap], latest input last
    their_kernel = kernel.permute(2, 0, 1).flip(0)
    g = torch.autograd.grad((their_kernel * cotangent).sum(), theirs)
    their_grads = [g[0], -g[1][0], *(part[0] for part in g[2:])]  # a later position is a shorter delay

    delay = p if wrong == "not mirrored" else window - 1 - p
    sigma = raw_sigma + (offset or 0) * (wrong != "no floor of sigma")
    ours = [tensor.clone().requires_grad_() for tensor in (weight, delay, sigma)][: len(theirs)]
    width = ours[2] if len(ours) > 2 else None
    our_kernel = delay_kernel(ours[0], ours[1], width, window - 1, taps)
    our_grads = torch.autograd.grad((our_kernel * cotangent).sum(), ours)
    return [our_kernel, *our_grads], [their_kernel, *their_grads]


def assert_equal_to_dcls(ours, theirs) -> None:
    for name, got, want in zip(("kernel", "weight", "delay", "sigma"), ours, theirs):
        scale = float(want.detach().abs().max())
        assert scale > 0.1, f"{name}: nothing to compare"
        torch.testing.assert_close(
            got.detach(), want.detach(), rtol=1e-6, atol=1e-9 * scale, msg=lambda m, name=name: f"{name}: {m}"
        )


@pytest.mark.parametrize("window", [2, 5, 24, 25, 31])
@pytest.mark.parametrize("taps", IN_DCLS)
def test_equal_to_dcls_with_every_gradient(taps: str, window: int) -> None:
    ours, theirs = both_kernels(taps, window)
    assert len(ours) == (4 if TAPS[taps].needs_sigma else 3)
    assert_equal_to_dcls(ours, theirs)


WRONG = [*((taps, "not mirrored") for taps in IN_DCLS), ("gaussian", "no floor of sigma")]


@pytest.mark.parametrize(("taps", "wrong"), WRONG)
def test_the_comparison_with_dcls_can_fail(taps: str, wrong: str) -> None:
    with pytest.raises(AssertionError):
        assert_equal_to_dcls(*both_kernels(taps, 25, wrong=wrong))


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("taps", IN_DCLS)
def test_layer_equals_dcls1d_with_left_padding(taps: str, count: int) -> None:
    modules = pytest.importorskip("DCLS.construct.modules", reason="dcls is not installed")
    version, offset = IN_DCLS[taps]
    window, inputs, outputs = 9, 6, 4
    layer = modules.Dcls1d(
        inputs, outputs, kernel_count=count, dilated_kernel_size=window, bias=False, version=version
    ).double()
    torch.nn.init.uniform_(layer.P, -(window // 2), window - 1 - window // 2)
    spikes = (torch.rand(30, 3, inputs) < 0.3).double()
    padded = torch.nn.functional.pad(spikes.permute(1, 2, 0), (window - 1, 0))
    theirs = layer(padded).permute(2, 0, 1)
    sigma = None if offset is None else (layer.SIG[0].abs() + offset).detach()
    delay = (window - 1 - (layer.P[0] + window // 2)).detach()
    ours, _ = delayed_linear(spikes, layer.weight.detach(), delay, sigma, max_delay_steps=window - 1, taps=taps)
    assert ours.abs().max() > 0.1
    torch.testing.assert_close(ours, theirs.detach(), rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("taps", IN_DCLS)
@given(seed=st.integers(0, 10**6), longest=st.integers(0, 30), sigma=st.floats(0.27, 20))
def test_taps_sum_to_one_and_are_not_negative(taps: str, seed: int, longest: int, sigma: float) -> None:
    draw = torch.Generator().manual_seed(seed)
    delay = torch.rand(20, 2, 1, generator=draw, dtype=torch.float64) * longest
    delay[0], delay[1], delay[2] = 0, longest, longest // 2
    weights = tap_weights(delay, torch.tensor(sigma, dtype=torch.float64), longest, taps)
    assert weights.shape == (longest + 1, 20, 2, 1)
    assert (weights >= 0).all()
    # The 1e-7 under the fraction takes at most that share of the sum, divided by what stood there: at least the two
    # taps half a step away, 2 exp(-1/(8 sigma^2)).
    torch.testing.assert_close(weights.sum(0), torch.ones_like(delay), rtol=0, atol=1e-6)


def test_not_normalised_gaussians_do_not_sum_to_one() -> None:
    delay = torch.rand(50, 1, 1, dtype=torch.float64) * 10
    spread = TAPS["gaussian"].spread(torch.arange(11.0).double().view(-1, 1, 1, 1) - delay, torch.tensor(2.0))
    assert ((spread.sum(0) - 1).abs() > 0.1).all()


def test_linear_taps_sum_and_centre_exactly() -> None:
    delay = torch.rand(100, 1, 1, dtype=torch.float64) * 12
    for taps in ("linear", "linear_normalized"):
        weights = tap_weights(delay, None, 12, taps)
        centre = (weights * torch.arange(13).double().view(-1, 1, 1, 1)).sum(0)
        torch.testing.assert_close(centre, delay, rtol=3e-7, atol=1e-12)
        assert ((weights > 0).sum(0) <= 2).all()
