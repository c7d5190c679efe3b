"""A network laid out flat, as :mod:`snn_delays.discrete.streaming.kernels` runs it."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.discrete.stages import NeuronStage, PoolStage, Shape, Stage, SynapseStage, stages_of
from snn_delays.discrete.streaming import kernels
from snn_delays.errors import ExportError
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Synapses
from snn_delays.nn import DelayLineState, MembraneState, Sequential
from snn_delays.nn.recurrent import RecurrentState

Array = NDArray[Any]
# For a chain the tuple of its layers' outlines, for a layer its name.
Outline = str | tuple["Outline", ...]


@dataclass(frozen=True)
class Place:
    """Where a layer is: its output in ``values``, its state at rest, and the rows of the table that hold its state.

    ``ring`` is the row of the synapses that remember their last inputs, ``membrane`` that of the neurons; a recurrent
    population has both.
    """

    output: slice
    rest: Any = None
    ring: int | None = None
    membrane: int | None = None


@dataclass(frozen=True)
class Program:
    """The arrays of a network, its state at rest, and where its layers are, by name."""

    table: NDArray[np.int64]
    index: NDArray[np.uint32]
    numbers: Array
    state: Array
    values: Array
    rest: Array
    places: dict[str, Place]
    outline: Outline

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What every kernel takes."""
        return self.table, self.index, self.numbers, self.state, self.values


def program_of(network: DiscreteNetwork | CanonicalNetwork, dtype: np.dtype[Any], sensor: Shape | None) -> Program:
    """Lay a network out. Raises ExportError for one that is not discrete, or that has layers that do not fit."""
    stages = stages_of(network, sensor)
    names = iter(stage.name for stage in stages)
    outline = tuple(zip(names, names)) if isinstance(network, CanonicalNetwork) else _outline(network, names)
    layout = _Layout(dtype, math.prod(stages[0].before))
    places = {stage.name: layout.place(stage) for stage in stages}
    index, numbers, state = (np.concatenate(parts) for parts in layout.parts.values())
    values = np.zeros(layout.end, dtype)
    return Program(np.array(layout.rows), index, numbers, state, values, state.copy(), places, outline)


def _outline(network: nn.Module, names: Any) -> Outline:
    return tuple(_outline(layer, names) for layer in network) if isinstance(network, Sequential) else next(names)


class _Layout:
    """The parts of a program so far; what the next stage reads are ``width`` numbers from ``source``."""

    def __init__(self, dtype: np.dtype[Any], width: int) -> None:
        self.dtype, self.source, self.width, self.end = dtype, 0, width, width
        self.rows: list[NDArray[np.int64]] = []
        self.parts: dict[int, list[Array]] = {
            kernels.INDEX: [np.zeros(0, np.uint32)],
            kernels.NUMBERS: [np.zeros(0, dtype)],
            kernels.STATE: [np.zeros(0, dtype)],
        }

    def place(self, stage: Stage) -> Place:
        """Add a stage's rows."""
        rest: Any = None
        ring = membrane = None
        if isinstance(stage, SynapseStage):
            rest, ring = DelayLineState(self._at_rest(stage.window, 1, *stage.before)), len(self.rows)
            row = self._row(stage.name, kernels.SYNAPSE, stage.synapses.targets)
            self._synapses(stage.name, row, stage.synapses, stage.window + 1, stage.bias)
        elif isinstance(stage, PoolStage):
            row = self._row(stage.name, kernels.POOLS[stage.kind], len(stage.windows))
            row[kernels.COUNT] = stage.windows.shape[1]
            self._add(row, index=stage.windows.ravel())
        elif isinstance(stage, NeuronStage):
            if not isinstance(stage.arithmetic, Membrane):
                raise ExportError(
                    f"{stage.name} are neurons in integer arithmetic, which cannot be streamed; they run in chunks: "
                    "y, state = network(x, state)"
                )
            if stage.arithmetic.filters:
                raise ExportError(
                    f"{stage.name} are CubaLIF neurons, which cannot be streamed; they run in chunks: y, state = "
                    "network(x, state)"
                )
            rest = MembraneState(self._at_rest(1, *stage.before) + stage.arithmetic.v_reset)
            own, size = stage.recurrent, self.width
            if own is not None:
                rest, ring = RecurrentState(rest, self._at_rest(stage.window, 1, *stage.before)), len(self.rows)
                current = self.source
                row = self._row(stage.name, kernels.FEEDBACK, size)
                # It reads the neurons' spikes of the last step, which still lie there.
                row[[kernels.SOURCE, kernels.CURRENT]] = self.end, current
                earlier = Synapses(size, size, own.source, own.target, own.delay_steps - 1, own.weight, own.sharing)
                self._synapses(stage.name, row, earlier, stage.window, np.zeros(0))
            membrane = len(self.rows)
            self._neurons(
                stage.arithmetic, self._row(stage.name, kernels.LIF if stage.fires else kernels.INTEGRATOR, size)
            )
        return Place(slice(self.source, self.source + self.width), rest, ring, membrane)

    def _at_rest(self, *shape: int) -> torch.Tensor:
        return torch.from_numpy(np.zeros(shape, self.dtype))

    def _row(self, name: str, kind: int, outputs: int) -> NDArray[np.int64]:
        """A new row of the table, whose output is what the next one reads."""
        row = np.zeros(kernels.COLUMNS, np.int64)
        row[[kernels.KIND, kernels.INPUTS, kernels.OUTPUTS]] = kind, self.width, outputs
        row[[kernels.SOURCE, kernels.TARGET]] = self.source, self.end
        self.rows.append(row)
        self.source, self.width, self.end = self.end, outputs, self.end + outputs
        if self.end >= 2**32:
            raise ExportError(f"{name}: the network has more than 2**32 numbers a step")
        return row

    def _add(self, row: NDArray[np.int64], index: Any = (), numbers: Any = (), state: Any = ()) -> None:
        for (column, parts), added in zip(self.parts.items(), (index, numbers, state)):
            row[column] = sum(part.size for part in parts)
            parts.append(np.asarray(added, parts[0].dtype))

    def _synapses(self, name: str, row: NDArray[np.int64], synapses: Synapses, rows: int, bias: Array) -> None:
        """Synapses in the order of their sources; as whole rows of weights where targets share delays."""
        sources, targets = synapses.sources, synapses.targets
        row[kernels.ROWS] = rows
        delay, twin = synapses.delay_steps.astype(np.int64), synapses.twin
        # Synapses of one source and delay lie on one line of weights, twins on lines of their own.
        key = (synapses.source * (delay.max(initial=0) + 1) + delay) * (twin.max(initial=0) + 1) + twin
        _, first, line = np.unique(key, return_index=True, return_inverse=True)
        begins, where, strengths = synapses.row_pointers, delay * targets + synapses.target, synapses.weight
        if len(first) * targets <= 2 * len(synapses):
            row[kernels.SHARED] = 1
            begins, where = np.searchsorted(synapses.source[first], np.arange(sources + 1)), delay[first] * targets
            strengths = np.zeros((len(first), targets))
            strengths[line.ravel(), synapses.target] = synapses.weight
        if max(rows * targets, strengths.size) >= 2**32:
            raise ExportError(
                f"{name} has {strengths.size} synapses and {rows} x {targets} currents; 2**32 are too many"
            )
        state = np.zeros(rows * (targets + sources))
        self._add(row, np.concatenate([begins, where]), np.concatenate([bias, strengths.ravel()]), state)

    def _neurons(self, neurons: Membrane, row: NDArray[np.int64]) -> None:
        decay = self.dtype.type(neurons.decay)
        gain = self.dtype.type(1) - decay if neurons.decay_input else self.dtype.type(1)
        row[[kernels.STRICT, kernels.SOFT]] = neurons.strict, neurons.reset == "soft"
        numbers = [decay, gain, neurons.threshold, neurons.v_reset]
        self._add(row, numbers=numbers, state=np.full(self.width, neurons.v_reset))
