"""Classifiers with learned delays: of spike trains, feed-forward or recurrent, and of maps."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from snn_delays import nn
from snn_delays.arguments import choice, integer, shown
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.moved import forward
from snn_delays.nn.door import MAPS, check_tensor
from snn_delays.nn.specs import DelaySpec, Device, NetworkOptions, NeuronSpec, RecurrentSpec, network_specs
from snn_delays.ops.delay_conv import map_size

if TYPE_CHECKING:
    from typing_extensions import Unpack

_SHD = {"in_features": 140, "classes": 20, "max_delay_steps": 24, "tau_steps": 1.005, "dropout": 0.4}
_SSC = {"in_features": 140, "classes": 35, "max_delay_steps": 30, "tau_steps": 1.5, "dropout": 0.25}

# Hammouamri et al., ICLR 2024: the networks of the paper at 10 ms a step (windows of 25 and 31 steps). Those of SSC
# serve Speech Commands too, and their headline results are those with two synapses a pair (2kc).
PUBLISHED: dict[str, dict[str, Any]] = {
    "hammouamri_2024_shd_2x256": {**_SHD, "hidden": (256, 256)},
    "hammouamri_2024_ssc_2x512_2kc": {**_SSC, "hidden": (512, 512), "delay_count": 2},
    "hammouamri_2024_ssc_3x512": {**_SSC, "hidden": (512, 512, 512)},
    "hammouamri_2024_ssc_3x512_2kc": {**_SSC, "hidden": (512, 512, 512), "delay_count": 2},
}
POOLING = {"max": nn.MaxPool2d, "avg": nn.AvgPool2d, "sum": nn.SumPool2d}

# Of a recurrent weight, relative to a feed-forward one. He-uniform weights of n neurons to themselves have spectral
# radius sqrt(2); 0.2 of that times the surrogate's largest slope, 2.5, is below one: at first neither spikes nor
# gradients grow as they go round.
RECURRENT_SCALE = 0.2


def _widths(name: str, given: Sequence[int]) -> tuple[int, ...]:
    """Neurons or maps of the layers in a row. Raises ConfigError for anything but a row of integers above 0."""
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise ConfigError(f"{name} has an integer for each layer, as in {name}=(256, 256); got {shown(given)}")
    return tuple(integer(f"{name}[{i}]", each, 1) for i, each in enumerate(given))


class _Blocks(NamedTuple):
    """Builds blocks of synapse, norm, neurons and dropout, and the readout; ``factory`` holds device and dtype."""

    delays: DelaySpec
    neurons: NeuronSpec
    dropout: float
    recurrent: RecurrentSpec | None
    factory: dict[str, Any]
    readout: dict[str, Any]

    def linear(self, inputs: int, outputs: int, bias: bool = False) -> nn.DelayedLinear:
        """A linear synapse; where maps share a delay per pair of channels, it has one for each synapse."""
        sharing = "synapse" if self.delays.sharing == "channel" else self.delays.sharing
        return nn.DelayedLinear(inputs, outputs, replace(self.delays, sharing=sharing), bias=bias, **self.factory)

    def hidden(
        self, synapse: nn.DelayedLayer, norm: type[nn.BatchNorm] = nn.BatchNorm, layer: int = 0, /,
        **following: nn.SpikingModule,
    ) -> nn.Sequential:  # fmt: skip
        """Synapse, norm, neurons and dropout, and what follows."""
        outputs = synapse.weight.shape[0]
        return nn.Sequential(
            synapse=synapse,
            norm=norm(outputs, **self.factory),
            neuron=self._population(outputs, layer),
            dropout=nn.Dropout(self.dropout),
            **following,
        )

    def linear_layers(
        self, inputs: int, hidden: Sequence[int], classes: int, bias: bool = False
    ) -> dict[str, nn.Sequential]:
        """Hidden layers, and the readout: synapse and leaky integrators."""
        sizes = (inputs, *hidden)
        layers = {
            f"hidden{i}": self.hidden(self.linear(*pair), nn.BatchNorm, i) for i, pair in enumerate(pairwise(sizes), 1)
        }
        own = {"tau_steps": self.neurons.tau_steps, "decay_input": self.neurons.decay_input, **self.readout}
        integrator = nn.LeakyIntegrator(**own, **self.factory)
        synapse = self.linear(sizes[-1], classes, bias)
        return {**layers, "readout": nn.Sequential(synapse=synapse, integrator=integrator)}

    def _population(self, neurons: int, layer: int) -> nn.Neuron:
        population, loop = nn.population(self.neurons, neurons, **self.factory), self.recurrent
        if loop is None or (loop.layers and layer not in loop.layers):
            return population
        delays = loop.delays if loop.delays.learn_delay else loop.delays.with_fixed_integers()
        back = nn.DelayedLinear(neurons, neurons, delays, **self.factory)
        with torch.no_grad():
            if loop.orthogonal:
                torch.nn.init.orthogonal_(back.weight[..., 0])
            else:
                back.weight.mul_(RECURRENT_SCALE)
        return nn.Recurrent(back, population, loop.dropout)


def _blocks(
    delays: DelaySpec | None, neurons: NeuronSpec | None, options: Any, dropout: float,
    recurrent: bool | RecurrentSpec, readout: dict[str, Any] | None, **factory: Any,
) -> _Blocks:  # fmt: skip
    """Raises as :func:`snn_delays.nn.specs.spec_from`. Delays that are not learned are integers: none is spread."""
    delays, neurons = network_specs(delays, neurons, dict(options))
    fixed = delays if delays.learn_delay else delays.with_fixed_integers()
    if isinstance(recurrent, bool):
        loop = RecurrentSpec(fixed, orthogonal=False) if recurrent else None
        return _Blocks(fixed, neurons, dropout, loop, factory, readout or {})
    return _Blocks(fixed, neurons, dropout, recurrent, factory, readout or {})


class DelayClassifier(nn.Sequential):
    """Spikes in, readout membranes out: hidden layers of delayed synapses, norm, LIF, dropout; then leaky integrators.

    Args:
        in_features: input channels.
        hidden: neurons of each hidden layer.
        classes: readout neurons.
        delays: of every layer; ``max_delay_steps=0`` gives the network without delays, ``learn_delay=False`` one whose
            delays stay random integers.
        neurons: of every hidden layer, a :class:`snn_delays.nn.CellSpec` for others than LIF; the readout has their
            time constant.
        recurrent: every hidden population also receives its own spikes (:class:`snn_delays.nn.Recurrent`), through
            delays of at least one step, and of exactly one where ``max_delay_steps`` is 0; a
            :class:`snn_delays.nn.RecurrentSpec` gives them delays of their own.
        readout_bias: a constant current into each readout neuron.
        dropout: probability of silencing a hidden neuron for a whole sample.
        readout: arguments of the readout's :class:`snn_delays.nn.LeakyIntegrator` where they are not the neurons':
            ``{"tau_steps": 1.0}`` is linear and keeps nothing from step to step, ``{"tau_steps": 20.0, "decay_input":
            True}`` an exponential moving average.
        device, dtype: of the parameters.
        options: fields of :class:`snn_delays.nn.DelaySpec` and :class:`snn_delays.nn.NeuronSpec` by keyword, as in
            ``DelayClassifier(140, (256, 256), 20, max_delay_steps=24, tau_steps=1.005)``.

    Children: ``hidden1``, ``hidden2``, ... each with ``synapse``, ``norm``, ``neuron``, ``dropout``; ``readout`` with
    ``synapse``, ``integrator``. A recurrent ``neuron`` has ``synapse`` and ``neuron`` inside. Shapes:
    ``[time, batch, in_features]`` to ``[time, batch, classes]``.

    Source: Hammouamri et al., ICLR 2024, section 3. There each layer adds ``(K - 1) // 2`` steps to the sequence; here
    none does, and the network runs on after a sample's end instead (``tail_steps``).
    """

    computes_as = nn.Sequential

    def __init__(
        self,
        in_features: int,
        hidden: tuple[int, ...],
        classes: int,
        delays: DelaySpec | None = None,
        neurons: NeuronSpec | None = None,
        *,
        recurrent: bool | RecurrentSpec = False,
        readout_bias: bool = False,
        dropout: float = 0.0,
        readout: dict[str, Any] | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: "Unpack[NetworkOptions]",
    ) -> None:
        in_features, classes = integer("in_features", in_features, 1), integer("classes", classes, 1)
        hidden = _widths("hidden", hidden)
        if not hidden:
            raise ConfigError("hidden must name at least one layer, as in hidden=(256, 256)")
        if not isinstance(recurrent, bool) and max(recurrent.layers, default=0) > len(hidden):
            raise ConfigError(f"recurrent.layers = {recurrent.layers} are of {len(hidden)} hidden layers")
        build = _blocks(delays, neurons, options, dropout, recurrent, readout, device=device, dtype=dtype)
        super().__init__(**build.linear_layers(in_features, hidden, classes, readout_bias))

    @classmethod
    def published(cls, name: str, **changes: Any) -> "DelayClassifier":
        """A published network by name (see ``PUBLISHED``), with any argument changed."""
        if name not in PUBLISHED:
            raise ConfigError(f"no published network {name!r}; there are {', '.join(PUBLISHED)}")
        return cls(**{"delay_init": "hammouamri_2024", **PUBLISHED[name], **changes})


class ConvolutionalClassifier(nn.Sequential):
    """Events of a sensor in, readout membranes out: convolutional blocks, hidden layers, leaky integrators.

    A block is a delayed convolution, norm, LIF, dropout and pooling; then the maps are laid out flat for hidden layers
    and a readout as in :class:`DelayClassifier`. Every synapse has delays.

    Args:
        sensor: channels (an event camera's polarities), rows and columns of the input.
        maps: output maps of each convolution.
        hidden: neurons of each linear layer before the readout; ``()`` for none.
        classes: readout neurons.
        kernel_size: rows and columns of every kernel, or one number for both.
        padding: silence around the maps of every convolution.
        pool: rows and columns that become one after every convolution; 1 for no pooling.
        pooling: ``"max"`` (whether there was a spike), ``"avg"`` or ``"sum"``.
        delays: of every layer; with ``sharing="channel"`` linear layers have a delay for each synapse.
        neurons, dropout, readout, device, dtype, options: as for :class:`DelayClassifier`.

    Children: ``conv1``, ``conv2``, ... each with ``synapse``, ``norm``, ``neuron``, ``dropout`` and, where
    ``pool > 1``, ``pool``; ``flatten``; ``hidden1``, ...; ``readout`` with ``synapse``, ``integrator``.
    Shapes: ``[time, batch, channel, y, x]`` to ``[time, batch, classes]``.

    Raises ConfigError for no maps, an unknown pooling, or layers that leave nothing of the sensor.
    """

    computes_as = nn.Sequential

    def __init__(
        self,
        sensor: tuple[int, int, int],
        maps: tuple[int, ...],
        hidden: tuple[int, ...],
        classes: int,
        delays: DelaySpec | None = None,
        neurons: NeuronSpec | None = None,
        *,
        kernel_size: int | tuple[int, int] = 5,
        padding: int | tuple[int, int] = 0,
        pool: int | tuple[int, int] = 2,
        pooling: str = "max",
        dropout: float = 0.0,
        readout: dict[str, Any] | None = None,
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: "Unpack[NetworkOptions]",
    ) -> None:
        classes, maps, hidden = integer("classes", classes, 1), _widths("maps", maps), _widths("hidden", hidden)
        if not maps:
            raise ConfigError("maps must name at least one convolution, as in maps=(16, 32)")
        choice("pooling", pooling, POOLING)
        if isinstance(neurons, nn.CellSpec) and neurons.of_each:
            raise ConfigError(
                f"{neurons.kind} neurons with parameters of their own need populations of known size, which maps are "
                "not; use kind = 'plif' or 'cuba_lif' with one number for the layer, or a DelayClassifier"
            )
        channels, *size = sizes = _widths("sensor", sensor)
        if len(sizes) != 3:
            raise ConfigError(f"sensor has channels, rows and columns, as in (2, 34, 34); got {sensor}")
        build = _blocks(delays, neurons, options, dropout, False, readout, device=device, dtype=dtype)
        layers: dict[str, nn.SpikingModule] = {}
        rows, columns = size
        for i, (inputs, outputs) in enumerate(pairwise((channels, *maps)), 1):
            synapse = nn.DelayedConv2d(inputs, outputs, kernel_size, build.delays, padding=padding, **build.factory)
            pooled = POOLING[pooling](pool)
            following = {} if pooled.kernel_size == (1, 1) else {"pool": pooled}
            layers[f"conv{i}"] = build.hidden(synapse, nn.BatchNorm2d, **following)
            try:
                rows, columns = map_size((rows, columns), synapse.kernel_size, synapse.stride, synapse.padding)
                rows, columns = map_size((rows, columns), pooled.kernel_size, pooled.stride)
            except ShapeError as error:
                raise ConfigError(f"conv{i} on a sensor of {size[0]} x {size[1]}: {error}") from error
        layers["flatten"] = nn.Flatten()
        super().__init__(**layers, **build.linear_layers(maps[-1] * rows * columns, hidden, classes))
        self.sensor = sizes

    def forward(self, x: Tensor, state: tuple | None = None, valid: Tensor | None = None) -> tuple[Tensor, tuple]:
        """Readout membranes and the state. Raises ShapeError for maps of another size, as with x and y exchanged."""
        check_tensor(self, x, MAPS)
        if tuple(x.shape[2:]) != self.sensor:
            raise ShapeError(f"the network takes maps of {self.sensor}, got an input of shape {tuple(x.shape)}")
        return super().forward(x, state, valid)


__getattr__ = forward(__name__, {"delayed_layers": "snn_delays.nn.optimise:layers_with_delays"})
