"""A discrete network laid out flat, as :mod:`snn_delays.discrete.streaming.kernels` runs it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.discrete.network import DiscreteNetwork, check_constants, copied_layers, discrete_numbers
from snn_delays.discrete.streaming import kernels
from snn_delays.errors import ExportError
from snn_delays.nn import LIF, DelayedLinear, LeakyIntegrator, Recurrent, Sequential, SpikingModule

Array = NDArray[Any]
# For a chain the tuple of its layers' outlines, for a layer its number in the order they run.
Outline = int | tuple["Outline", ...]


@dataclass(frozen=True)
class Program:
    """The arrays of a network at rest; ``outputs`` has for every layer, by name, the slice of ``values``."""

    table: NDArray[np.int64]
    index: NDArray[np.uint32]
    numbers: Array
    state: Array
    values: Array
    outputs: dict[str, slice]
    outline: Outline

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What every kernel takes."""
        return self.table, self.index, self.numbers, self.state, self.values


def program_of(network: DiscreteNetwork, dtype: np.dtype[Any]) -> Program:
    """Lay a network out. Raises ExportError for one that is not discrete, or that has layers that do not fit."""
    if not isinstance(network, DiscreteNetwork):
        raise ExportError(f"expected a discrete network, got a {type(network).__name__}; pass discretize(network)")
    layers = copied_layers(network)
    for name, layer in layers:
        if isinstance(layer, Recurrent):
            raise ExportError(
                f"layer {name!r} is recurrent and the engine streams feed-forward networks only; run it in chunks of "
                "any length: y, state = network(x, state)"
            )
        if not isinstance(layer, DelayedLinear | LIF | LeakyIntegrator):
            raise ExportError(
                f"layer {name!r} ({type(layer).__name__}) cannot be streamed; known are DelayedLinear, LIF and "
                "LeakyIntegrator. Other layers run in chunks: y, state = network(x, state)"
            )
    width = next((layer.in_features for _, layer in layers if isinstance(layer, DelayedLinear)), None)
    if width is None:
        raise ExportError("the network has no synapse, so nothing says how many inputs it has")
    table = np.zeros((len(layers), kernels.COLUMNS), np.int64)
    index, numbers, state = [np.zeros(0, np.uint32)], [np.zeros(0, dtype)], [np.zeros(0, dtype)]
    outputs: dict[str, slice] = {}
    source, target = 0, width
    for row, (name, layer) in zip(table, layers):
        row[[kernels.INPUTS, kernels.OUTPUTS, kernels.SOURCE, kernels.TARGET]] = width, width, source, target
        for column, parts in ((kernels.INDEX, index), (kernels.NUMBERS, numbers), (kernels.STATE, state)):
            row[column] = sum(part.size for part in parts)
        if isinstance(layer, DelayedLinear):
            if layer.in_features != width:
                raise ExportError(f"{name} takes {layer.in_features} inputs, the layer before it has {width} outputs")
            where, what, rest = _synapse(name, layer, row, dtype)
            index.append(where)
            width = layer.out_features
        else:
            assert isinstance(layer, LIF | LeakyIntegrator)
            what, rest = _neuron(name, layer, row, width, dtype)
        numbers.append(what)
        state.append(rest)
        outputs[name] = slice(target, target + width)
        source, target = target, target + width
    return Program(
        table, np.concatenate(index), np.concatenate(numbers), np.concatenate(state), np.zeros(target, dtype),
        outputs, _outline(network, iter(range(len(layers)))),
    )  # fmt: skip


def _synapse(
    name: str, layer: DelayedLinear, row: NDArray[np.int64], dtype: np.dtype[Any]
) -> tuple[NDArray[np.uint32], Array, Array]:
    weight, whole, bias = discrete_numbers(name, layer)
    outputs, inputs, count = weight.shape
    rows = layer.max_delay_steps + 1
    if max(rows * outputs, weight.size) >= 2**32:
        raise ExportError(f"{name} has {weight.size} synapses and {rows} x {outputs} currents; 2**32 are too many")
    row[[kernels.KIND, kernels.OUTPUTS, kernels.ROWS]] = kernels.SYNAPSE, outputs, rows
    by_source = np.broadcast_to(whole, weight.shape).transpose(1, 2, 0)  # [in, count, out]
    weight = weight.transpose(1, 2, 0)
    shared = bool((by_source == by_source[:, :, :1]).all())
    if shared:
        row[kernels.COUNT] = count
        where, strengths = by_source[:, :, 0].ravel() * outputs, weight.ravel()
    else:
        present = weight != 0
        begins = np.concatenate([[0], np.cumsum(present.sum((1, 2)))])
        where = np.concatenate([begins, (by_source * outputs + np.arange(outputs))[present]])
        strengths = weight[present]
    rest = np.zeros(rows * (outputs + inputs), dtype)
    return where.astype(np.uint32), np.concatenate([bias, strengths]).astype(dtype), rest


def _neuron(
    name: str, layer: LIF | LeakyIntegrator, row: NDArray[np.int64], width: int, dtype: np.dtype[Any]
) -> tuple[Array, Array]:
    check_constants(name, layer)
    decay = dtype.type(float(layer.decay))
    gain = dtype.type(1) - decay if layer.decay_input else dtype.type(1)
    if isinstance(layer, LeakyIntegrator):
        row[kernels.KIND] = kernels.INTEGRATOR
        return np.array([decay, gain], dtype), np.zeros(width, dtype)
    row[[kernels.KIND, kernels.STRICT, kernels.SOFT]] = kernels.LIF, layer.strict, layer.reset == "soft"
    return np.array([decay, gain, float(layer.threshold), layer.v_reset], dtype), np.full(width, layer.v_reset, dtype)


def _outline(network: SpikingModule, numbers: Any) -> Outline:
    return tuple(_outline(layer, numbers) for layer in network) if isinstance(network, Sequential) else next(numbers)
