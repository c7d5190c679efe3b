"""The cases: LIF layer, delay layer, and a training step of the published SHD network."""

import importlib.util
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snn_delays.bench.run import Case, Side
from snn_delays.models import DelayClassifier
from snn_delays.nn import LIF, DelayedLinear
from snn_delays.ops.backends import use_backend

STEPS, BATCH, RATE = 100, 128, 0.05


def _has(*packages: str) -> bool:
    return all(importlib.util.find_spec(package) is not None for package in packages)


def _spikes(steps: int, batch: int, neurons: int) -> Tensor:
    return (torch.rand(steps, batch, neurons, generator=torch.Generator().manual_seed(0)) < RATE).float()


def _forward_backward(run: Callable[[], Tensor], *owners: nn.Module | Tensor) -> Callable[[], None]:
    def work() -> None:
        for owner in owners:
            for tensor in owner.parameters() if isinstance(owner, nn.Module) else (owner,):
                tensor.grad = None
        run().sum().backward()

    return work


def lif_layer() -> Case:
    """LIF, forward and backward."""
    current = torch.randn(STEPS, BATCH, 256, generator=torch.Generator().manual_seed(0)).requires_grad_()
    layer = LIF(2.0)

    def with_backend(name: str) -> Tensor:
        with use_backend(lif=name):
            return layer(current)[0]

    shape = f"T={STEPS}, B={BATCH}, N=256, float32, tau 2, hard detached reset, ATan(5)"
    runs: dict[str, Callable[[], Tensor]] = {
        f"snn_delays {name}": partial(with_backend, name) for name in ("numba_cpu", "reference")
    }
    if _has("spikingjelly"):
        from spikingjelly.activation_based import functional

        from snn_delays.bench.peers import spikingjelly_lif

        peer = spikingjelly_lif(2.0)

        def spikingjelly() -> Tensor:
            functional.reset_net(peer)
            return peer(current)

        runs["spikingjelly LIFNode"] = spikingjelly

    def check() -> None:
        with torch.no_grad():
            ours, *others = (run() for run in runs.values())
        assert 0.02 < float(ours.mean()) < 0.6, "the neurons under test do not spike as neurons do"
        for name, other in zip(list(runs)[1:], others):
            # Roundings of membranes on the threshold may differ in float32; a wrong equation differs in many.
            assert float((ours != other).float().mean()) < 1e-5, f"{name} gives other spikes"

    sides = tuple(Side(name, shape, _forward_backward(run, current)) for name, run in runs.items())
    return Case("LIF layer, forward + backward", sides, check)


def delay_layer(sigma_steps: float) -> Case:
    """A delayed linear layer of K = 25, forward and backward."""
    torch.manual_seed(0)
    layer = DelayedLinear(256, 256, max_delay_steps=24, sigma_steps=sigma_steps)
    x = _spikes(STEPS, BATCH, 256).requires_grad_()
    shape = f"T={STEPS}, B={BATCH}, 256 -> 256, K=25, float32, sigma {sigma_steps:g}, input at {RATE:.0%}"
    sides = [Side("snn_delays dense", shape, _forward_backward(lambda: layer(x)[0], layer, x))]
    peer = None
    if _has("DCLS"):
        from snn_delays.bench.peers import dcls_layer

        peer = dcls_layer(layer)
        work = _forward_backward(lambda: peer(F.pad(x.permute(1, 2, 0), (24, 0))), peer, x)
        sides.append(Side("dcls Dcls1d", f"{shape}, causal padding", work))
    plain = nn.Linear(256, 256, bias=False)
    sides.append(
        Side("torch Linear (floor)", f"T={STEPS}, B={BATCH}, no delays", _forward_backward(lambda: plain(x), plain, x))
    )

    def check() -> None:
        if peer is not None:
            with torch.no_grad():
                few = x[:, :8]
                expected = peer(F.pad(few.permute(1, 2, 0), (24, 0))).permute(2, 0, 1)
                torch.testing.assert_close(layer(few)[0], expected, rtol=1e-4, atol=1e-4)

    return Case(f"delay layer, sigma {sigma_steps:g}, forward + backward", tuple(sides), check)


def training_step() -> Case:
    """Forward and backward of the published SHD network, 2 x 256, without dropout."""
    torch.manual_seed(0)
    network = DelayClassifier.published("hammouamri_2024_shd_2x256", dropout=0.0, sigma_steps=12.27)
    x = _spikes(STEPS, BATCH, 140)
    shape = f"140-256-256-20, K=25, T={STEPS}, B={BATCH}, float32, sigma 12.27"
    sides = [Side("snn_delays", shape, _forward_backward(lambda: network(x)[0], network))]
    peer = None
    if _has("DCLS", "spikingjelly"):
        from snn_delays.bench.peers import PublishedNetwork

        peer = PublishedNetwork(network, 1.005)
        sides.append(Side("dcls + spikingjelly", f"{shape}, causal padding", _forward_backward(lambda: peer(x), peer)))

    def check() -> None:
        if peer is not None:
            from snn_delays.bench.peers import PublishedNetwork

            ours = DelayClassifier.published("hammouamri_2024_shd_2x256", dropout=0.0, sigma_steps=12.27).double()
            small = _spikes(40, 8, 140).double()
            with torch.no_grad():
                torch.testing.assert_close(ours(small)[0], PublishedNetwork(ours, 1.005)(small))

    return Case("training step of the published SHD network", tuple(sides), check)


CASES: tuple[Callable[[], Case], ...] = (
    lif_layer,
    lambda: delay_layer(12.0),
    lambda: delay_layer(0.5),
    training_step,
)
