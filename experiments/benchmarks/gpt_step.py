"""One training step of a language model, the same for every network."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from experiments.benchmarks.step import Trained, TrainingStep
from snn_delays.models import SpikeGPT
from snn_delays.models.spikegpt import delay_shifts

LR_WEIGHT, LR_DELAY, BETAS, EPS, CLIP = 6e-4, 0.1, (0.9, 0.99), 4e-9, 1.0


def of_spikegpt(network: SpikeGPT) -> Trained:
    """Parameters of ours; its delays, where it has any, are brought back into their window."""
    shifts = list(delay_shifts(network).values())
    delays = tuple(shift.delay for shift in shifts if shift.delay is not None)
    apart = {id(delay) for delay in delays}
    weights = tuple(p for p in network.parameters() if id(p) not in apart)

    def clamp() -> None:
        for shift in shifts:
            shift.clamp_delays_()

    return Trained(lambda tokens: network(tokens)[0], weights, delays, (), clamp)


def of_plain(network: nn.Module) -> Trained:
    """Parameters of the straightforward SpikeGPT, in the order of ours."""
    return Trained(lambda tokens: network(tokens)[0], tuple(network.parameters()), (), (), lambda: None)


def of_softmax(network: nn.Module) -> Trained:
    """Parameters of the GPT without spikes."""
    return Trained(network, tuple(network.parameters()), (), (), lambda: None)


class LanguageStep(TrainingStep):
    """Forward, cross-entropy, backward, gradients clipped to 1, Adam, delays clamped; gradients let go at the end."""

    def __init__(self, network: Trained, x: Tensor, target: Tensor) -> None:
        self.network, self.x, self.target = network, x, target
        on_gpu = x.is_cuda
        delays = [{"params": network.delays}]  # a group, which may be empty
        self.optimisers = (
            torch.optim.Adam(network.weights, lr=LR_WEIGHT, betas=BETAS, eps=EPS, capturable=on_gpu),
            torch.optim.Adam(delays, lr=LR_DELAY, capturable=on_gpu),
        )

    def __call__(self) -> None:
        """One step."""
        next_token_loss(self.network.forward(self.x), self.target).backward()
        nn.utils.clip_grad_norm_(self.network.weights, CLIP)
        for optimiser in self.optimisers:
            optimiser.step()
        self.network.clamp()
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)


def next_token_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Mean cross-entropy of all tokens; ``[..., token]`` and ``[...]``."""
    return F.cross_entropy(logits.flatten(0, -2), target.flatten())
