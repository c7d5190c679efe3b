"""Small networks of SpikeGPT that spike, tokens to feed them, and what their neurons did."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from snn_delays.models import SpikeGPT, SpikeGPTClassifier
from snn_delays.nn import LIF, DelayShift, SpikingTimeMix

VOCABULARY, FEATURES, LAYERS, STEPS, BATCH = 11, 12, 2, 16, 3
DRIVE = 2.0  # standard deviation of what neurons receive, in thresholds

SHIFTS: dict[str, dict[str, Any]] = {
    "token": {"kind": "token", "max_delay_steps": 4, "sigma_steps": 0.6},  # the last two for neuron_delays alone
    "learned": {"kind": "learned", "max_delay_steps": 5, "points": 2, "sigma_steps": 0.6},
    "fixed": {"kind": "fixed", "max_delay_steps": 5, "points": 3},
    "dense": {"kind": "dense", "max_delay_steps": 3},
}
# Where neurons stand, kind of shift, delays around the neurons: every combination there is.
VARIANTS = [
    (spiking, kind, delays)
    for spiking, all_delays in (("after", ("none", "axonal", "dendritic")), ("before", ("none",)), ("none", ("none",)))
    for delays in all_delays
    for kind in SHIFTS
]
NAMES = ["-".join(variant) for variant in VARIANTS]


class Fired(NamedTuple):
    """What a population received, and its spikes; both ``[time, batch, neuron]``."""

    current: Tensor
    spikes: Tensor

    def margin(self) -> Tensor:
        """Distance of the membrane from the threshold before the reset, by its equation."""
        v, distances = torch.zeros_like(self.current[0], dtype=torch.float64), []
        for x, s in zip(self.current.double(), self.spikes.bool()):
            h = v + (x - v) / 2
            distances.append((h - 1).abs())
            v = torch.where(s, 0.0, h)
        return torch.stack(distances)


def text(steps: int = STEPS, batch: int = BATCH, seed: int = 0) -> Tensor:
    """Tokens ``[time, batch]``."""
    return torch.randint(0, VOCABULARY, (steps, batch), generator=torch.Generator().manual_seed(seed))


def lively(seed: int = 0, spiking: str = "after", kind: str = "token", delays: str = "none", **changes: Any) -> Any:
    """A network in float64 and evaluation mode with large random weights, whose populations all fire.

    Nothing in it is as it begins: norms, mixtures, decays, weights of delays are drawn as well. The matrix in front of
    a population is scaled until what it feeds deviates by DRIVE thresholds. ``classes`` makes it a classifier.
    """
    torch.manual_seed(seed)
    sizes = {"tokens": VOCABULARY, "features": FEATURES, "layers": LAYERS} | changes
    classes = sizes.pop("classes", None)
    options = {"spiking": spiking, "shift": SHIFTS[kind], "neuron_delays": delays, "init": "torch"} | sizes
    network = (SpikeGPT(**options) if classes is None else SpikeGPTClassifier(classes, **options)).double().eval()
    with torch.no_grad():
        for module in network.modules():
            _draw(module)
    gpt = network if classes is None else network.network
    probe = text(40, 4, seed + 1)
    for branch in gpt.branches() if spiking == "after" else ():  # elsewhere norms stand in front of the neurons
        with watched(network) as seen, torch.no_grad():
            network(probe)
            matrix = branch.mixing.output if isinstance(branch.mixing, SpikingTimeMix) else branch.mixing.value
            matrix.weight *= DRIVE / float(seen[branch.neuron][0][0].std())
    return network


def _draw(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        module.weight.normal_(std=2 / module.in_features**0.5)
    elif isinstance(module, nn.LayerNorm):
        module.weight.uniform_(1.4, 2.6)
        module.bias.uniform_(-0.3, 0.3)
    elif isinstance(module, SpikingTimeMix):
        module.time_decay += 0.3 * torch.randn_like(module.time_decay)
        module.time_first += torch.randn_like(module.time_first)
    elif isinstance(module, DelayShift):
        module.mix += 0.2 * torch.randn_like(module.mix)
        for weight in (module.weight, module.lags):
            if weight is not None:
                weight.normal_(std=0.4)


@contextmanager
def watched(network: nn.Module) -> Iterator[dict[LIF, list[tuple[Tensor, Tensor]]]]:
    """What each population received and fired, chunk by chunk, in the order they fire."""
    seen: dict[LIF, list[tuple[Tensor, Tensor]]] = {}

    def hook(module: LIF, args: tuple[Tensor, Any], output: tuple[Tensor, Any]) -> None:
        seen.setdefault(module, []).append((args[0].detach(), output[0].detach()))

    hooks = [module.register_forward_hook(hook) for module in network.modules() if isinstance(module, LIF)]
    yield seen
    for handle in hooks:
        handle.remove()


def populations(
    network: nn.Module, x: Tensor, ends: list[int] | None = None, **between: Any
) -> tuple[Tensor, list[Fired]]:
    """Output on a text, whole or in chunks, and what the populations did, in the order they fire."""
    with watched(network) as seen:
        y, _ = in_chunks(network, x, ends or [0, len(x)], **between)
    return y, [Fired(*(torch.cat(parts) for parts in zip(*chunks))) for chunks in seen.values()]


def assert_lively(network: nn.Module, x: Tensor) -> None:
    """Every population fires between 2 % and 60 % of the time; a silent network obeys every law."""
    gpt = network.network if isinstance(network, SpikeGPTClassifier) else network
    _, fired = populations(network, x)
    expected = {"after": 2, "before": 7, "none": 0}[gpt.spiking] * len(gpt.blocks)
    assert len(fired) == expected, "populations are missing"
    rates = [float(population.spikes.mean()) for population in fired]
    if gpt.embedding.binary:
        rates.append(float(gpt.embedding(x)[0].detach().mean()))
    assert all(0.02 < rate < 0.6 for rate in rates), [f"{rate:.3f}" for rate in rates]


@st.composite
def cuts(draw, steps: int = STEPS) -> list[int]:
    """Where a chunk ends: anywhere, chunks of no step among them."""
    return [0, *sorted(draw(st.lists(st.integers(0, steps), max_size=6))), steps]


def in_chunks(network: nn.Module, x: Tensor, ends: list[int], between: Any = lambda state: state) -> tuple[Tensor, Any]:
    """Output and state of a text run in chunks; ``between`` is what happens to the state on the way."""
    state, outputs = None, []
    with torch.no_grad():
        for a, b in pairwise(ends):
            y, state = network(x[a:b], state and between(state))
            outputs.append(y)
    return (torch.cat(outputs) if outputs[0].ndim == 3 else torch.stack(outputs)), state


def tensors_of(state: Any) -> list[Tensor]:
    """Every tensor of a state, whatever its nesting."""
    if state is None:
        return []
    return [state] if isinstance(state, Tensor) else [t for part in state for t in tensors_of(part)]


def numbers_in(state: Any) -> int:
    """How many numbers a state holds."""
    return sum(tensor.numel() for tensor in tensors_of(state))


def zeroed(state: Any, part: str) -> Any:
    """A state of which all parts of that name, at any depth, are back at rest."""
    if state is None or isinstance(state, Tensor):
        return state
    names = getattr(state, "_fields", range(len(state)))
    parts = [None if name == part else zeroed(value, part) for name, value in zip(names, state)]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)


def same(got: Tensor, want: Tensor, bound: float = 1e-10) -> None:
    """Close, measured by the largest of the expected values."""
    torch.testing.assert_close(got, want, rtol=0, atol=bound * float(want.abs().max()))
