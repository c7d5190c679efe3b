"""SpikeGPT: a language model of RWKV blocks with spiking neurons, and a classifier of sentences on the same blocks."""

import copy
import math
from dataclasses import replace
from typing import Any, NamedTuple, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from snn_delays.arguments import choice, integer
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.moved import forward
from snn_delays.nn.delay_shift import DelayShift, NeuronDelays
from snn_delays.nn.delayed import DelayLineState
from snn_delays.nn.door import FLAT, TOKENS, admit, check_states, check_tensor, check_valid, parts_of
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.neuron import MembraneState
from snn_delays.nn.norm import probability
from snn_delays.nn.optimise import layers_with_delays
from snn_delays.nn.rwkv import (
    SPIKING,
    Linear,
    SpikingChannelMix,
    SpikingChannelMixState,
    SpikingEmbedding,
    SpikingTimeMix,
    SpikingTimeMixState,
    norm_for_neurons,
    shift_spec,
    spikegpt_neuron,
)
from snn_delays.nn.specs import Device, ShiftSpec
from snn_delays.ops.state import loadable

Network = TypeVar("Network", bound=nn.Module)
NEURON_DELAYS = ("none", "axonal", "dendritic")
INITS = ("published", "replicated", "torch")

# Zhu et al., TMLR 2024: that of enwik8 (on bytes here; the paper's vocabulary is the text's characters) and that of
# OpenWebText, on tokens of GPT-NeoX.
PUBLISHED: dict[str, dict[str, Any]] = {
    "zhu_2023_12x512": {"tokens": 256, "features": 512, "layers": 12, "dropout": 0.03},
    "zhu_2023_18x768": {"tokens": 50277, "features": 768, "layers": 18, "dropout": 0.03},
}


@loadable
class SpikingBranchState(NamedTuple):
    """A half of a block: its mixing, the membranes after it, and the delay line around them, where there are any."""

    mixing: SpikingTimeMixState | SpikingChannelMixState
    neuron: MembraneState | None
    delays: DelayLineState | None


State = tuple[SpikingBranchState, ...]


class SpikingBranch(SpikingModule):
    """Layer norm, a mixing, and, where neurons stand after it, the neurons with their delays.

    ``delays``: "axonal", on the neurons' spikes; "dendritic", on their input current; "none".
    """

    def __init__(
        self,
        features: int,
        mixing: SpikingTimeMix | SpikingChannelMix,
        spiking: str,
        delays: str,
        shift: ShiftSpec,
        factory: dict[str, Any],
    ) -> None:
        super().__init__()
        make = norm_for_neurons if spiking == "before" else nn.LayerNorm
        self.norm = make(features, **factory)
        self.mixing = mixing
        self.neuron = spikegpt_neuron() if spiking == "after" else None
        self.delays = NeuronDelays(features, shift, **factory) if delays != "none" else None
        self.axonal = delays == "axonal"

    def forward(self, x: Tensor, state: SpikingBranchState | None = None) -> tuple[Tensor, SpikingBranchState]:
        """What the branch adds to the residual stream, and its state."""
        x = admit(self, x, FLAT, self.norm.weight)
        if x.shape[2] != len(self.norm.weight):
            raise ShapeError(f"a branch of {len(self.norm.weight)} features got an input of shape {tuple(x.shape)}")
        mixing, neuron, line = parts_of(self, state, SpikingBranchState)
        y, mixing = self.mixing(self.norm(x), mixing)
        if self.delays is not None and not self.axonal:
            y, line = self.delays(y, line)
        if self.neuron is not None:
            y, neuron = self.neuron(y, neuron)
        if self.delays is not None and self.axonal:
            y, line = self.delays(y, line)
        return y, SpikingBranchState(mixing, neuron, line)


class SpikeGPT(SpikingModule):
    r"""A stack of blocks that adds to a stream ``x``; the token after each is predicted from it.

    .. math::
        x \leftarrow x + \text{LIF}(\text{TimeMix}(\text{LN}(x))), \quad
        x \leftarrow x + \text{LIF}(\text{ChannelMix}(\text{LN}(x))), \quad x \leftarrow \text{Dropout}(x)

    before them ``x = LN(spikes of the tokens)``, after them ``logits = W LN(x)``. The steps of the neurons are the
    tokens. Generation is the same code on chunks of one token; the state has constant size.

    Args:
        tokens: size ``V`` of the vocabulary.
        features: width ``C``.
        layers: blocks ``L``.
        spiking: where neurons stand: ``"after"`` each mixing, as published; ``"before"`` each of its matrices, which
            then multiply no real numbers; ``"none"``, the same network of real numbers, its embedding too.
        shift: the shift in front of the mixings: a :class:`snn_delays.nn.ShiftSpec`, or those of its fields that differ
            from the token shift, by name.
        neuron_delays: delays around the neurons after the mixings: ``"axonal"`` on their spikes, ``"dendritic"`` on
            their input.
        neuron_shift: of those delays, as ``shift``; what is left out is as in ``shift``, but that they are learned.
        dropout: of the stream, after each block.
        init: how matrices begin: ``"published"``, ``"replicated"`` or ``"torch"``, see
            :func:`initialise`.
        device, dtype: of the parameters.

    Parameters: ``L (13 C^2 + 11 C) + 4 C + 2 V C`` with the token shift; ``10 C`` more a block with neurons
    ``"before"`` the matrices, for two norms. Children: ``embedding``, ``norm_in``,
    ``blocks`` (each a time and a channel branch), ``norm_out``, ``head``.

    State: a tuple of a :class:`SpikingBranchState` for each branch. Shapes: int64 ``[time, batch]`` to logits
    ``[time, batch, tokens]``.

    Raises ConfigError for an argument that names nothing or cannot be.

    Source: Zhu et al., TMLR 2024 (arXiv 2302.13939). Two options of its code are left out, as every published
    configuration switches them off: the copying head ("head QK"), and channel mixing in the place of the first time
    mixing ("ffnPre").
    """

    def __init__(
        self,
        tokens: int,
        features: int,
        layers: int,
        *,
        spiking: str = "after",
        shift: ShiftSpec | dict[str, Any] | None = None,
        neuron_delays: str = "none",
        neuron_shift: ShiftSpec | dict[str, Any] | None = None,
        dropout: float = 0.0,
        init: str = "published",
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: Any = {"device": device, "dtype": dtype}
        seed = int(torch.randint(2**62, (), device="cpu"))
        tokens, features = integer("tokens", tokens, 1), integer("features", features, 1)
        layers = integer("layers", layers, 1)
        choice("spiking", spiking, SPIKING)
        choice("neuron_delays", neuron_delays, NEURON_DELAYS)
        if neuron_delays != "none" and spiking != "after":
            raise ConfigError(
                f"neuron_delays = {neuron_delays!r} act around neurons after a mixing, and spiking = {spiking!r} has "
                "none there; with spiking = 'before' the delays of the shift act on the neurons' input already"
            )
        self.spiking, self.dropout, self.init = spiking, probability(dropout), init
        shift = shift_spec("shift", shift)
        delays = shift_spec("neuron_shift", neuron_shift, replace(shift, kind="learned"))
        self.embedding = SpikingEmbedding(tokens, features, binary=spiking != "none", **factory)
        self.norm_in = nn.LayerNorm(features, **factory)
        self.blocks = nn.ModuleList()
        for layer in range(layers):
            block = nn.ModuleDict()
            for name, kind in (("time", SpikingTimeMix), ("channel", SpikingChannelMix)):
                mixing = kind(features, layer, layers, spiking=spiking, shift=shift, **factory)
                block[name] = SpikingBranch(features, mixing, spiking, neuron_delays, delays, factory)
            self.blocks.append(block)
        self.norm_out = nn.LayerNorm(features, **factory)
        self.head = Linear(features, tokens, **factory)
        weight = self.embedding.weight
        with torch.random.fork_rng(devices=[weight.device] if weight.is_cuda else ()):
            # From a draw of its own, so that networks of one seed begin with the same matrices, whatever their delays.
            torch.manual_seed(seed)
            initialise(self, init)

    @classmethod
    def published(cls, name: str, **changes: Any) -> "SpikeGPT":
        """A published network by name (see ``PUBLISHED``), with any argument changed."""
        if name not in PUBLISHED:
            raise ConfigError(f"no published network {name!r}; there are {', '.join(PUBLISHED)}")
        return cls(**{**PUBLISHED[name], **changes})

    def branches(self) -> list[SpikingBranch]:
        """The branches in the order they act: time and channel mixing of every block."""
        return [branch for block in self.blocks for branch in block.values()]  # type: ignore[operator]

    def stream(self, tokens: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """What the head reads, ``LN(x)`` after the last block, ``[time, batch, features]``; and the state."""
        branches = self.branches()
        if state is not None:
            check_states(self, state, len(branches), "branches")
        spikes, _ = self.embedding(tokens)
        x, after = self.norm_in(spikes), []
        for i, branch in enumerate(branches):
            y, branch_state = branch(x, None if state is None else state[i])
            x = x + y
            if i % 2:
                x = F.dropout(x, self.dropout, self.training)
            after.append(branch_state)
        return self.norm_out(x), tuple(after)

    def forward(self, x: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """Logits of the next token after each, and the state."""
        check_tensor(self, x, TOKENS)
        y, after = self.stream(x, state)
        return self.head(y), after


class SpikeGPTClassifier(SpikingModule):
    """Class of a text: the mean over its tokens of what :class:`SpikeGPT`'s head would read, and a linear layer.

    Args:
        classes: number of classes.
        tokens, features, layers, options: of :class:`SpikeGPT`; its own head is left out.

    Shapes: int64 ``[time, batch]`` with ``valid`` bool ``[time, batch]`` (which tokens are no padding; None: all) to
    scores ``[batch, classes]`` and the state. Padding after a text changes nothing, since every layer is causal and
    the mean leaves it out; the state has read it. Raises ShapeError for another ``valid``, and, on the CPU, for a text
    without tokens.

    Source: after Zhu et al., TMLR 2024, section 4.2, whose classification model was not published.
    """

    def __init__(self, classes: int, tokens: int, features: int, layers: int, **options: Any) -> None:
        super().__init__()
        if integer("classes", classes) < 2:
            raise ConfigError(f"there must be at least two classes, got {classes}")
        self.network = SpikeGPT(tokens, features, layers, **options)
        del self.network.head
        factory: Any = {name: options.get(name) for name in ("device", "dtype")}
        # It begins as PyTorch has it, whatever ``init`` says of the others.
        self.classes = nn.Linear(features, classes, **factory)

    def forward(self, x: Tensor, state: State | None = None, valid: Tensor | None = None) -> tuple[Tensor, State]:
        """Scores ``[batch, classes]`` and the state of the blocks."""
        check_tensor(self, x, TOKENS)
        check_valid(self, valid, x)
        if x.device.type == "cpu" and not (len(x) if valid is None else bool(valid.any(0).all())):
            raise ShapeError("a text has no tokens, so there is no mean over them; leave empty texts out")
        y, after = self.network.stream(x, state)
        if valid is None:
            return self.classes(y.mean(0)), after
        mask = valid.unsqueeze(-1).to(y.dtype)
        return self.classes((y * mask).sum(0) / mask.sum(0)), after


@torch.no_grad()
def initialise(network: SpikeGPT, init: str) -> None:
    """Draw embedding and matrices anew from torch's global generator; mixtures, decays and norms are left alone.

    ``init``:
        ``"published"``: the special one that SpikeGPT's code takes over from RWKV. Keys, receptances and outputs are
        zero, values orthogonal; the embedding is almost zero, so its spikes are quick to change; the head is orthogonal
        and halved. The training script published with the code does not switch it on.
        ``"replicated"``: normal with deviation 0.01, the embedding 0.001, as an independent replication has it.
        ``"torch"``: PyTorch's own, which is what that training script comes to: an embedding of unit deviation whose
        spikes hardly ever change.

    Raises ConfigError for another name.
    """
    choice("init", init, INITS)
    embedding, head = network.embedding.weight, network.head.weight
    if init == "published":
        nn.init.orthogonal_(embedding, gain=1e-4 * math.sqrt(max(embedding.shape)))
        nn.init.orthogonal_(head, gain=0.5 * math.sqrt(max(head.shape[0] / head.shape[1], 1)))
        for mixing in (branch.mixing for branch in network.branches()):
            if isinstance(mixing, SpikingTimeMix):
                orthogonal, gain, zero = mixing.value, 1.0, [mixing.key, mixing.receptance, mixing.output]
            else:
                orthogonal, gain, zero = mixing.key, 2.0, [mixing.receptance, mixing.value]
            nn.init.orthogonal_(orthogonal.weight, gain=gain)
            for matrix in zero:
                nn.init.zeros_(matrix.weight)
        return
    nn.init.normal_(embedding, std=1.0 if init == "torch" else 0.001)
    for module in network.modules():
        if isinstance(module, nn.Linear) and init == "torch":
            module.reset_parameters()
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)


def delay_shifts(network: nn.Module) -> dict[str, DelayShift]:
    """Every shift of a network that has delays, by its dotted name."""
    return layers_with_delays(network, DelayShift)


def with_integer_delays(network: Network) -> Network:
    """A copy for evaluation whose delays are integers: the form that is evaluated and generates text."""
    rounded = copy.deepcopy(network).eval().requires_grad_(False)
    for module in rounded.modules():
        if isinstance(module, DelayShift):
            module.freeze_()
    return rounded


__getattr__ = forward(__name__, {"with_whole_delays": "snn_delays.models.spikegpt:with_integer_delays"})
