"""Tensors changed in place between forward and backward pass: the gradients are as before, or autograd says no."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from snn_delays.ops import (
    delayed_conv2d,
    delayed_linear,
    depthwise,
    leaky_integrator,
    lif,
    norm_lif,
    recurrent_lif,
    wkv,
)
from snn_delays.ops.backends import use_backend
from snn_delays.ops.matmul import linear
from snn_delays.ops.squared_relu import squared_relu

STEPS, BATCH, WIDTH = 20, 3, 8


def draw(*shape: int, low: float = 0.1, high: float = 1.5) -> Tensor:
    return torch.empty(shape, dtype=torch.float64).uniform_(low, high).requires_grad_()


def numbers() -> dict[str, Tensor]:
    torch.manual_seed(0)
    return {
        "x": draw(STEPS, BATCH, WIDTH), "other": draw(STEPS, BATCH, WIDTH), "v0": draw(BATCH, WIDTH),
        "decay": draw(WIDTH, low=0.3, high=0.9), "one": draw(WIDTH), "weight": draw(4, WIDTH, 1, low=-1),
        "delay": draw(4, WIDTH, 1, high=5), "maps": draw(STEPS, BATCH, 2, 5, 4), "filters": draw(3, 2, 2, 2, low=-1),
        "places": draw(3, 2, 2, 2, high=5), "shared": draw(1, 2, 1, 1, high=5), "kernel": draw(4, 2, WIDTH),
        "matrix": draw(6, WIDTH), "square": draw(WIDTH, WIDTH, 1, low=-1),
        "span": draw(1, WIDTH, 1, low=1, high=5),
    }  # fmt: skip


SIGMA = torch.tensor(2.0, dtype=torch.float64)
DELAYS = {"sigma": SIGMA, "max_delay_steps": 6}
OPERATIONS: dict[str, tuple[Callable[..., tuple[Tensor, ...]], tuple[str, ...]]] = {
    "lif": (lambda n: lif(n["x"], n["v0"], decay=n["decay"], detach_reset=False), ("x", "v0", "decay")),
    "leaky_integrator": (lambda n: leaky_integrator(n["x"], n["v0"], decay=n["decay"]), ("x", "v0", "decay")),
    "norm_lif": (
        lambda n: norm_lif(n["x"], n["one"], n["decay"], n["v0"], eps=1e-5, decay=0.5)[:2],
        ("x", "one", "decay", "v0"),
    ),
    "delayed_linear": (
        lambda n: delayed_linear(n["x"], n["weight"], n["delay"], **DELAYS)[:1],
        ("x", "weight", "delay"),
    ),
    "delayed_conv2d": (
        lambda n: delayed_conv2d(n["maps"], n["filters"], n["places"], **DELAYS)[:1],
        ("maps", "filters", "places"),
    ),
    "separable": (
        lambda n: delayed_conv2d(n["maps"], n["filters"], n["shared"], **DELAYS)[:1],
        ("maps", "filters", "shared"),
    ),
    "depthwise": (lambda n: depthwise(n["x"], n["kernel"])[:1], ("x", "kernel")),
    "wkv": (lambda n: wkv(n["x"], n["other"], -n["decay"], n["one"])[:1], ("x", "other", "decay", "one")),
    "recurrent_lif": (
        lambda n: recurrent_lif(
            n["x"],
            n["square"],
            n["span"],
            SIGMA,
            None,
            n["v0"],
            min_delay_steps=1,
            max_delay_steps=6,
            taps="gaussian",
            decay=0.5,
        ),
        ("x", "square", "span", "v0"),
    ),
    "squared_relu": (lambda n: (squared_relu(n["x"]),), ("x",)),
    "linear": (lambda n: (linear(n["x"], n["matrix"]),), ("x", "matrix")),
}
RUNS = [
    *((name, None) for name in OPERATIONS),
    *(("delayed_linear", backend) for backend in ("spectral", "spectral_fft", "gather", "dense")),
    ("delayed_conv2d", "gather"), ("delayed_conv2d", "spectral"), ("depthwise", "conv"), ("wkv", "scan"),
]  # fmt: skip


def gradients(name: str, change: str | None) -> list[Tensor]:
    run, names = OPERATIONS[name]
    given = numbers()
    leaves = {key: given[key] for key in names}
    held = {key: value * 1 for key, value in leaves.items()}  # no leaves, so that they may be changed
    outputs = run({**given, **held})
    assert all(y.any() for y in outputs)
    if change == "output":
        with torch.no_grad():
            for y in outputs:
                y.mul_(0.25).add_(0.125)
    elif change is not None:
        with torch.no_grad():
            held[change].mul_(0.25).add_(0.125)
    torch.manual_seed(1)
    loss = sum((y * torch.randn_like(y).detach()).sum() for y in outputs)
    return list(torch.autograd.grad(loss, list(leaves.values())))


def complaint(name: str, change: str, want: list[Tensor]) -> str | None:
    """autograd's error, or None where it computed the gradients that are requested."""
    try:
        got = gradients(name, change)
    except RuntimeError as error:
        return str(error)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, msg=f"after a change of {change}")
    return None


@pytest.mark.parametrize(("name", "backend"), RUNS)
def test_gradients_are_those_of_what_was_computed_or_an_error(name: str, backend: str | None) -> None:
    operation = "delayed_conv2d" if name == "separable" else name
    with use_backend(**({operation: backend} if backend else {})):
        want = gradients(name, None)
        assert all(grad.any() for grad in want)
        for change in ("output", *OPERATIONS[name][1]):
            assert "inplace" in (complaint(name, change, want) or "inplace")
