"""How two implementations of an operation are compared: outputs, final state, and every gradient."""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

FLOAT32_MARGIN = 1e-5
RELATIVE = {torch.float64: 1e-11, torch.float32: 2e-4}
NO_NUMBERS = ("nan", "inf", "-inf")

Implementation = Callable[..., tuple[Tensor, Tensor]]
Inputs = dict[str, Tensor | None]


def strided_copy(value: Tensor) -> Tensor:
    """The same numbers, not contiguous in memory."""
    if value.ndim == 0:
        return value
    if value.ndim == 1:
        return value.repeat_interleave(2)[::2]
    return value.transpose(0, -1).contiguous().transpose(0, -1)


def evaluate(run: Implementation, inputs: Inputs, options: dict[str, Any], learns: tuple[str, ...], strided: bool):
    """Run on copies of the inputs; returns the outputs and the tensors to differentiate by."""
    given: Inputs = {}
    for name, value in inputs.items():
        given[name] = None if value is None else value.clone().requires_grad_(name in learns)
        if strided and value is not None:
            given[name] = strided_copy(given[name])
    before = {name: None if value is None else value.detach().clone() for name, value in given.items()}
    outputs = run(**given, **options)
    for name, value in given.items():
        assert value is None or equal(value.detach(), before[name]).all(), f"{name} was written in place"
    return outputs, {name: given[name] for name in learns if given[name] is not None}


def gradients(outputs, cotangents, leaves: dict[str, Tensor], strided: bool) -> dict[str, Tensor]:
    chosen = [(y, g) for y, g in zip(outputs, cotangents) if g is not None and y.requires_grad]
    if not chosen or not leaves:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    ys, gs = zip(*chosen)
    grads = torch.autograd.grad(
        ys, list(leaves.values()), [strided_copy(g) if strided else g for g in gs], allow_unused=True
    )
    return {name: torch.zeros_like(leaf) if grad is None else grad for (name, leaf), grad in zip(leaves.items(), grads)}


def equal(a: Tensor, b: Tensor) -> Tensor:
    return (a == b) | (a.isnan() & b.isnan())


def spoil(tensor: Tensor, value: str, *place: int) -> None:
    if value:
        tensor[place] = float(value)


def assert_same(got: Tensor, want: Tensor, what: str) -> None:
    """Equal shape, dtype and, relative to the largest number, value. NaN and infinity are where the reference's are."""
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)}, the reference has {tuple(want.shape)}"
    assert got.dtype == want.dtype, f"{what}: {got.dtype}, the reference has {want.dtype}"
    got, want = got.detach(), want.detach()
    if not want.isfinite().all():
        wrong = int((~equal(got, want) & ~(got.isfinite() & want.isfinite())).sum())
        assert not wrong, f"{what}: {wrong} numbers differ in being NaN or infinite"
        got, want = (torch.where(want.isfinite(), one, 0) for one in (got, want))
    if want.numel():
        bound = RELATIVE[want.dtype] * max(1.0, float(want.abs().max()))
        worst = float((got - want).abs().max())
        assert worst <= bound, f"{what}: off by {worst:.3g}, {bound:.3g} is allowed"  # also fails on NaN


def compare(run, reference, inputs: Inputs, options, learns, uses, strided, seed, margins=None) -> None:
    (want_y, want_state), want_leaves = evaluate(reference, inputs, options, learns, False)
    (got_y, got_state), got_leaves = evaluate(run, inputs, options, learns, strided)
    counted = torch.ones(1, *want_y.shape[1:], dtype=torch.bool)
    if margins is not None and got_y.shape == want_y.shape:
        differs = ~equal(got_y.detach(), want_y.detach())
        if want_y.dtype == torch.float64:
            assert not differs.any(), f"{int(differs.sum())} spikes differ from the reference"
        elif differs.any():
            first = differs & (differs.cumsum(0) == 1)
            worst = float(margins()[first].max())
            assert worst < FLOAT32_MARGIN, f"a spike differs where |h - threshold| = {worst:.3g}"
            counted = ~differs.any(0, keepdim=True)
            assert counted.float().mean() > 0.98, "too many neurons differ from the reference"
    assert_same(got_y.detach() * counted, want_y.detach() * counted, "output")
    same_lanes = counted[0] if want_state.shape == counted.shape[1:] else torch.ones_like(want_state, dtype=torch.bool)
    assert_same(got_state.detach() * same_lanes, want_state.detach() * same_lanes, "final state")
    generator = torch.Generator().manual_seed(seed + 1)
    draw = partial(torch.randn, generator=generator, dtype=want_y.dtype)
    cotangents = [
        draw(want_y.shape) * counted if "output" in uses else None,
        draw(want_state.shape) * same_lanes if "state" in uses else None,
    ]
    want = gradients((want_y, want_state), cotangents, want_leaves, False)
    got = gradients((got_y, got_state), cotangents, got_leaves, strided)
    for name in want:
        assert_same(got[name], want[name], f"gradient of {name}")
