"""Under ``torch.inference_mode`` every backend gives what it gives elsewhere, and leaves no state that hurts."""

import pytest
import torch

from snn_delays.ops import delayed_linear, leaky_integrator, lif, workspace
from snn_delays.ops.delay import OPERATION as DELAY
from snn_delays.ops.leaky_integrator import OPERATION as INTEGRATOR
from snn_delays.ops.lif import OPERATION as LIF
from tests.support.contracts import fast_backends


def delay(backend: str, sigma: float, taps: str = "gaussian"):
    draw = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 6, 1, generator=draw)
    at = (torch.rand(6, 6, 1, generator=draw) * 40).requires_grad_()
    x = (torch.rand(50, 3, 6, generator=draw) < 0.3).float()
    options = {"sigma": torch.tensor(sigma), "max_delay_steps": 40, "taps": taps, "backend": backend}
    return lambda: delayed_linear(x, weight, at, **options)


def neurons(operation, backend: str):
    return lambda: operation(torch.ones(9, 2, 3), decay=0.9, backend=backend)


CALLS = {
    f"delay {name} {sigma}": delay(name, sigma)
    for name in ["reference", *fast_backends(DELAY)] for sigma in (0.5, 3.0, 20.0)
}  # fmt: skip
CALLS |= {f"lif {name}": neurons(lif, name) for name in ["reference", *fast_backends(LIF)]}
CALLS |= {f"integrator {name}": neurons(leaky_integrator, name) for name in ["reference", *fast_backends(INTEGRATOR)]}


@pytest.mark.usefixtures("all_threads")
@pytest.mark.parametrize("name", CALLS)
def test_inference_then_training(name: str) -> None:
    workspace.release()  # scratch memory is then made in inference mode
    with torch.inference_mode():
        inside = [y.clone() for y in CALLS[name]()]
    with torch.no_grad():
        outside = CALLS[name]()
    for a, b in zip(inside, outside, strict=True):
        assert torch.equal(a, b)
    y, _ = CALLS[name]()
    if y.requires_grad:
        y.sum().backward()
