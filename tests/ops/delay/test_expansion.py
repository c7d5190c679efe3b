"""Wide taps by their expansion: as exact as the dtype, and only where it is shorter than the window."""

import numpy as np
import pytest
import torch

from snn_delays.ops.delay.expansion import expansion, polynomials, tolerance_of
from snn_delays.ops.delay.taps import tap_weights

WIDE = [(12.0, 24), (32.0, 63), (128.0, 511)]


@pytest.mark.parametrize(
    ("sigma", "longest", "dtype"),
    [*((*each, torch.float32) for each in WIDE), *((*e, torch.float64) for e in WIDE[1:])],
)
def test_wide_taps_are_what_the_expansion_says(sigma: float, longest: int, dtype: torch.dtype) -> None:
    found = expansion(sigma, longest, "gaussian", tolerance_of(dtype))
    assert found is not None
    assert found.shape[1] < longest + 1
    delay = torch.linspace(0, longest, 501, dtype=torch.float64).view(-1, 1, 1)
    want = tap_weights(delay, torch.tensor(sigma, dtype=torch.float64), longest, "gaussian").view(longest + 1, -1)
    terms = polynomials(delay, longest, found.shape[1]).view(found.shape[1], -1)
    error = (torch.from_numpy(found) @ terms - want).abs().max() / want.max()
    assert error <= 2 * tolerance_of(dtype)
    one_less = torch.from_numpy(found[:, : found.shape[1] // 2]) @ terms[: found.shape[1] // 2]
    assert (one_less - want).abs().max() / want.max() > 100 * tolerance_of(dtype)  # canary: half of it is not enough


def test_more_digits_than_half_the_window_can_give_are_left_to_the_window() -> None:
    assert expansion(12.0, 24, "gaussian", tolerance_of(torch.float64)) is None


@pytest.mark.parametrize(("sigma", "taps"), [(0.5, "gaussian"), (12.0, "linear")])
def test_narrow_taps_and_others_have_none(sigma: float, taps: str) -> None:
    assert expansion(sigma, 24, taps, tolerance_of(torch.float32)) is None


def test_derivative_by_the_delay_is_that_of_the_taps() -> None:
    sigma, longest = 32.0, 63
    found = expansion(sigma, longest, "gaussian", tolerance_of(torch.float64))
    assert found is not None
    delay = torch.linspace(0.1, 62.9, 40, dtype=torch.float64).view(-1, 1, 1).requires_grad_()
    cotangent = torch.from_numpy(np.random.default_rng(0).standard_normal((longest + 1, 40)))
    by_terms = torch.from_numpy(found) @ polynomials(delay, longest, found.shape[1]).view(found.shape[1], -1)
    taps = tap_weights(delay, torch.tensor(sigma, dtype=torch.float64), longest, "gaussian").view(longest + 1, -1)
    ours, want = (torch.autograd.grad((y * cotangent).sum(), delay)[0] for y in (by_terms, taps))
    torch.testing.assert_close(ours, want, rtol=1e-9, atol=1e-11)
