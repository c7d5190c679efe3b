"""The case of the kinds of neurons: what each costs beside a LIF."""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from experiments.benchmarks.run import Case, Side
from experiments.benchmarks.sides import assert_active, assert_close, forward_backward, gradients
from experiments.benchmarks.sizes import Sizes
from snn_delays.nn import BRF, LIF, PLIF, CAdLIF, CSiLIF, CubaLIF, EFAdLIF, SEAdLIF, SiLIF
from snn_delays.ops.backends import use_backend
from snn_delays.ops.surrogate import ATan

DRIVE = {"SE-adLIF": 30.0, "EF-adLIF": 30.0, "cAdLIF": 5.0, "SiLIF": 5.0, "BRF": 100.0}  # with which they fire


def neuron_kinds(sizes: Sizes, device: torch.device) -> Case:
    """Forward and backward of every kind, all with one surrogate, the LIF first."""
    torch.manual_seed(0)
    n, atan = sizes.neurons, ATan(5.0)
    kinds: dict[str, Any] = {
        "LIF": LIF(2.0, surrogate=atan), "PLIF": PLIF(2.0, surrogate=atan),
        "PLIF, per neuron": PLIF(torch.full((n,), 2.0), learn_threshold=True, surrogate=atan),
        "CubaLIF": CubaLIF(2.0, 2.0, learn_tau=True, surrogate=atan), "SE-adLIF": SEAdLIF(n, surrogate=atan),
        "EF-adLIF": EFAdLIF(n, surrogate=atan), "cAdLIF": CAdLIF(n, surrogate=atan),
        "SiLIF": SiLIF(n, surrogate=atan), "C-SiLIF": CSiLIF(n, surrogate=atan), "BRF": BRF(n, surrogate=atan),
    }  # fmt: skip
    shape = (sizes.steps, sizes.lif_batch, n)
    drawn = torch.randn(shape, generator=torch.Generator().manual_seed(0)) * 1.2 + 0.4
    currents = {name: (drawn * DRIVE.get(name, 1.0)).to(device).requires_grad_() for name in kinds}

    def run(name: str, x: Tensor) -> Tensor:
        y: Tensor = kinds[name](x)[0]
        return y

    def side(name: str) -> Side:
        layer = kinds[name].to(device)
        leaves = (currents[name], *layer.parameters())
        learned = f"{sum(p.numel() for p in layer.parameters())} parameters learn"
        how = f"T={shape[0]}, B={shape[1]}, N={n}, float32, {layer.surrogate}; {learned}"
        return Side(f"snn_delays {name}", how, forward_backward(partial(run, name, currents[name]), *leaves))

    def check() -> None:
        for name in kinds:
            _check(name, kinds[name], currents[name].detach()[:, : sizes.check_batch])

    return Case("Kinds of neurons, forward + backward", tuple(map(side, kinds)), check)


def _check(name: str, layer: Any, current: Tensor) -> None:
    """Same spikes and gradients as the equations, step by step in torch; in float32 a membrane may round across."""
    x = current.clone().requires_grad_()
    with use_backend("reference"):
        want = layer(x)[0]
        grads = gradients(want, [x, *layer.parameters()])
    got = layer(x)[0]
    assert_active(want, name)
    differ = float((got != want).double().mean())
    assert differ <= 1e-4, f"{name}: {differ:.2%} of the spikes differ"
    if differ == 0:
        for g, h in zip(gradients(got, [x, *layer.parameters()]), grads):
            assert_close(g, h, 1e-3, f"{name}, gradient")
