"""That all sides of a network's case compute the same, seen on small batches without dropout.

In float64, where no rounding can move a spike, ours and every peer must agree in readout, loss, gradients and the
parameters after a step of the optimisers. In float32, which is timed, a spike now and then falls on the other side of
its threshold, so that only most of the readout is the same.
"""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.sides import assert_active, assert_close
from experiments.benchmarks.sizes import Sizes
from experiments.benchmarks.step import Trained, TrainingStep, of_ours, of_peer, published_loss
from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.models import DelayClassifier
from snn_delays.nn import LIF, DelayedLinear, SpikingModule
from snn_delays.ops.backends import use_backend

if TYPE_CHECKING:
    from experiments.benchmarks.network_cases import Setting

EXACT, ROUNDED, ALIKE = 1e-5, 0.05, 0.95
MORE_STEPS = 50  # steps beyond the window that the checks run for


def check_steps(setting: "Setting", paddings: tuple[int, ...], device: torch.device) -> None:
    """A whole step of narrow networks in float64, ours and each peer's: loss, gradients, parameters after it."""
    sizes = setting.sizes
    steps = min(setting.steps, setting.window + MORE_STEPS)
    x = setting.signal(sizes.check_batch, device, steps).double()
    target = torch.arange(sizes.check_batch, device=device)
    _check_rounded_gradients(setting, x, target)
    for right in paddings:
        ours = setting.narrow().double().to(device)
        peer = setting.peer(ours, right)
        name = f"dcls + spikingjelly, {right} steps of padding"
        with _padded(ours, right):
            _assert_fires(ours, x)
            mine, theirs = of_ours(ours), of_peer(peer)
            losses = [_backward(one, x, target) for one in (mine, theirs)]
            assert abs(losses[0] - losses[1]) <= EXACT * losses[0], f"{name}: losses {losses}"
            _compare(mine, theirs, setting.window, name, gradients=True)
            for one in (mine, theirs):
                step = TrainingStep(one, x, target)
                for optimiser in step.optimisers:
                    optimiser.zero_grad()
                step()
        _compare(mine, theirs, setting.window, f"{name}, after the step", gradients=False)


def check_timed(setting: "Setting", ours: DelayClassifier, x: Tensor) -> None:
    """The network at its full size in float32, as it is timed, against the reference in float64."""
    few = x[: setting.window + MORE_STEPS, : setting.sizes.check_batch]
    exact = copy.deepcopy(ours).double()
    with torch.no_grad():
        _assert_fires(exact, few.double())
        with use_backend("reference"):
            want = exact(few.double())[0]
        _mostly_equal(ours(few)[0], want, "snn_delays in float32")


def _check_rounded_gradients(setting: "Setting", x: Tensor, target: Tensor) -> None:
    """Gradients of ours in float32 point where those of the reference in float64 do."""
    exact = setting.narrow().double().to(x.device)
    rounded = copy.deepcopy(exact).float()
    with use_backend("reference"):
        _backward(of_ours(exact), x, target)
    _backward(of_ours(rounded), x.float(), target)
    for (name, want), got in zip(exact.named_parameters(), rounded.parameters()):
        cosine = float(F.cosine_similarity(_gradient(got).double().flatten(), _gradient(want).flatten(), 0))
        assert cosine >= ALIKE, (
            f"snn_delays in float32: the gradient of {name} has a cosine of {cosine:.3f} to float64's"
        )


@torch.no_grad()
def check_inference(ours: DiscreteNetwork, peers: Mapping[int, nn.Module], x: Tensor, sizes: Sizes) -> None:
    """Readouts of the discrete network and of the published evaluation: float64 exactly, float32 as it is timed."""
    few = x[:, : sizes.check_batch]
    exact = copy.deepcopy(ours).double()
    for right, peer in peers.items():
        name = f"dcls + spikingjelly, {right} steps of padding"
        with _padded(exact, right), use_backend("reference"):
            want = exact(few.double())[0]
        assert_close(copy.deepcopy(peer).double()(few.double()), want, EXACT, f"{name}, readout")
        _mostly_equal(peer(few), want, f"{name} in float32")
    _assert_fires(exact, few.double())
    with use_backend("reference"):
        want = exact(few.double())[0]
    _mostly_equal(ours(few)[0], want, "snn_delays in float32")


@contextmanager
def _padded(network: SpikingModule, right: int) -> Iterator[None]:
    """Our network with silence after the input of every synapse, as the published code has it."""

    def extend(_: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return (F.pad(given[0], (0, 0, 0, 0, 0, right)), *given[1:])

    hooks = [m.register_forward_pre_hook(extend) for m in network.modules() if isinstance(m, DelayedLinear) and right]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@torch.no_grad()
def _assert_fires(network: SpikingModule, x: Tensor) -> None:
    """Every LIF layer fires as neurons do. On a copy: layers that are watched run one by one, others may be fused."""
    watched, fired = copy.deepcopy(network), []
    for module in watched.modules():
        if isinstance(module, LIF):
            module.register_forward_hook(lambda _, __, result: fired.append(result[0]))
    with use_backend("reference"):
        watched(x)
    assert fired, "there are no neurons"
    for i, produced in enumerate(fired, 1):
        assert_active(produced, f"layer {i}")


def _backward(network: Trained, x: Tensor, target: Tensor) -> float:
    loss = published_loss(network.forward(x), target)
    loss.backward()
    return float(loss.detach())


def _compare(ours: Trained, peer: Trained, window: int, name: str, gradients: bool) -> None:
    """All parameters, or their gradients; a peer's position is ``K - 1 - K // 2 - delay``."""
    of: Callable[[Tensor], Tensor] = _gradient if gradients else torch.Tensor.detach
    for i, (mine, theirs) in enumerate(zip(ours.weights, peer.weights), 1):
        assert_close(of(theirs), of(mine), EXACT, f"{name}, weight {i}")
    for i, (mine, theirs) in enumerate(zip(ours.delays, peer.delays), 1):
        as_ours = -of(theirs) if gradients else window - 1 - window // 2 - of(theirs)
        if not gradients and window % 2 == 0:  # its clamp allows K // 2 either way, with an even K a step too many
            as_ours = as_ours.clamp(min=0)
        assert_close(as_ours.reshape(mine.shape), of(mine), EXACT, f"{name}, delay {i}")
    for i, (mine, theirs) in enumerate(zip(ours.others, peer.others), 1):
        assert_close(of(theirs), of(mine), EXACT, f"{name}, norm {i}")


def _gradient(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def _mostly_equal(got: Tensor, want: Tensor, name: str) -> None:
    error = float((got.double() - want).norm() / want.norm())
    assert error <= ROUNDED, f"{name}: the readout differs by {error:.1%} from float64, {ROUNDED:.0%} is allowed"
