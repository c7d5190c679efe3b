"""Sampling draws from exactly the nucleus it should, in exactly the proportions it should."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError, TrainingError
from snn_delays.models.sampling import check_options, sample

DRAWS = 40_000


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(p: Tensor | list[float], *, temperature: float = 1.0, top_p: float = 1.0, seed: int = 0) -> Tensor:
    """Counts of many draws from log p, one row each."""
    logits = torch.as_tensor(p, dtype=torch.float64).log().clamp(min=-1e4).expand(DRAWS, -1)
    tokens = sample(logits, temperature=temperature, top_p=top_p, generator=seeded(seed))
    assert tokens.dtype == torch.int64
    assert tokens.shape == (DRAWS,)
    return torch.bincount(tokens, minlength=logits.shape[1])


def chi_square(counts: Tensor, p: Tensor) -> float:
    """Over its mean, in standard deviations: about N(0, 1) if the counts are drawn from p; inf outside its support."""
    if (counts[p == 0] > 0).any():
        return math.inf
    counts, p = counts[p > 0].double(), p[p > 0]
    expected = p * counts.sum()
    freedom = len(p) - 1
    return float((((counts - expected) ** 2 / expected).sum() - freedom) / (2 * freedom) ** 0.5) if freedom else 0.0


def exact(p: Tensor, temperature: float, top_p: float) -> Tensor:
    """The nucleus by its definition: token by token, without sums of sorted rows."""
    p = p ** (1 / temperature) / (p ** (1 / temperature)).sum()
    kept: list[int] = []
    for token in sorted(range(len(p)), key=lambda token: (-float(p[token]), token)):
        if math.fsum(float(p[i]) for i in kept) >= top_p - 1e-12:
            break
        kept.append(token)
    out = torch.zeros_like(p)
    out[kept] = p[kept]
    return out / out.sum()


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("top_p", [0.3, 0.7, 0.95, 1.0])
def test_draws_have_the_exact_proportions(temperature: float, top_p: float) -> None:
    p = torch.rand(30, dtype=torch.float64, generator=seeded(1)) ** 3
    p /= p.sum()
    counts = drawn(p, temperature=temperature, top_p=top_p)
    assert abs(chi_square(counts, exact(p, temperature, top_p))) < 4
    # The measure sees a temperature that is off, where there is a choice left.
    if (counts > 0).sum() > 4:
        assert chi_square(counts, exact(p, temperature * 1.3, top_p)) > 4


@pytest.mark.parametrize(
    ("p", "top_p", "nucleus"),
    [
        ([0.5, 0.3, 0.2], 0.5, {0}),  # reached exactly: no further token
        ([0.5, 0.3, 0.2], 0.51, {0, 1}),  # the token that crosses it belongs to it
        ([0.5, 0.3, 0.2], 0.8, {0, 1}),
        ([0.5, 0.4, 0.1], 0.9, {0, 1}),  # reached exactly, but for rounding
        ([0.5, 0.3, 0.2], 0.81, {0, 1, 2}),
        ([0.2, 0.3, 0.5], 0.6, {1, 2}),  # by probability, not by number
        ([0.5, 0.3, 0.2], 1e-9, {0}),  # always one
        ([0.25, 0.25, 0.25, 0.25], 0.75, {0, 1, 2}),  # ties: the lower numbers
        ([0.1] * 10, 0.8, {0, 1, 2, 3, 4, 5, 6, 7}),  # in sums of floats these eight fall short of 0.8
        ([0.1, 0.4, 0.1, 0.4], 0.9, {0, 1, 3}),
        ([0.5, 0.5, 0.0], 1.0, {0, 1}),  # never what cannot be
    ],
)
def test_the_nucleus_is_the_smallest_set_that_reaches_top_p(p: list[float], top_p: float, nucleus: set[int]) -> None:
    assert set(drawn(p, top_p=top_p).nonzero()[:, 0].tolist()) == nucleus


def wrong(keep: Callable[[Tensor, Tensor, float], Tensor]) -> Callable[[list[float], float], set[int]]:
    def nucleus(p: list[float], top_p: float) -> set[int]:
        sorted_p, tokens = torch.tensor(p, dtype=torch.float64).sort(descending=True, stable=True)
        return set(tokens[keep(sorted_p.cumsum(0), sorted_p, top_p)].tolist())

    return nucleus


@pytest.mark.parametrize(
    ("keep", "p", "top_p"),
    [
        (lambda reached, p, top_p: reached <= top_p, [0.5, 0.3, 0.2], 0.51),  # leaves out the token that crosses
        (lambda reached, p, top_p: reached - p <= top_p, [0.5, 0.25, 0.25], 0.5),  # one more though it was reached
        (lambda reached, p, top_p: p >= 1 - top_p, [0.4, 0.3, 0.3], 0.65),  # a threshold on p is no nucleus
    ],
    ids=["exclusive", "inclusive", "threshold"],
)
def test_canary_wrong_nuclei_are_told_apart(keep, p: list[float], top_p: float) -> None:
    ours = set(drawn(p, top_p=top_p).nonzero()[:, 0].tolist())
    assert wrong(lambda reached, p, top_p: reached - p < top_p)(p, top_p) == ours
    assert wrong(keep)(p, top_p) != ours


def test_temperature_zero_takes_the_first_of_the_largest_and_no_chance() -> None:
    logits = torch.tensor([[0.0, 3.0, 3.0], [5.0, -1.0, 4.9], [-7.0, -8.0, -7.0]])
    generator = seeded()
    before = generator.get_state()
    assert sample(logits, temperature=0.0, top_p=0.1, generator=generator).tolist() == [1, 0, 0]
    assert torch.equal(generator.get_state(), before)


def test_a_tiny_temperature_tends_to_the_largest_and_a_huge_one_to_equality() -> None:
    logits = torch.tensor([[1.0, 1.5, -1e30], [1e30, -1e30, 0.0]])
    for temperature in (1e-6, 1e-300, 5e-324):
        assert sample(logits, temperature=temperature, top_p=1.0, generator=seeded()).tolist() == [1, 0]
    counts = drawn([0.9, 0.09, 0.01], temperature=1e9)
    assert abs(chi_square(counts, torch.full((3,), 1 / 3, dtype=torch.float64))) < 4


def test_a_seed_gives_one_text_in_every_precision_and_rows_do_not_mix() -> None:
    logits = torch.randn(7, 50, generator=seeded(3)).bfloat16()
    draws = [
        sample(logits.to(kind), temperature=0.9, top_p=0.9, generator=seeded(5)).tolist()
        for kind in (torch.bfloat16, torch.float32, torch.float64)
    ]
    assert draws[0] == draws[1] == draws[2]
    assert draws[0] != sample(logits, temperature=0.9, top_p=0.9, generator=seeded(6)).tolist()
    changed = logits.clone()
    changed[3] = -changed[3]
    after = sample(changed, temperature=0.9, top_p=0.9, generator=seeded(5)).tolist()
    assert after[:3] + after[4:] == draws[0][:3] + draws[0][4:]


def test_one_generator_goes_on_from_draw_to_draw() -> None:
    generator, logits = seeded(), torch.zeros(1, 1000)
    tokens = [int(sample(logits, temperature=1.0, top_p=1.0, generator=generator)) for _ in range(5)]
    assert len(set(tokens)) > 1
    together = sample(logits.expand(5, -1), temperature=1.0, top_p=1.0, generator=seeded())
    assert tokens == together.tolist()


def test_nothing_is_changed_and_no_gradient_asked_for() -> None:
    logits = torch.randn(2, 9, generator=seeded(), requires_grad=True)
    before = logits.detach().clone()
    assert not sample(logits, temperature=1.0, top_p=0.5, generator=seeded()).requires_grad
    assert torch.equal(logits.detach(), before)


@pytest.mark.parametrize("temperature", [-0.1, math.nan, math.inf, -math.inf])
def test_an_impossible_temperature_is_refused(temperature: float) -> None:
    with pytest.raises(ConfigError, match=f"temperature must be .* got {temperature}"):
        sample(torch.zeros(1, 3), temperature=temperature, top_p=1.0)
    with pytest.raises(ConfigError, match=f"temperature must be .* got {temperature}"):
        check_options(temperature, 1.0)


@pytest.mark.parametrize("top_p", [0.0, -0.5, 1.01, math.nan])
def test_an_impossible_top_p_is_refused(top_p: float) -> None:
    with pytest.raises(ConfigError, match=f"top_p must be .* got {top_p}"):
        sample(torch.zeros(1, 3), temperature=1.0, top_p=top_p)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_logits_that_are_not_finite_name_the_network(value: float, temperature: float) -> None:
    logits = torch.zeros(3, 5)
    logits[1, 4] = value
    with pytest.raises(TrainingError, match=rf"network.s logits .* \({value:g} for token 4, row 1\)"):
        sample(logits, temperature=temperature, top_p=0.9)


@pytest.mark.parametrize("logits", [torch.zeros(3), torch.zeros(2, 0), torch.zeros(1, 2, 3), torch.ones(1, 3).long()])
def test_what_are_no_logits_is_refused(logits: Tensor) -> None:
    with pytest.raises(ShapeError, match=r"\[batch, vocab\]"):
        sample(logits, temperature=1.0, top_p=1.0)
