"""The classifier for maps: delayed convolutions, then delayed linear layers."""

from itertools import pairwise
from typing import Any

from torch import Tensor

from snn_delays.arguments import integer, real
from snn_delays.errors import ConfigError, ShapeError
from snn_delays.models.classifier import widths
from snn_delays.nn import (
    LIF,
    AvgPool2d,
    BatchNorm,
    BatchNorm2d,
    DelayedConv2d,
    DelayedLayer,
    DelayedLinear,
    Dropout,
    Flatten,
    LeakyIntegrator,
    MaxPool2d,
    Sequential,
    SpikingModule,
    SumPool2d,
)
from snn_delays.nn.delayed import rounded
from snn_delays.nn.door import MAPS, check_tensor
from snn_delays.ops.delay_conv import map_size
from snn_delays.ops.surrogate import ATan, Surrogate

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
        pool: rows and columns that become one behind every convolution; 1 for no pooling.
        pooling: ``"max"`` (whether there was a spike), ``"avg"`` or ``"sum"``.
        max_delay_steps: longest delay of every layer; 0 gives the network without delays.
        min_delay_steps: shortest delay of every layer.
        sharing: delays per ``"synapse"``, ``"channel"`` (pair of maps; linear layers then have one per synapse),
            ``"axon"`` or ``"dendrite"``.
        taps, sigma_steps, learn_delay, delay_init, tau_steps, threshold, reset, detach_reset, surrogate: see
            :class:`snn_delays.models.DelayClassifier`.
        dropout: probability of silencing a neuron for a whole sample.

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
        *,
        kernel_size: int | tuple[int, int] = 5,
        padding: int | tuple[int, int] = 0,
        pool: int | tuple[int, int] = 2,
        pooling: str = "max",
        max_delay_steps: int,
        min_delay_steps: int = 0,
        sharing: str = "synapse",
        taps: str = "gaussian",
        sigma_steps: float | None = None,
        learn_delay: bool = True,
        delay_init: str = "uniform",
        tau_steps: float = 2.0,
        threshold: float = 1.0,
        reset: str = "hard",
        detach_reset: bool = True,
        surrogate: Surrogate | None = None,
        dropout: float = 0.0,
    ) -> None:
        classes, maps, hidden = integer("classes", classes, 1), widths("maps", maps), widths("hidden", hidden)
        tau_steps, threshold = real("tau_steps", tau_steps), real("threshold", threshold)
        if not maps:
            raise ConfigError("maps must name at least one convolution, as in maps=(16, 32)")
        if pooling not in POOLING:
            raise ConfigError(f"pooling must be one of {', '.join(POOLING)}; got {pooling!r}")
        if not learn_delay:
            taps, delay_init = "linear", rounded(delay_init)
        delays: dict[str, Any] = {
            "max_delay_steps": max_delay_steps, "min_delay_steps": min_delay_steps, "taps": taps,
            "sigma_steps": sigma_steps, "learn_delay": learn_delay, "delay_init": delay_init,
        }  # fmt: skip

        def linear(inputs: int, outputs: int) -> DelayedLinear:
            return DelayedLinear(inputs, outputs, sharing="synapse" if sharing == "channel" else sharing, **delays)

        def block(synapse: DelayedLayer, norm: BatchNorm, **behind: SpikingModule) -> Sequential:
            neuron = LIF(
                tau_steps, threshold=threshold, reset=reset, detach_reset=detach_reset,
                surrogate=ATan() if surrogate is None else surrogate,
            )  # fmt: skip
            return Sequential(synapse=synapse, norm=norm, neuron=neuron, dropout=Dropout(dropout), **behind)

        layers: dict[str, SpikingModule] = {}
        channels, *size = sizes = widths("sensor", sensor)
        if len(sizes) != 3:
            raise ConfigError(f"sensor has channels, rows and columns, as in (2, 34, 34); got {sensor}")
        rows, columns = size
        for i, (inputs, outputs) in enumerate(pairwise((channels, *maps)), 1):
            synapse = DelayedConv2d(inputs, outputs, kernel_size, padding=padding, sharing=sharing, **delays)
            pooled = POOLING[pooling](pool)
            behind = {} if pooled.kernel_size == (1, 1) else {"pool": pooled}
            layers[f"conv{i}"] = block(synapse, BatchNorm2d(outputs), **behind)
            try:
                rows, columns = map_size((rows, columns), synapse.kernel_size, synapse.stride, synapse.padding)
                rows, columns = map_size((rows, columns), pooled.kernel_size, pooled.stride)
            except ShapeError as error:
                raise ConfigError(f"conv{i} on a sensor of {size[0]} x {size[1]}: {error}") from error
        layers["flatten"] = Flatten()
        neurons = (maps[-1] * rows * columns, *hidden)
        for i, (inputs, outputs) in enumerate(pairwise(neurons), 1):
            layers[f"hidden{i}"] = block(linear(inputs, outputs), BatchNorm(outputs))
        layers["readout"] = Sequential(synapse=linear(neurons[-1], classes), integrator=LeakyIntegrator(tau_steps))
        super().__init__(**layers)
        self.sensor = sizes

    def forward(self, x: Tensor, state: tuple | None = None, valid: Tensor | None = None) -> tuple[Tensor, tuple]:
        """Readout membranes and the state. Raises ShapeError for maps of another size, as with x and y exchanged."""
        check_tensor(self, x, MAPS)
        if tuple(x.shape[2:]) != self.sensor:
            raise ShapeError(f"the network takes maps of {self.sensor}, got an input of shape {tuple(x.shape)}")
        return super().forward(x, state, valid)
