"""Neurons of several states: every backend equals the equations, gradients included, and those have no slip."""

from functools import partial
from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from snn_delays.errors import ConfigError, ShapeError
from snn_delays.ops import ATan, Boxcar, Exponential, MultiGaussian, cells
from snn_delays.ops.cells import OPERATION
from snn_delays.ops.cells.equations import CELLS
from tests.support.comparison import assert_same

DETACHED = ("cuba_soft", "se_adlif", "ef_adlif")
STEPS, BATCH, N = 25, 3, 50  # lanes that fill no whole number of blocks
RANGES = {
    "alpha": (0.5, 0.95), "beta": (0.8, 0.99), "a": (0.0, 0.6), "b": (0.1, 0.9), "threshold": (0.4, 0.8),
    "decay": (0.4, 0.9), "gain": (0.5, 1.0), "syn_decay": (0.2, 0.8), "syn_gain": (0.5, 1.0), "v_reset": (-0.2, 0.1),
    "real": (0.5, 0.9), "imag": (0.1, 0.4), "omega": (5.0, 10.0), "dt": (0.05, 0.2),
}  # fmt: skip


def drawn(kind: str, dtype: torch.dtype = torch.float64, steps: int = STEPS, neurons: int = N) -> list[Tensor]:
    """Current, states and constants with which neurons of a kind fire now and then."""
    cell, draw = CELLS[kind], partial(torch.rand, dtype=dtype)
    scale, shift = (12.0, 0.5) if kind == "brf" else (2.0, 0.3)
    x = torch.randn(steps, BATCH, neurons, dtype=dtype) * scale + shift
    constants = [RANGES[name][0] + (RANGES[name][1] - RANGES[name][0]) * draw(neurons) for name in cell.constants]
    if kind == "brf":
        constants[1] = -2 * draw(neurons)
    return [x, *(0.5 * draw(BATCH, neurons) for _ in cell.states), *constants]


def run(kind: str, given: list[Tensor], **options: Any) -> tuple[Tensor, ...]:
    cell = CELLS[kind]
    options.setdefault("detach_reset", kind in DETACHED)  # both ways are compared, each kernel is compiled once
    states, constants = given[1 : 1 + len(cell.states)], given[1 + len(cell.states) :]
    spikes, after = cells(kind, given[0], states, dict(zip(cell.constants, constants)), **options)
    return spikes, *after


def differentiated(kind: str, given: list[Tensor], **options: Any) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, and gradients by everything that was given."""
    leaves = [part.clone().requires_grad_() for part in given]
    outputs = list(run(kind, leaves, **options))
    generator = torch.Generator().manual_seed(5)
    loss = sum((y * torch.randn(y.shape, generator=generator, dtype=y.dtype)).sum() for y in outputs)
    grads = torch.autograd.grad(loss, leaves, allow_unused=True)
    return outputs, [torch.zeros_like(leaf) if g is None else g for g, leaf in zip(grads, leaves)]


def compare(kind: str, given: list[Tensor], fast: dict[str, Any], plain: dict[str, Any]) -> None:
    (got, got_grads), (want, want_grads) = (differentiated(kind, given, **options) for options in (fast, plain))
    assert 0.02 < want[0].mean() < 0.8
    for y, z in zip(got, want):
        assert torch.equal(y, z)
    assert all(float(g.abs().max()) > 0 for g in want_grads[: 1 + len(got) - 1])
    for i, (g, h) in enumerate(zip(got_grads, want_grads)):
        assert_same(g, h, f"gradient {i}")


@pytest.mark.parametrize("kind", CELLS)
def test_kernels_equal_the_equations(kind: str) -> None:
    given = drawn(kind)
    options = {"surrogate": ATan(2.0)}
    compare(kind, given, {**options, "backend": "numba_cpu"}, {**options, "backend": "reference"})


@pytest.mark.parametrize("surrogate", [Boxcar(0.5), Exponential(5.0, 0.4), MultiGaussian(0.5, 0.15)], ids=str)
def test_kernels_know_the_surrogates_and_options(surrogate: Any) -> None:
    given, options = drawn("c_adlif"), {"surrogate": surrogate}
    compare("c_adlif", given, {**options, "backend": "numba_cpu"}, {**options, "backend": "reference"})


@pytest.mark.parametrize("wrong", [{"detach_reset": True}, {"surrogate": ATan(2.1)}, {"kind": "ef"}])
def test_canary_the_comparison_rejects_another_gradient_or_equation(wrong: dict[str, Any]) -> None:
    right = {"surrogate": ATan(2.0), "backend": "reference"}
    if "kind" not in wrong:
        given = drawn("c_adlif")
        compare("c_adlif", given, right, right)
        with pytest.raises(AssertionError):
            compare("c_adlif", given, {**right, **wrong}, right)
        return
    given = drawn("ef_adlif")
    given[3].zero_()
    spikes = [run(kind, [*given[:3], *rest], **right)[0] for kind, rest in (
        ("ef_adlif", given[3:]), ("se_adlif", given[4:])
    )]  # fmt: skip
    assert not torch.equal(*spikes)


def test_float32_and_half_precision() -> None:
    given = drawn("se_adlif", torch.float32)
    fast, plain = (differentiated("se_adlif", given, backend=name) for name in ("numba_cpu", "reference"))
    assert float((fast[0][0] != plain[0][0]).float().mean()) < 1e-3
    if torch.equal(fast[0][0], plain[0][0]):
        for g, h in zip(fast[1], plain[1]):
            assert_same(g, h, "gradient")
    half = run("se_adlif", [given[0].bfloat16(), *given[1:]])
    assert (half[0].dtype, half[1].dtype) == (torch.bfloat16, torch.float32)
    assert torch.equal(half[0].float(), run("se_adlif", [given[0].bfloat16().float(), *given[1:]])[0])


def test_kernels_share_lanes_over_threads() -> None:
    given = drawn("se_adlif", neurons=400)
    alone = differentiated("se_adlif", given, backend="numba_cpu")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        shared = differentiated("se_adlif", given, backend="numba_cpu")
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(alone[0] + alone[1], shared[0] + shared[1]))


@pytest.mark.parametrize("kind", CELLS)
def test_gradients_are_those_of_finite_differences_where_no_spike_hangs_on_them(kind: str) -> None:
    """With a surrogate that is 0 but next to the threshold, spikes are constants for both."""
    given = [part.requires_grad_() for part in drawn(kind, steps=6, neurons=3)]
    options = {"surrogate": Boxcar(1e-9), "backend": "reference"}
    assert run(kind, given, **options)[0].any()
    assert torch.autograd.gradcheck(lambda *leaves: run(kind, list(leaves), **options), given, atol=1e-6)


@pytest.mark.parametrize("kind", CELLS)
@pytest.mark.parametrize("ends", [(0, 1, 2, 25), (0, 11, 11, 25)])
def test_in_pieces_as_in_one(kind: str, ends: tuple[int, ...]) -> None:
    given = drawn(kind)
    with torch.no_grad():
        whole = run(kind, given)
        states, parts = given[1 : len(whole)], []
        for a, b in pairwise(ends):
            spikes, *states = run(kind, [given[0][a:b], *states, *given[len(whole) :]])
            parts.append(spikes)
    assert 0.02 < whole[0].mean() < 0.8
    assert torch.equal(torch.cat(parts), whole[0])
    assert all(torch.equal(a, b) for a, b in zip(states, whole[1:]))


def test_nan_stays_where_it_is_and_no_steps_are_no_steps() -> None:
    given = drawn("se_adlif")
    given[0][3, 1, 7] = torch.nan
    for backend in ("numba_cpu", "reference"):
        spikes = run("se_adlif", given, backend=backend)[0]
        assert spikes[3:, 1, 7].isnan().all()
        assert int(spikes.isnan().sum()) == STEPS - 3
        none = run("se_adlif", [given[0][:0], *given[1:]], backend=backend)
        assert none[0].shape == (0, BATCH, N)
        assert torch.equal(none[1], given[1])


@pytest.mark.usefixtures("own_shape_errors")
def test_what_cannot_be_is_named() -> None:
    x, u, w, *constants = drawn("se_adlif")
    named = dict(zip(CELLS["se_adlif"].constants, constants))
    with pytest.raises(ConfigError, match="no neurons of kind 'se_adliv'; did you mean 'se_adlif'"):
        cells("se_adliv", x, None, named)
    with pytest.raises(ConfigError, match=r"missing or unknown: \['a'\]"):
        cells("se_adlif", x, None, {k: v for k, v in named.items() if k != "a"})
    with pytest.raises(ShapeError, match="the state w has shape"):
        cells("se_adlif", x, (u, w[:1]), named)
    with pytest.raises(ShapeError, match="se_adlif has the states u, w, got 1"):
        cells("se_adlif", x, (u,), named)
    with pytest.raises(ShapeError, match="beta has shape"):
        cells("se_adlif", x, None, named | {"beta": torch.ones(N - 1)})
    assert OPERATION.explain(OPERATION.example())[0].backend.name == "numba_cpu"
