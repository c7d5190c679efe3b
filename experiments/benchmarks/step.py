"""One training step as the published recipe makes it, the same for every network."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.peers import PublishedNetwork
from snn_delays.models import DelayClassifier
from snn_delays.nn import layers_with_delays

LR_WEIGHT, LR_DELAY, WEIGHT_DECAY = 1e-3, 0.1, 1e-5
WARM_UPS = 3  # rounds that CUDA graphs want before a capture


@dataclass(frozen=True)
class Trained:
    """What a step needs of a network: how it runs, what it learns, how its delays are brought back into the window."""

    forward: Callable[[Tensor], Tensor]
    weights: tuple[Tensor, ...]
    delays: tuple[Tensor, ...]
    others: tuple[Tensor, ...]
    clamp: Callable[[], None]


def of_ours(network: DelayClassifier) -> Trained:
    """Parameters of our network."""
    layers = list(layers_with_delays(network).values())
    weights, delays = tuple(x.weight for x in layers), tuple(x.delay for x in layers)

    def clamp() -> None:
        for layer in layers:
            layer.clamp_delays_()

    return Trained(lambda x: network(x)[0], weights, delays, _rest(network, *weights, *delays), clamp)


def of_peer(network: PublishedNetwork) -> Trained:
    """Parameters of the published network, in the order of ours."""
    layers: list[Any] = list(network.synapses)
    weights, delays = tuple(x.weight for x in layers), tuple(x.P for x in layers)

    def clamp() -> None:
        for layer in layers:
            layer.clamp_parameters()

    return Trained(network, weights, delays, _rest(network, *weights, *delays), clamp)


class TrainingStep:
    """Forward, published loss, backward, both Adam optimisers, delays clamped; gradients let go at the end."""

    def __init__(self, network: Trained, x: Tensor, target: Tensor) -> None:
        self.network, self.x, self.target = network, x, target
        on_gpu = network.weights[0].is_cuda
        self.optimisers = (
            torch.optim.Adam(
                [
                    {"params": network.weights, "weight_decay": WEIGHT_DECAY},
                    {"params": network.others, "weight_decay": 0.0},
                ],
                lr=LR_WEIGHT,
                capturable=on_gpu,
            ),
            torch.optim.Adam(network.delays, lr=LR_DELAY, capturable=on_gpu),
        )

    def __call__(self) -> None:
        """One step."""
        published_loss(self.network.forward(self.x), self.target).backward()
        for optimiser in self.optimisers:
            optimiser.step()
        self.network.clamp()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)

    def captured(self) -> Callable[[], None]:
        """The same step as a CUDA graph. Raises RuntimeError where something in it cannot be captured."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                self()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self()
        return graph.replay


def published_loss(v: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of the sums over time of softmaxes. Source: Hammouamri et al., ICLR 2024, and its code."""
    return F.cross_entropy(v.softmax(-1).sum(0), target)


def _rest(network: nn.Module, *known: Tensor) -> tuple[Tensor, ...]:
    apart: Sequence[int] = [id(tensor) for tensor in known]
    return tuple(p for p in network.parameters() if id(p) not in apart and p.requires_grad)
