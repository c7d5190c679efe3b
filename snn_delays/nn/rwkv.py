"""The two halves of a block of SpikeGPT: time mixing and channel mixing of RWKV-4, with spiking neurons.

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

from snn_delays.arguments import integer
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.nn.delay_shift import DelayShift
from snn_delays.nn.delayed import DelayLineState
from snn_delays.nn.door import FLAT, admit, check_state, fitting, parts_of, summed_in
from snn_delays.nn.linear import Linear
from snn_delays.nn.module import SpikingModule
from snn_delays.nn.neuron import LIF, MembraneState
from snn_delays.nn.specs import Device, ShiftSpec, spec_from
from snn_delays.ops.squared_relu import squared_relu
from snn_delays.ops.state import loadable
from snn_delays.ops.surrogate import ATan
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


class _Mixing(SpikingModule):
    """Where ``spiking`` is "before": neurons in front of each matrix, and a norm in front of those of a product."""

    MATRICES: ClassVar[tuple[str, ...]] = ()

    def __init__(self, spiking: str, product: str, width: int, layer: int, layers: int, factory: Any) -> None:
        super().__init__()
        layer, layers = integer("layer", layer, 0), integer("layers", layers, 1)
        if layer >= layers:
            raise ConfigError(f"layer must be one of 0..layers - 1, got layer {layer} of {layers}")
        if spiking not in SPIKING:
            raise ConfigError(f"spiking must be one of {', '.join(SPIKING)}; got {spiking!r}")
        inside = spiking == "before"
        self.neurons = nn.ModuleDict({name: spikegpt_neuron() for name in self.MATRICES} if inside else {})
        self.norms = nn.ModuleDict({product: norm_for_neurons(width, **factory)} if inside else {})

    def _fire(
        self, name: str, x: Tensor, before: tuple[MembraneState | None, ...] | None, after: list[MembraneState | None]
    ) -> Tensor:
        """Spikes of the neurons in front of a matrix, or the input itself where there are none; their state goes on."""
        if name not in self.neurons:
            after.append(None)
            return x
        if name in self.norms:
            x = self.norms[name](x)
        if before is not None and not (type(before) is tuple and len(before) == len(self.MATRICES)):
            raise ShapeError(
                f"{type(self).__name__}: its state has no membranes for {len(self.MATRICES)} matrices; pass what its "
                "earlier call returned, or None to begin at rest"
            )
        y, state = self.neurons[name](x, None if before is None else before[len(after)])
        after.append(state)
        return y


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

    MATRICES = ("key", "value", "receptance", "output")

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
        factory: Any = {"device": device, "dtype": dtype}
        features = integer("features", features, 1)
        super().__init__(spiking, "output", features, layer, layers, factory)
        depth = layer / (layers - 1) if layers > 1 else 0.0
        channel = torch.arange(features) / max(features - 1, 1)
        self.time_decay = nn.Parameter((-5 + 8 * channel ** (0.7 + 1.3 * depth)).to(**factory))
        zigzag = 0.5 * ((torch.arange(features) + 1) % 3 - 1)
        self.time_first = nn.Parameter((math.log(0.3) + zigzag).to(**factory))
        share = (torch.arange(features) / features) ** (1 - layer / layers)
        mix = torch.stack([share, share + 0.3 * depth, share**0.5])
        self.shift = DelayShift(mix, shift_spec("shift", shift), **factory)
        self.key, self.value, self.receptance, self.output = (
            Linear(features, features, **factory) for _ in self.MATRICES
        )

    def forward(self, x: Tensor, state: SpikingTimeMixState | None = None) -> tuple[Tensor, SpikingTimeMixState]:
        """The mixed input and the state."""
        x = admit(self, x, FLAT, self.time_decay)
        line, sums, membranes = parts_of(self, state, SpikingTimeMixState)
        if sums is not None:
            check_state(self, sums, WKVState)
            sums = WKVState(*(fitting(self, part, x, summed_in(x)) for part in sums))
        (xk, xv, xr), line = self.shift(x, line)
        after: list[MembraneState | None] = []
        k = self.key(self._fire("key", xk, membranes, after))
        v = self.value(self._fire("value", xv, membranes, after))
        r = torch.sigmoid(self.receptance(self._fire("receptance", xr, membranes, after)))
        average, sums = wkv(k, v, -torch.exp(self.time_decay), self.time_first, sums)
        y = self.output(self._fire("output", r * average, membranes, after))
        return y, SpikingTimeMixState(line, sums, tuple(after))


class SpikingChannelMix(_Mixing):
    r"""Channel mixing: a gated layer of four times as many hidden channels.

    .. math:: y = \sigma(W_r x^r) \odot W_v\,\max(W_k x^k, 0)^2

    Args and state as :class:`SpikingTimeMix`, with the two mixtures :math:`x^k, x^r` and three matrices.

    Shapes: ``[time, batch, features]`` to the same.

    Source: Peng et al., EMNLP Findings 2023 (RWKV-4); Zhu et al., TMLR 2024 call it SRFFN.
    """

    MATRICES = ("key", "receptance", "value")

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
        factory: Any = {"device": device, "dtype": dtype}
        features = integer("features", features, 1)
        super().__init__(spiking, "value", 4 * features, layer, layers, factory)
        share = (torch.arange(features) / features) ** (1 - layer / layers)
        self.shift = DelayShift(torch.stack([share, share]), shift_spec("shift", shift), **factory)
        self.key = Linear(features, 4 * features, **factory)
        self.receptance = Linear(features, features, **factory)
        self.value = Linear(4 * features, features, **factory)

    def forward(self, x: Tensor, state: SpikingChannelMixState | None = None) -> tuple[Tensor, SpikingChannelMixState]:
        """The mixed input and the state."""
        x = admit(self, x, FLAT, self.shift.mix)
        line, membranes = parts_of(self, state, SpikingChannelMixState)
        (xk, xr), line = self.shift(x, line)
        after: list[MembraneState | None] = []
        k = squared_relu(self.key(self._fire("key", xk, membranes, after)))
        r = torch.sigmoid(self.receptance(self._fire("receptance", xr, membranes, after)))
        y = r * self.value(self._fire("value", k, membranes, after))
        return y, SpikingChannelMixState(line, tuple(after))
