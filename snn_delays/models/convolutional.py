"""The classifier for maps: delayed convolutions, then delayed linear layers."""

from itertools import pairwise
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from snn_delays.arguments import integer
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.models.blocks import Blocks, widths
from snn_delays.nn import AvgPool2d, BatchNorm2d, Flatten, MaxPool2d, Sequential, SpikingModule, SumPool2d
from snn_delays.nn.door import MAPS, check_tensor
from snn_delays.nn.specs import DelaySpec, Device, NetworkOptions, NeuronSpec, network_specs
from snn_delays.ops.delay_conv import map_size

if TYPE_CHECKING:
    from typing_extensions import Unpack

POOLING = {"max": MaxPool2d, "avg": AvgPool2d, "sum": SumPool2d}


class ConvolutionalClassifier(Sequential):
    """Events of a sensor in, readout membranes out: convolutional blocks, hidden layers, leaky integrators.

    A block is a delayed convolution, norm, LIF, dropout and pooling; then the maps are laid out flat for hidden layers
    and a readout as in :class:`snn_delays.models.DelayClassifier`. Every synapse has delays.

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
        neurons: of every layer but the readout, which has their time constant.
        dropout: probability of silencing a neuron for a whole sample.
        device, dtype: of the parameters.
        options: fields of ``delays`` and ``neurons`` by keyword, see :class:`snn_delays.models.DelayClassifier`.

    Children: ``conv1``, ``conv2``, ... each with ``synapse``, ``norm``, ``neuron``, ``dropout`` and, where
    ``pool > 1``, ``pool``; ``flatten``; ``hidden1``, ...; ``readout`` with ``synapse``, ``integrator``.
    Shapes: ``[time, batch, channel, y, x]`` to ``[time, batch, classes]``.

    Raises:
        ConfigError: no maps, an unknown pooling, or layers that leave nothing of the sensor.
    """

    computes_as = Sequential

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
        device: Device = None,
        dtype: torch.dtype | None = None,
        **options: "Unpack[NetworkOptions]",
    ) -> None:
        classes, maps, hidden = integer("classes", classes, 1), widths("maps", maps), widths("hidden", hidden)
        if not maps:
            raise ConfigError("maps must name at least one convolution, as in maps=(16, 32)")
        if pooling not in POOLING:
            raise ConfigError(f"pooling must be one of {', '.join(POOLING)}; got {pooling!r}")
        channels, *size = sizes = widths("sensor", sensor)
        if len(sizes) != 3:
            raise ConfigError(f"sensor has channels, rows and columns, as in (2, 34, 34); got {sensor}")
        delays, neurons = network_specs(delays, neurons, dict(options))
        build = Blocks(delays, neurons, dropout, False, {"device": device, "dtype": dtype})
        layers: dict[str, SpikingModule] = {}
        rows, columns = size
        for i, (inputs, outputs) in enumerate(pairwise((channels, *maps)), 1):
            synapse = build.convolution(inputs, outputs, kernel_size, padding)
            pooled = POOLING[pooling](pool)
            following = {} if pooled.kernel_size == (1, 1) else {"pool": pooled}
            layers[f"conv{i}"] = build.hidden(synapse, BatchNorm2d, **following)
            try:
                rows, columns = map_size((rows, columns), synapse.kernel_size, synapse.stride, synapse.padding)
                rows, columns = map_size((rows, columns), pooled.kernel_size, pooled.stride)
            except ShapeError as error:
                raise ConfigError(f"conv{i} on a sensor of {size[0]} x {size[1]}: {error}") from error
        layers["flatten"] = Flatten()
        neurons_of = (maps[-1] * rows * columns, *hidden)
        for i, (inputs, outputs) in enumerate(pairwise(neurons_of), 1):
            layers[f"hidden{i}"] = build.hidden(build.linear(inputs, outputs))
        super().__init__(**layers, readout=build.readout(neurons_of[-1], classes))
        self.sensor = sizes

    def forward(self, x: Tensor, state: tuple | None = None, valid: Tensor | None = None) -> tuple[Tensor, tuple]:
        """Readout membranes and the state. Raises ShapeError for maps of another size, as with x and y exchanged."""
        check_tensor(self, x, MAPS)
        if tuple(x.shape[2:]) != self.sensor:
            raise ShapeError(f"the network takes maps of {self.sensor}, got an input of shape {tuple(x.shape)}")
        return super().forward(x, state, valid)
