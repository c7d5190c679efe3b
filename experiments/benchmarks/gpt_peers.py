"""SpikeGPT as one writes it at first: SpikingJelly's neurons, the WKV in a Python loop, the token shift by padding."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snn_delays.models import SpikeGPT
from snn_delays.models.spikegpt import SpikingBranch, SpikingBranchState
from snn_delays.nn.rwkv import SpikingTimeMix

NOTHING = -1e38  # exponent of an empty sum
Sums = tuple[Tensor, Tensor, Tensor]


class PlainState(NamedTuple):
    """What a branch keeps, each ``[batch, neuron]``: its last input, the sums of its WKV if any, its membranes."""

    last: Tensor
    sums: Sums | None
    v: Tensor


def spikegpt_lif() -> Any:
    """``LIFNode`` as in SpikeGPT: tau 2, input decay, hard reset that is not detached, ATan of 2, multi-step."""
    from spikingjelly.activation_based import neuron, surrogate

    return neuron.LIFNode(
        tau=2.0, decay_input=True, v_threshold=1.0, v_reset=0.0, surrogate_function=surrogate.ATan(2.0),
        detach_reset=False, step_mode="m",
    )  # fmt: skip


def token_shift(x: Tensor, last: Tensor | None) -> Tensor:
    """Every token's input a step later; zeros come first, or the last input of the chunk before."""
    if last is None:
        return F.pad(x, (0, 0, 0, 0, 1, -1))
    return torch.cat([last[None], x[:-1]])


def wkv_loop(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, sums: Sums | None) -> tuple[Tensor, Sums]:
    """WKV token by token, with the running maximum of the exponents."""
    zeros = torch.zeros_like(key[0])
    p, q, o = sums or (zeros, zeros, torch.full_like(zeros, NOTHING))
    produced = []
    for k, v in zip(key.unbind(0), value.unbind(0)):
        n = torch.maximum(o, bonus + k)
        a, b = torch.exp(o - n), torch.exp(bonus + k - n)
        produced.append((a * p + b * v) / (a * q + b))
        n = torch.maximum(log_decay + o, k)
        a, b = torch.exp(log_decay + o - n), torch.exp(k - n)
        p, q, o = a * p + b * v, a * q + b, n
    return torch.stack(produced), (p, q, o)


class PlainTimeMix(nn.Module):
    """Time mixing with the parameters of ours."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.time_decay, self.time_first = _parameter(ours.time_decay), _parameter(ours.time_first)
        self.mix = _parameter(ours.shift.mix)
        self.key, self.value = _linear(ours.key), _linear(ours.value)
        self.receptance, self.output = _linear(ours.receptance), _linear(ours.output)

    def forward(self, x: Tensor, before: Tensor, sums: Sums | None) -> tuple[Tensor, Sums]:
        """The mixed input and the sums."""
        xk, xv, xr = (x * mix + before * (1 - mix) for mix in self.mix)
        k, v, r = self.key(xk), self.value(xv), torch.sigmoid(self.receptance(xr))
        average, sums = wkv_loop(k, v, -torch.exp(self.time_decay), self.time_first, sums)
        return self.output(r * average), sums


class PlainChannelMix(nn.Module):
    """Channel mixing with the parameters of ours."""

    def __init__(self, ours: Any) -> None:
        super().__init__()
        self.mix = _parameter(ours.shift.mix)
        self.key, self.receptance, self.value = _linear(ours.key), _linear(ours.receptance), _linear(ours.value)

    def forward(self, x: Tensor, before: Tensor, sums: None) -> tuple[Tensor, None]:
        """The mixed input; there are no sums."""
        xk, xr = (x * mix + before * (1 - mix) for mix in self.mix)
        return torch.sigmoid(self.receptance(xr)) * self.value(torch.relu(self.key(xk)) ** 2), sums


class PlainBranch(nn.Module):
    """Layer norm, a mixing, and SpikingJelly's neurons, whose membranes are handed in and out."""

    def __init__(self, ours: SpikingBranch) -> None:
        super().__init__()
        self.norm = _norm(ours.norm)
        timed = isinstance(ours.mixing, SpikingTimeMix)
        self.mixing = PlainTimeMix(ours.mixing) if timed else PlainChannelMix(ours.mixing)
        self.neuron = spikegpt_lif()

    def forward(self, x: Tensor, state: PlainState | None) -> tuple[Tensor, PlainState]:
        """Spikes to add to the stream, and the state; the neurons are back at rest afterwards."""
        last, sums, v = state or (None, None, None)
        normed = self.norm(x)
        y, sums = self.mixing(normed, token_shift(normed, last), sums)
        if v is not None:
            self.neuron.v = v
        spikes = self.neuron(y)
        after = PlainState(normed[-1], sums, self.neuron.v)
        self.neuron.reset()
        return spikes, after


class PlainSpikeGPT(nn.Module):
    """The whole network with the parameters of ours, in the same order; ours has token shifts, and neurons after."""

    def __init__(self, ours: SpikeGPT) -> None:
        from spikingjelly.activation_based import surrogate

        super().__init__()
        self.embedding = _parameter(ours.embedding.weight)
        self.spike = surrogate.ATan(2.0)
        self.norm_in = _norm(ours.norm_in)
        self.branches = nn.ModuleList(PlainBranch(branch) for branch in ours.branches())
        self.norm_out, self.head = _norm(ours.norm_out), _linear(ours.head)

    def forward(self, tokens: Tensor, state: Sequence[PlainState] | None = None) -> tuple[Tensor, list[PlainState]]:
        """Logits ``[time, batch, token]`` for tokens ``[time, batch]``, and the state."""
        x, after = self.norm_in(self.spike(F.embedding(tokens, self.embedding))), []
        for i, branch in enumerate(self.branches):
            y, one = branch(x, None if state is None else state[i])
            x = x + y
            after.append(one)
        return self.head(self.norm_out(x)), after


def plain_state(ours: Sequence[SpikingBranchState]) -> list[PlainState]:
    """A state of ours as the straightforward network keeps it."""
    made = []
    for mixing, neuron, _ in ours:
        assert neuron is not None
        sums = getattr(mixing, "sums", None)
        made.append(PlainState(mixing.shift.history[-1], None if sums is None else tuple(sums), neuron.v))
    return made


def _parameter(ours: Tensor) -> nn.Parameter:
    return nn.Parameter(ours.detach().clone())


def _linear(ours: nn.Linear) -> nn.Linear:
    made = nn.Linear(ours.in_features, ours.out_features, bias=False).to(ours.weight)
    made.load_state_dict(ours.state_dict())
    return made


def _norm(ours: nn.LayerNorm) -> nn.LayerNorm:
    made = nn.LayerNorm(ours.normalized_shape, eps=ours.eps).to(ours.weight)
    made.load_state_dict(ours.state_dict())
    return made
