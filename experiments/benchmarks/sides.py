"""What the sides of all cases are made with: their input, their work, the comparison, the packages they need."""

import importlib
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

RATE = 0.05
# A peer's module that is used here, and how to install it; two require torchvision, which nothing here needs.
PEERS = {
    "dcls": ("DCLS.construct.modules", "pip install dcls==0.1.1"),
    "spikingjelly": (
        "spikingjelly.activation_based.neuron",
        "pip install loguru && pip install --no-deps spikingjelly",
    ),
    "snntorch": ("snntorch", "pip install snntorch==1.0.0"),
    "tonic": ("tonic", "pip install 'snn-delays[tonic]'"),
    "norse": ("norse.torch.module.lif_box", "pip install --no-deps norse==1.1.0"),
}


def missing(*peers: str) -> str | None:
    """Line that names the first of these peers that cannot be imported, and how to get it; None if all can."""
    for peer in peers:
        module, command = PEERS[peer]
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            return f"left out: {peer}, since {error.name} is not installed ({command})"
        except Exception as error:  # a peer may fail in any way while it is imported; the others go on
            return f"left out: {peer}, which is installed but fails on import: {error}".splitlines()[0]
    return None


def spikes(steps: int, batch: int, neurons: int, device: torch.device) -> Tensor:
    """Input spikes at a rate of 5 %, the same in every run."""
    return (torch.rand(steps, batch, neurons, generator=torch.Generator().manual_seed(0)) < RATE).float().to(device)


def forward_backward(run: Callable[[], Tensor], *leaves: Tensor) -> Callable[[], None]:
    """Work of a forward and a backward pass; the gradients are let go at the end, so every round makes them anew."""
    cotangent: list[Tensor] = []  # drawn in the first round, which warms up; in the layout of the side's own output

    def work() -> None:
        y = run()
        if not cotangent:
            cotangent.append(torch.randn_like(y))
        y.backward(cotangent[0])
        for leaf in leaves:
            leaf.grad = None

    return work


def assert_active(produced: Tensor, what: str) -> None:
    """Neurons that never fire, or always do, would agree with anything."""
    rate = float(produced.detach().double().mean())
    assert 0.02 < rate < 0.6, f"{what}: a firing rate of {rate:.1%} compares nothing"


def assert_close(got: Tensor, want: Tensor, tolerance: float, what: str) -> None:
    """Largest difference at most ``tolerance`` of the largest value expected; AssertionError otherwise."""
    assert got.shape == want.shape, f"{what}: shape {tuple(got.shape)}, expected {tuple(want.shape)}"
    scale = float(want.detach().abs().max())
    assert scale > 0, f"{what}: nothing but zeros to compare with"
    error = float((got.detach().double() - want.detach().double()).abs().max()) / scale
    assert error <= tolerance, f"{what}: differs by {error:.1e} of the largest value, {tolerance:.0e} is allowed"


def gradients(y: Tensor, leaves: Sequence[Tensor]) -> list[Tensor]:
    """Gradients of ``y`` against a fixed random cotangent."""
    generator = torch.Generator().manual_seed(1)
    cotangent = torch.randn(y.shape, generator=generator, dtype=torch.float64).to(y)
    return list(torch.autograd.grad(y, list(leaves), cotangent))
