"""SpikeGPT laid out flat, as :mod:`snn_delays.discrete.streaming.language_kernels` runs it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from snn_delays.discrete.streaming import language_kernels as kernels
from snn_delays.errors import ExportError
from snn_delays.models import SpikeGPT, SpikeGPTClassifier
from snn_delays.models.spikegpt import SpikingBranch
from snn_delays.nn import LIF, DelayShift, NeuronDelays, SpikingChannelMix, SpikingEmbedding, SpikingTimeMix, map_state
from snn_delays.nn.kinds import alteration, apply_pruning, kind_of, stranger
from snn_delays.nn.rwkv import Linear

Array = NDArray[Any]
Language = SpikeGPT | SpikeGPTClassifier
# The kinds whose arithmetic is copied.
COPIED = (
    SpikeGPT, SpikeGPTClassifier, SpikingBranch, SpikingTimeMix, SpikingChannelMix, SpikingEmbedding, DelayShift,
    NeuronDelays, Linear, nn.Linear, nn.LayerNorm, LIF, nn.ModuleList, nn.ModuleDict,
)  # fmt: skip
ALIGNED = 64  # bytes, of every matrix: a line of the cache


@dataclass(frozen=True)
class Place:
    """Where a tensor of the state is: in the state of a row of the table, so far in; a ring that turns, or not."""

    row: int
    offset: int = 0
    ring: bool = False


@dataclass(frozen=True)
class Program:
    """The arrays of a network, its state at rest with the places of its tensors, and where signals are, by name."""

    table: NDArray[np.int64]
    active: NDArray[np.int64]
    numbers: Array
    state: Array
    values: Array
    rest: tuple[Any, ...]
    places: list[Place]
    outputs: dict[str, tuple[slice, tuple[int, ...]]]

    @property
    def arrays(self) -> tuple[Array, ...]:
        """What every kernel takes."""
        return self.table, self.active, self.numbers, self.state, self.values


@torch.no_grad()
def program_of(network: Language, dtype: np.dtype[Any], batch: int) -> Program:
    """Lay a network out. Raises ExportError for one that is not as its classes say, or cannot be computed here."""
    if not isinstance(network, SpikeGPT | SpikeGPTClassifier):
        raise ExportError(
            f"a {type(network).__name__} is no SpikeGPT or SpikeGPTClassifier; other networks are discretised and "
            "take steps in a StreamingEngine"
        )
    for name, module in network.named_modules():
        apply_pruning(module)
        reason = stranger(module, COPIED) or alteration(module)
        if reason or kind_of(module) not in COPIED:
            raise ExportError(
                f"layer {name!r} ({type(module).__name__}) {reason or 'is none that SpikeGPT is made of'}"
            )
    for name, tensor in network.state_dict().items():
        if bad := int((~torch.isfinite(tensor)).sum()):
            raise ExportError(f"{name}: {bad} of {tensor.numel()} values are not finite; take an earlier checkpoint")
    return _Layout(network, dtype, batch).program()


class _Layout:
    """The parts of a program so far. A signal is where its ``batch * width`` numbers begin in ``values``."""

    def __init__(self, network: Language, dtype: np.dtype[Any], batch: int) -> None:
        self.network, self.dtype, self.batch = network, dtype, batch
        self.names = {module: name for name, module in network.named_modules()}
        self.rows: list[NDArray[np.int64]] = []
        self.numbers: list[Array] = []
        self.counts = {kernels.NUMBERS: 0, kernels.STATE: 0}
        self.end = kernels.TILE * kernels.lanes_of(dtype)
        self.outputs: dict[str, tuple[slice, tuple[int, ...]]] = {}

    def program(self) -> Program:
        """Lay everything out, in the order in which it is computed."""
        network = self.network
        gpt = network.network if isinstance(network, SpikeGPTClassifier) else network
        weight = gpt.embedding.weight
        if weight.dtype not in (torch.float32, torch.float64):
            raise ExportError(f"the network computes in {weight.dtype}; network.float() can take single steps")
        if network.training and gpt.dropout:
            raise ExportError(f"the network is in training, where dropout = {gpt.dropout:g} acts: network.eval() first")
        self.width = weight.shape[1]
        # A token's spikes and their norm are the same wherever it stands.
        every = torch.arange(len(weight), device=weight.device)[:, None]
        stream = self._row(kernels.EMBED, 0, numbers=gpt.norm_in(gpt.embedding(every)[0]), rows=len(weight))
        places = list[Place]()
        for branch in gpt.branches():
            y, own = self._branch(branch, stream)
            stream, places = self._row(kernels.ADD, stream, y), places + own
        head = network.classes if isinstance(network, SpikeGPTClassifier) else network.head
        self._matrix(head, self._norm(gpt.norm_out, stream))
        rest = map_state(lambda t: t.detach().cpu(), gpt.stream(every[:0].expand(0, self.batch))[1])
        numbers = aligned(self.counts[kernels.NUMBERS], self.dtype)
        np.concatenate(self.numbers, out=numbers)
        widest = max(int(row[kernels.WIDTH]) for row in self.rows)
        active = np.tile(np.arange(widest + 1), 2)
        state = np.zeros(self.counts[kernels.STATE], self.dtype)
        values = aligned(self.end, self.dtype)
        return Program(np.array(self.rows), active, numbers, state, values, rest, places, self.outputs)

    def _row(
        self, kind: int, source: int, second: int = 0, *, width: int = 0, outputs: int = 0, of: nn.Module | None = None,
        numbers: Any = (), state: int = 0, rows: int = 0, **flags: Any,
    ) -> int:  # fmt: skip
        """A new row of the table; returns its output's place."""
        row, width = np.zeros(kernels.COLUMNS, np.int64), width or self.width
        outputs = outputs or width
        row[[kernels.KIND, kernels.WIDTH, kernels.OUTPUTS, kernels.ROWS]] = kind, width, outputs, rows
        row[[kernels.SOURCE, kernels.SECOND, kernels.TARGET]] = source, second, self.end
        for flag, value in flags.items():
            row[getattr(kernels, flag)] = value
        row[list(self.counts)] = list(self.counts.values())
        if isinstance(numbers, Tensor):
            numbers = numbers.detach().cpu().numpy()
        numbers = np.asarray(numbers, self.dtype).ravel()
        self.numbers += [numbers, np.zeros(-numbers.size % (ALIGNED // self.dtype.itemsize), self.dtype)]
        self.counts[kernels.NUMBERS] += sum(part.size for part in self.numbers[-2:])
        self.counts[kernels.STATE] += state
        if of is not None:
            shape = (outputs // width, self.batch, width) if kind == kernels.SHIFT else (self.batch, outputs)
            self.outputs[self.names[of]] = slice(self.end, self.end + self.batch * outputs), shape
        self.rows.append(row)
        self.end += self.batch * outputs
        return int(row[kernels.TARGET])

    def _branch(self, branch: SpikingBranch, stream: int) -> tuple[int, list[Place]]:
        """What a branch adds to the stream, and the places of its state in the order of its tensors."""
        mixing, line, neuron = branch.mixing, list[Place](), list[Place]()
        (xs, places) = self._shift(mixing.shift, mixing.shift, self._norm(branch.norm, stream))
        inside: list[Place] = []
        if isinstance(mixing, SpikingTimeMix):
            k, v, r = (self._product(mixing, *each, inside) for each in zip(("key", "value", "receptance"), xs))
            places += [Place(len(self.rows), i * self.batch * self.width) for i in range(3)]
            numbers = torch.stack([-torch.exp(mixing.time_decay), mixing.time_first])
            average = self._row(kernels.WKV, k, v, numbers=numbers, state=3 * self.batch * self.width)
            y = self._product(mixing, "output", self._row(kernels.GATE, r, average), inside)
        else:
            k, r = (self._product(mixing, *each, inside) for each in zip(("key", "receptance"), xs))
            square = self._row(kernels.SQUARE, k, width=mixing.key.out_features)
            y = self._row(kernels.GATE, r, self._product(mixing, "value", square, inside))
        if branch.delays is not None and not branch.axonal:
            (y,), line = self._shift(branch.delays, branch.delays.shift, y)
        if branch.neuron is not None:
            y = self._neurons(branch.neuron, y, self.width, neuron)
        if branch.delays is not None and branch.axonal:
            (y,), line = self._shift(branch.delays, branch.delays.shift, y)
        return y, places + inside + neuron + line

    def _product(self, mixing: Any, name: str, x: int, places: list[Place]) -> int:
        """A matrix of a mixing, behind its norm and its neurons, if any."""
        matrix = getattr(mixing, name)
        if name in mixing.norms:
            x = self._norm(mixing.norms[name], x)
        if name in mixing.neurons:
            x = self._neurons(mixing.neurons[name], x, matrix.in_features, places)
        return self._matrix(matrix, x, sparse=name in mixing.neurons or matrix.in_features > self.width)

    def _norm(self, norm: nn.LayerNorm, x: int) -> int:
        numbers = torch.cat([norm.weight, norm.bias, norm.weight.new_tensor([norm.eps])])
        return self._row(kernels.NORM, x, width=len(norm.weight), numbers=numbers, of=norm)

    def _matrix(self, matrix: nn.Linear, x: int, sparse: bool = False) -> int:
        outputs, inputs = matrix.weight.shape
        lanes = kernels.lanes_of(self.dtype)
        rows = -(-outputs // lanes)
        bias = torch.zeros(outputs) if matrix.bias is None else matrix.bias
        padded = torch.zeros(rows * lanes, inputs + 1, dtype=matrix.weight.dtype)
        padded[:outputs] = torch.cat([bias.to(matrix.weight)[:, None], matrix.weight], 1)
        panels = padded[:, 1:].unflatten(0, (rows, lanes)).transpose(1, 2)
        numbers = torch.cat([padded[:, 0], panels.flatten()])
        return self._row(kernels.MATRIX, x, width=inputs, outputs=outputs, numbers=numbers, SPARSE=sparse, of=matrix)

    def _shift(self, named: nn.Module, shift: DelayShift, x: int) -> tuple[list[int], list[Place]]:
        """The mixtures of a shift."""
        kernel = shift.kernel()
        rows, mixes, width = kernel.shape
        place = Place(len(self.rows), ring=True)
        y = self._row(
            kernels.SHIFT,
            x,
            outputs=mixes * width,
            numbers=kernel,
            state=rows * self.batch * width,
            rows=rows,
            of=named,
        )
        return [y + m * self.batch * width for m in range(mixes)], [place]

    def _neurons(self, neuron: LIF, x: int, width: int, places: list[Place]) -> int:
        if constants := neuron.per_neuron():
            raise ExportError(f"{self.names[neuron]} has a {next(iter(constants))} of its own for every neuron")
        decay = self.dtype.type(neuron.decay)
        gain = self.dtype.type(1) - decay if neuron.decay_input else self.dtype.type(1)
        places.append(Place(len(self.rows)))
        return self._row(
            kernels.NEURONS, x, width=width, numbers=[decay, gain, neuron.threshold, neuron.v_reset],
            state=self.batch * width, STRICT=neuron.strict, SOFT=neuron.reset == "soft", of=neuron,
        )  # fmt: skip


def aligned(size: int, dtype: np.dtype[Any]) -> Array:
    """Zeros that begin where a line of the cache does."""
    more = np.zeros(size + ALIGNED // dtype.itemsize, dtype)
    begin = -more.ctypes.data % ALIGNED // dtype.itemsize
    return more[begin : begin + size]
