"""What SpikeGPT is built of: an embedding, and time mixing and channel mixing of RWKV-4 with spiking neurons.

Neurons stand in one of three places. ``"after"`` (as published): after each half, so that the block adds spikes to the
residual stream, while every matrix multiplies real numbers. ``"before"``: in front of every matrix, which then only
adds weights of the inputs that spiked. ``"none"``: the network of real numbers.

A layer norm's output of unit deviation makes such neurons fire at 3 % of the steps, the products inside the mixings
hardly ever. With neurons in front of the matrices, norms therefore begin with a gain of two (10 to 17 %), and the
products have a norm of their own; without it, time mixing stays silent and learns nothing.
"""

import math
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from snn_delays.arguments import choice, integer
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn import door
from snn_delays.nn.delay_shift import DelayShift
from snn_delays.nn.delayed import DelayLineState
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.neuron import LIF, MembraneState
from snn_delays.nn.specs import Device, ShiftSpec, spec_from
from snn_delays.ops.matmul import linear
from snn_delays.ops.squared_relu import squared_relu
from snn_delays.ops.state import loadable
from snn_delays.ops.surrogate import ATan, Surrogate, checked_surrogate, spike
from snn_delays.ops.wkv import WKVState, wkv

SPIKING = ("after", "before", "none")
GAIN = 2.0  # of the norms in front of neurons


def spikegpt_neuron() -> LIF:
    """The neuron of SpikeGPT: time constant of two tokens, scaled input, hard reset that gradients pass through.

    Source: Zhu et al., TMLR 2024, and the code published with it (SpikingJelly's LIFNode and ATan with their defaults).
    """
    return LIF(2.0, decay_input=True, detach_reset=False, surrogate=ATan(2.0))


@loadable
class SpikingTimeMixState(NamedTuple):
    """Delay line of the shift, sums of the WKV, and the membranes in front of the four matrices, if there are any."""

    shift: DelayLineState
    sums: WKVState
    neurons: tuple[MembraneState | None, ...]


@loadable
class SpikingChannelMixState(NamedTuple):
    """Delay line of the shift, and the membranes in front of the three matrices, if there are any."""

    shift: DelayLineState
    neurons: tuple[MembraneState | None, ...]


def norm_for_neurons(features: int, **factory: Any) -> nn.LayerNorm:
    """Layer norm whose output makes the neurons after it fire from the first."""
    norm = nn.LayerNorm(features, **factory)
    nn.init.constant_(norm.weight, GAIN)
    return norm


def shift_spec(name: str, given: ShiftSpec | dict[str, Any] | None, base: ShiftSpec | None = None) -> ShiftSpec:
    """The shift that an argument asks for: a spec, or fields that differ from ``base``, the token shift by default.

    Raises ConfigError for a field that there is not, and as the spec does.
    """
    if isinstance(given, ShiftSpec):
        return given
    if not isinstance(given, dict | None):
        raise ConfigError(f"{name} takes a ShiftSpec or its fields by name, as in {{'kind': 'learned'}}; got {given!r}")
    try:
        return spec_from(ShiftSpec, base or ShiftSpec("token"), given or {})
    except TypeError as error:
        raise ConfigError(f"{name}: {error}") from None


class SpikingEmbedding(SpikingModule):
    r"""A pattern of spikes for every token, learned.

    .. math:: y_t[c] = \Theta(E[\text{token}_t, c])

    with a surrogate gradient in place of the step's; zero fires. ``binary=False`` returns the numbers themselves, the
    embedding of a network that does not spike.

    Args:
        tokens: size of the vocabulary.
        features: neurons.
        binary: fire or not, else real numbers.
        surrogate: derivative in place of the step's, ``ATan(2)`` by default.
        device, dtype: of the weight.

    Attributes: ``weight`` ``[tokens, features]``, standard normal.

    Shapes: int64 ``[time, batch]``, each in ``0..tokens - 1``, to ``[time, batch, features]``; no state.

    Raises ShapeError for an input that is not integers ``[time, batch]``, or a token outside the vocabulary (on the
    CPU; an accelerator is not stalled to look).

    Source: Zhu et al., TMLR 2024 (SpikeGPT), section 3.1, and the code published with it.
    """

    SHOWN = ("tokens", "features", "binary=", "surrogate=")

    def __init__(
        self,
        tokens: int,
        features: int,
        *,
        binary: bool = True,
        surrogate: Surrogate | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.tokens, self.features, self.binary = integer("tokens", tokens, 1), integer("features", features, 1), binary
        self.surrogate = checked_surrogate(surrogate, ATan(2.0))
        self.weight = nn.Parameter(torch.randn(self.tokens, self.features, device=device, dtype=dtype))

    def forward(self, x: Tensor, state: None = None) -> tuple[Tensor, None]:
        """Spikes; there is no state."""
        door.check_stateless(self, state)
        door.check_tensor(self, x, door.TOKENS)
        if x.dtype not in (torch.int64, torch.int32):
            raise ShapeError(
                f"tokens must be integers [time, batch], int64 or int32, got {x.dtype} of shape {tuple(x.shape)}"
            )
        door.check_device(self, x, self.weight)
        looked_at = x.device.type == "cpu" and x.numel() and not torch.compiler.is_compiling()
        if looked_at and not 0 <= int(x.min()) <= int(x.max()) < self.tokens:
            raise ShapeError(
                f"the tokens reach from {int(x.min())} to {int(x.max())}, the vocabulary has {self.tokens}: encode the "
                "text with the vocabulary the network was made for"
            )
        drawn = nn.functional.embedding(x, self.weight)
        return (spike(drawn, self.surrogate) if self.binary else drawn), None

    @torch.no_grad()
    def ones_rate(self) -> float:
        """Share of neurons that fire, over all tokens alike: at its extremes, tokens can no longer be told apart."""
        return float((self.weight >= 0).double().mean())


class Linear(nn.Linear):
    """``y = W x``: :class:`torch.nn.Linear` without bias, computed by :func:`snn_delays.ops.matmul.linear`.

    Parameters, their names and their initial values are those of the base class.

    Shapes: ``[..., in_features]`` to ``[..., out_features]``.
    """

    def __init__(
        self, in_features: int, out_features: int, *, device: Device = None, dtype: torch.dtype | None = None
    ) -> None:
        inputs, outputs = integer("in_features", in_features, 1), integer("out_features", out_features, 1)
        super().__init__(inputs, outputs, bias=False, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        """The product."""
        weight = self.weight
        x = door.admit(self, input, door.ROWS, weight)
        if x.shape[-1] != weight.shape[1]:
            raise ShapeError(f"a linear layer of {weight.shape[1]} features got an input of shape {tuple(x.shape)}")
        return linear(x, weight)


class _Mixing(SpikingModule):
    """Where ``spiking`` is "before": neurons in front of each matrix, and a norm in front of the last, of a product."""

    MATRICES: ClassVar[dict[str, tuple[int, int]]] = {}  # inputs and outputs, in multiples of the features
    key: Linear
    value: Linear
    receptance: Linear

    def __init__(
        self,
        features: int,
        layer: int = 0,
        layers: int = 1,
        *,
        spiking: str = "after",
        shift: ShiftSpec | dict[str, Any] | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        factory: Any = {"device": device, "dtype": dtype}
        features, layer = integer("features", features, 1), integer("layer", layer, 0)
        layers = integer("layers", layers, 1)
        if layer >= layers:
            raise ConfigError(f"layer must be one of 0..layers - 1, got layer {layer} of {layers}")
        inside = choice("spiking", spiking, SPIKING) == "before"
        *_, (product, (multiple, _)) = self.MATRICES.items()
        self.neurons = nn.ModuleDict({name: spikegpt_neuron() for name in self.MATRICES} if inside else {})
        self.norms = nn.ModuleDict({product: norm_for_neurons(multiple * features, **factory)} if inside else {})
        share = (torch.arange(features) / features) ** (1 - layer / layers)
        mix = self._mix(share, layer / (layers - 1) if layers > 1 else 0.0, factory)
        self.shift = DelayShift(mix, shift_spec("shift", shift), **factory)
        for name, (inputs, outputs) in self.MATRICES.items():
            self.add_module(name, Linear(inputs * features, outputs * features, **factory))

    def _mix(self, share: Tensor, depth: float, factory: Any) -> Tensor:
        """The mixtures of the shift at first, ``[mixes, features]``; makes the parameters of its own as well."""
        raise NotImplementedError

    def _product(
        self, name: str, x: Tensor, before: tuple[MembraneState | None, ...] | None, after: list[MembraneState | None]
    ) -> Tensor:
        """Output of the matrix of that name, for the spikes of the neurons in front of it where there are any."""
        if name not in self.neurons:
            after.append(None)
            return getattr(self, name)(x)
        if name in self.norms:
            x = self.norms[name](x)
        if before is not None and not (type(before) is tuple and len(before) == len(self.MATRICES)):
            raise ShapeError(
                f"{type(self).__name__}: its state has no membranes for {len(self.MATRICES)} matrices; pass what its "
                "earlier call returned, or None to begin at rest"
            )
        y, state = self.neurons[name](x, None if before is None else before[len(after)])
        after.append(state)
        return getattr(self, name)(y)


class SpikingTimeMix(_Mixing):
    r"""Time mixing: every channel looks back at a decaying average of its past.

    .. math::
        k, v, r = W_k x^k,\; W_v x^v,\; \sigma(W_r x^r) \qquad y = W_o\,(r \odot \text{WKV}(w, u, k, v))

    where :math:`x^k, x^v, x^r` are the shift's mixtures of the input and WKV is :func:`snn_delays.ops.wkv.wkv` with
    :math:`w = -e^{\text{time\_decay}}` and :math:`u = \text{time\_first}`.

    Args:
        features: channels ``C``.
        layer, layers: number of the block, from 0, and of how many; they set where decay and mixtures begin.
        spiking: ``"before"`` puts neurons in front of the four matrices; else none are inside.
        shift: a :class:`ShiftSpec` or its fields by name; the token shift alone by default.
        device, dtype: of the parameters.

    State: :class:`SpikingTimeMixState`. Shapes: ``[time, batch, features]`` to the same.

    Source: Peng et al., EMNLP Findings 2023 (RWKV-4); initial values as in SpikeGPT's code (Zhu et al., TMLR 2024).
    The ratio l / (L - 1), undefined for a single layer, is then taken as 0.
    """

    MATRICES: ClassVar = {"key": (1, 1), "value": (1, 1), "receptance": (1, 1), "output": (1, 1)}
    output: Linear

    def _mix(self, share: Tensor, depth: float, factory: Any) -> Tensor:
        features = len(share)
        channel = torch.arange(features) / max(features - 1, 1)
        self.time_decay = nn.Parameter((-5 + 8 * channel ** (0.7 + 1.3 * depth)).to(**factory))
        zigzag = 0.5 * ((torch.arange(features) + 1) % 3 - 1)
        self.time_first = nn.Parameter((math.log(0.3) + zigzag).to(**factory))
        return torch.stack([share, share + 0.3 * depth, share**0.5])

    def forward(self, x: Tensor, state: SpikingTimeMixState | None = None) -> tuple[Tensor, SpikingTimeMixState]:
        """The mixed input and the state."""
        x = door.admit(self, x, door.FLAT, self.time_decay)
        line, sums, membranes = door.parts_of(self, state, SpikingTimeMixState)
        if sums is not None:
            door.check_state(self, sums, WKVState)
            sums = WKVState(*(door.fitting(self, part, x, door.summed_in(x)) for part in sums))
        (xk, xv, xr), line = self.shift(x, line)
        after: list[MembraneState | None] = []
        k = self._product("key", xk, membranes, after)
        v = self._product("value", xv, membranes, after)
        r = torch.sigmoid(self._product("receptance", xr, membranes, after))
        average, sums = wkv(k, v, -torch.exp(self.time_decay), self.time_first, sums)
        y = self._product("output", r * average, membranes, after)
        return y, SpikingTimeMixState(line, sums, tuple(after))


class SpikingChannelMix(_Mixing):
    r"""Channel mixing: a gated layer of four times as many hidden channels.

    .. math:: y = \sigma(W_r x^r) \odot W_v\,\max(W_k x^k, 0)^2

    Args and state as :class:`SpikingTimeMix`, with the two mixtures :math:`x^k, x^r` and three matrices.

    Shapes: ``[time, batch, features]`` to the same.

    Source: Peng et al., EMNLP Findings 2023 (RWKV-4); Zhu et al., TMLR 2024 call it SRFFN.
    """

    MATRICES: ClassVar = {"key": (1, 4), "receptance": (1, 1), "value": (4, 1)}

    def _mix(self, share: Tensor, depth: float, factory: Any) -> Tensor:
        return torch.stack([share, share])

    def forward(self, x: Tensor, state: SpikingChannelMixState | None = None) -> tuple[Tensor, SpikingChannelMixState]:
        """The mixed input and the state."""
        x = door.admit(self, x, door.FLAT, self.shift.mix)
        line, membranes = door.parts_of(self, state, SpikingChannelMixState)
        (xk, xr), line = self.shift(x, line)
        after: list[MembraneState | None] = []
        k = squared_relu(self._product("key", xk, membranes, after))
        r = torch.sigmoid(self._product("receptance", xr, membranes, after))
        y = r * self._product("value", k, membranes, after)
        return y, SpikingChannelMixState(line, tuple(after))
