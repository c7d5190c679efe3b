"""Half precision around the operations: membranes and taps stay in float32, with or without autocast."""

import contextlib
from contextlib import AbstractContextManager

import pytest
import torch

from snn_delays.ops import delayed_linear, leaky_integrator, lif
from snn_delays.ops.norm_lif import norm_lif

HALVES = [torch.bfloat16, torch.float16]


def autocast(on: bool) -> AbstractContextManager:
    return torch.autocast("cpu", torch.bfloat16) if on else contextlib.nullcontext()


@pytest.fixture
def current() -> torch.Tensor:
    # On the grid of bfloat16 with a decay on it too: float32 adds these up exactly, bfloat16 cannot.
    return (torch.randint(-40, 90, (60, 3, 50)) / 128).to(torch.float32)


@pytest.mark.parametrize("under_autocast", [False, True])
@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("backend", [None, "reference"])
@pytest.mark.parametrize("reset", ["hard", "soft"])
def test_lif_keeps_its_membrane_in_float32(
    half: torch.dtype, under_autocast: bool, backend: str | None, reset: str, current: torch.Tensor
) -> None:
    decay, v0 = torch.full((50,), 0.984375), torch.rand(3, 50)
    options = {"decay": decay, "threshold": 0.9, "reset": reset, "decay_input": False, "backend": backend}
    want, want_v = lif(current, v0, **options)
    assert 0.02 < want.mean() < 0.6
    with autocast(under_autocast):
        spikes, v = lif(current.to(half), v0, **options)
    assert spikes.dtype == half
    assert v.dtype == torch.float32
    assert torch.equal(spikes.float(), want)
    assert torch.equal(v, want_v)


def test_canary_a_membrane_in_bfloat16_fires_elsewhere(current: torch.Tensor) -> None:
    from snn_delays.ops import ATan
    from snn_delays.ops.lif.function import LIFOptions
    from snn_delays.ops.lif.reference import run

    options = LIFOptions(0.0, False, True, False, False, ATan())._asdict()
    numbers = torch.zeros(3, 50), torch.tensor(0.984375), torch.tensor(0.9)
    want, _ = run(current, *numbers, **options)
    half, _ = run(current.bfloat16(), *(number.bfloat16() for number in numbers), **options)
    assert (half.float() != want).float().mean() > 0.01


@pytest.mark.parametrize("half", HALVES, ids=str)
def test_lif_gradients_come_back_in_the_dtype_of_each_tensor(half: torch.dtype, current: torch.Tensor) -> None:
    grads = {}
    for dtype in (torch.float32, half):
        x = current.clone().to(dtype).requires_grad_()
        decay, v0 = torch.full((50,), 0.75, requires_grad=True), torch.zeros(3, 50, requires_grad=True)
        spikes, v = lif(x, v0, decay=decay, threshold=0.9)
        grads[dtype] = torch.autograd.grad((spikes.float() * current).sum() + v.sum(), (x, decay, v0))
    assert [grad.dtype for grad in grads[half]] == [half, torch.float32, torch.float32]
    for got, want in zip(grads[half], grads[torch.float32]):
        torch.testing.assert_close(got.float(), want, rtol=1e-2, atol=1e-2 * float(want.abs().max()))


@pytest.mark.parametrize("under_autocast", [False, True])
@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("decay_input", [False, True])
def test_the_integrator_integrates_and_answers_in_float32(
    half: torch.dtype, under_autocast: bool, decay_input: bool, current: torch.Tensor
) -> None:
    decay = torch.full((50,), 0.984375)
    want, want_v = leaky_integrator(current, decay=decay, decay_input=decay_input)
    with autocast(under_autocast):
        trace, v = leaky_integrator(current.to(half), decay=decay, decay_input=decay_input)
        again, _ = leaky_integrator(current.to(half), v.to(half), decay=decay, decay_input=decay_input)
    assert trace.dtype == v.dtype == again.dtype == torch.float32
    assert torch.equal(trace, want)
    assert torch.equal(v, want_v)


@pytest.mark.parametrize("backend", ["dense", "reference", None])
@pytest.mark.parametrize("half_input", [False, True])
def test_taps_are_built_in_float32_under_autocast(backend: str | None, half_input: bool) -> None:
    # Delays of hundreds of steps, between which bfloat16 knows only even ones.
    longest = 300
    x = (torch.rand(320, 2, 3) < 0.2).float()
    delay = torch.tensor([257.0, 259.0, 263.0, 211.0, 297.0, 299.0]).view(2, 3, 1)
    tensors = torch.full((2, 3, 1), 0.5), delay, torch.tensor(0.25)
    want, _ = delayed_linear(x, *tensors, max_delay_steps=longest, backend="reference")
    with torch.autocast("cpu", torch.bfloat16):
        given = x.bfloat16() if half_input else x
        y, history = delayed_linear(given, *tensors, max_delay_steps=longest, backend=backend)
    assert history.dtype == given.dtype
    torch.testing.assert_close(y.float(), want, rtol=2e-2, atol=5e-3)


@pytest.mark.parametrize("half", HALVES, ids=str)
@pytest.mark.parametrize("backend", [None, "reference"])
def test_norm_and_neurons_together_keep_theirs_too(
    half: torch.dtype, backend: str | None, current: torch.Tensor
) -> None:
    scale = {"gamma": torch.ones(50), "beta": torch.rand(50), "eps": 1e-5, "decay": 0.9, "backend": backend}
    want = norm_lif(current, **scale)
    assert 0.02 < want[0].mean() < 0.6
    found = norm_lif(current.to(half), **scale, mask=torch.ones(3, 50, dtype=half))
    assert found[0].dtype == half
    assert all(torch.equal(a.float(), b) for a, b in zip(found, want, strict=True))
