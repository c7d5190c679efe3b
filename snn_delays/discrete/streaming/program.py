"""A network laid out flat, as :mod:`snn_delays.discrete.streaming.kernels` runs it."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.discrete.stages import NeuronStage, PoolStage, Shape, Stage, SynapseStage, stages_of
from snn_delays.discrete.streaming import kernels
from snn_delays.errors import ExportError
from snn_delays.ir.canonical import CanonicalNetwork, Membrane, Synapses
from snn_delays.nn import Sequential

Array = NDArray[Any]
# For a chain the tuple of its layers' outlines, for a layer its name.
Outline = str | tuple["Outline", ...]


@dataclass(frozen=True)
class Place:
    """Where a layer is: the shape of its state, its output in ``values``, its rows of the table.

    ``window`` is the longest delay that its state remembers; ``row`` is None without arithmetic, ``feedback`` without
    recurrence.
    """

    shape: Shape
    output: slice
    window: int = 0
    row: int | None = None
    feedback: int | None = None


@dataclass(frozen=True)
class Program:
    """The arrays of a network at rest, and where its layers are, by name."""

    table: NDArray[np.int64]
    index: NDArray[np.uint32]
    numbers: Array
    state: Array
    values: Array
    places: dict[str, Place]
    outline: Outline

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What every kernel takes."""
        return self.table, self.index, self.numbers, self.state, self.values


def program_of(network: DiscreteNetwork | CanonicalNetwork, dtype: np.dtype[Any], sensor: Shape | None) -> Program:
    """Lay a network out. Raises ExportError for one that is not discrete, or that has layers that do not fit."""
    stages = stages_of(network, sensor)
    if isinstance(network, CanonicalNetwork):
        names = iter(stage.name for stage in stages)
        outline: Outline = tuple(zip(names, names))
    else:
        outline = _outline(network, iter(stage.name for stage in stages))
    layout = _Layout(dtype, math.prod(stages[0].before))
    places: dict[str, Place] = {}
    for stage in stages:
        places[stage.name] = layout.place(stage)
    return layout.program(places, outline)


@dataclass
class _Layout:
    """The parts of a program so far; what a stage reads is at ``source``."""

    dtype: np.dtype[Any]
    width: int
    source: int = 0
    rows: list[NDArray[np.int64]] = field(default_factory=list)
    parts: dict[int, list[Array]] = field(init=False)

    def __post_init__(self) -> None:
        self.end = self.width
        self.parts = {
            kernels.INDEX: [np.zeros(0, np.uint32)],
            kernels.NUMBERS: [np.zeros(0, self.dtype)],
            kernels.STATE: [np.zeros(0, self.dtype)],
        }

    def program(self, places: dict[str, Place], outline: Outline) -> Program:
        """The program of all stages so far."""
        index, numbers, state = (np.concatenate(part) for part in self.parts.values())
        values = np.zeros(self.end, self.dtype)
        return Program(np.array(self.rows), index, numbers, state, values, places, outline)

    def place(self, stage: Stage) -> Place:
        """Add a stage's rows."""
        feedback, window = None, 0
        if isinstance(stage, SynapseStage):
            window = stage.window
            row = self._row(stage.name, kernels.SYNAPSE, stage.synapses.targets)
            self._synapses(stage.name, row, stage.synapses, window + 1, stage.bias)
        elif isinstance(stage, PoolStage):
            row = self._row(stage.name, kernels.POOLS[stage.kind], len(stage.windows))
            row[kernels.COUNT] = stage.windows.shape[1]
            self._add(row, index=stage.windows.ravel())
        elif isinstance(stage, NeuronStage):
            size, window = self.width, stage.window
            if stage.recurrent is not None:
                feedback, current = len(self.rows), self.source
                row = self._row(stage.name, kernels.FEEDBACK, size)
                # It reads the neurons' spikes of the last step, which still lie there.
                row[[kernels.SOURCE, kernels.CURRENT]] = self.end, current
                own = stage.recurrent
                earlier = Synapses(size, size, own.source, own.target, own.delay_steps - 1, own.weight, own.sharing)
                self._synapses(stage.name, row, earlier, window, np.zeros(0))
            self._neurons(stage, self._row(stage.name, kernels.LIF, size))
        else:
            return Place(stage.after, slice(self.source, self.source + self.width))
        return Place(stage.before, slice(self.source, self.source + self.width), window, len(self.rows) - 1, feedback)

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
        where = synapses.delay_steps.astype(np.int64) * targets
        line, first = _lines(synapses)
        if len(first) * targets <= 2 * len(synapses):
            row[kernels.SHARED] = 1
            strengths = np.zeros((len(first), targets))
            strengths[line, synapses.target] = synapses.weight
            begins, where = np.searchsorted(synapses.source[first], np.arange(sources + 1)), where[first]
        else:
            begins, where, strengths = synapses.row_pointers, where + synapses.target, synapses.weight
        if max(rows * targets, strengths.size) >= 2**32:
            raise ExportError(
                f"{name} has {strengths.size} synapses and {rows} x {targets} currents; 2**32 are too many"
            )
        state = np.zeros(rows * (targets + sources))
        self._add(row, np.concatenate([begins, where]), np.concatenate([bias, strengths.ravel()]), state)

    def _neurons(self, stage: NeuronStage, row: NDArray[np.int64]) -> None:
        made = stage.arithmetic
        if not isinstance(made, Membrane):
            raise ExportError(
                f"{stage.name} are neurons in integer arithmetic, which cannot be streamed; they run in chunks: "
                "y, state = network(x, state)"
            )
        decay = self.dtype.type(made.decay)
        gain = self.dtype.type(1) - decay if made.decay_input else self.dtype.type(1)
        numbers = [decay, gain, made.threshold, made.v_reset]
        if not stage.fires:
            row[kernels.KIND] = kernels.INTEGRATOR
        row[[kernels.STRICT, kernels.SOFT]] = made.strict, made.reset == "soft"
        self._add(row, numbers=numbers, state=np.full(self.width, made.v_reset))


def _lines(synapses: Synapses) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Synapses of one source and delay lie on one line of weights, twins on lines of their own.

    Returns the line of each synapse, in the order of sources, and the first synapse of each line.
    """
    alike = np.stack([synapses.source, synapses.target, synapses.delay_steps]).astype(np.int64)
    twin = np.zeros(len(synapses), np.int64)
    same = np.append(False, ~np.diff(alike, axis=1).any(0))
    place = np.arange(len(synapses))
    twin = place - np.maximum.accumulate(np.where(same, 0, place))
    key = (alike[0] * (synapses.max_delay_steps + 1) + alike[2]) * (int(twin.max(initial=0)) + 1) + twin
    _, first, line = np.unique(key, return_index=True, return_inverse=True)
    return line.ravel(), first


def _outline(network: nn.Module, names: Any) -> Outline:
    return tuple(_outline(layer, names) for layer in network) if isinstance(network, Sequential) else next(names)
