"""A discrete network that takes one step of one recording at a time."""

import copy
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray

from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.discrete.streaming import kernels
from snn_delays.discrete.streaming.program import Outline, Program, program_of
from snn_delays.errors import ConfigError, DataError, ShapeError
from snn_delays.nn import DelayLineState, MembraneState

Array = NDArray[Any]


class StreamingEngine:
    r"""A discrete network for one recording, a step a call, without allocating.

    Computes what ``network(x)`` does, with the arithmetic of its layers: in float64 spike for spike, in float32 up to
    rounding (exactly, where weights are on a grid that float32 holds). Synapses cost time only for inputs that are not
    zero, and scale with them. The engine is at rest when made, keeps its state from call to call and its own copy of
    the parameters.

    Args:
        network: what :func:`snn_delays.discrete.discretize` returned, on any device.
        dtype: float32 or float64.

    Attributes:
        in_features, out_features: length of a step's input and output.
        outputs: by dotted name every layer's output of the last step: spikes of a LIF, membranes of an integrator,
            currents of a synapse. Views that cannot be written and that the next step overwrites.

    Raises:
        ExportError: not a discrete network: a layer of another kind, delays that are not whole, values not finite.
        ConfigError: another dtype.

    Not for several threads at once; engines of their own run beside each other, Python's lock is released.
    """

    def __init__(self, network: DiscreteNetwork, dtype: DTypeLike = np.float32) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ConfigError(f"the engine computes in float32 or float64, got dtype {self.dtype}")
        program = program_of(network, self.dtype)
        self._take(program, program.state.copy())
        # Compiled here, so that the first step takes no longer than the others.
        self.run(np.zeros((1, self.in_features)))
        self.step(np.zeros(self.in_features))
        self.step_events(np.zeros(0, np.int64))
        self.load_state(self.state())
        self.reset()

    def _take(self, program: Program, rest: Array) -> None:
        """Run on the arrays of a program, with the state at rest apart: everything else is a view of them."""
        self._program, self._arrays, self._rest = program, program.arrays, rest
        self.in_features = int(program.table[0, kernels.INPUTS])
        self._input = program.values[: self.in_features]
        self._events = np.zeros(self.in_features, np.int64)
        self.outputs = MappingProxyType({name: _read_only(program.values[s]) for name, s in program.outputs.items()})
        self._output = list(self.outputs.values())[-1]
        self.out_features = self._output.size

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which go on by themselves from the present state."""
        return {"dtype": self.dtype, "program": copy.deepcopy(self._program), "rest": self._rest.copy()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.dtype = state["dtype"]
        self._take(state["program"], state["rest"])

    def step(self, x_t: ArrayLike) -> Array:
        """Advance by one step.

        Args:
            x_t: spikes, counts or any real values, ``[in_features]``.

        Returns:
            The last layer's output, ``[out_features]``: a view, which the next step overwrites.

        Raises:
            ShapeError: another length. DataError: values that are not finite numbers. The state is then as before.
        """
        x = np.asarray(x_t)
        if x.shape != self._input.shape or x.dtype.kind not in "biuf":
            self._refuse(x, "a step", (self.in_features,))
        self._input[:] = x
        bad = kernels.step(*self._arrays)
        if bad >= 0:
            raise DataError(f"input {bad} of the step is {x[bad]}, expected a finite number that {self.dtype} can hold")
        return self._output

    def step_events(self, indices: ArrayLike) -> Array:
        """Advance by one step whose input is a list of events.

        Args:
            indices: the inputs that have an event in this step, whole numbers ``[events]``, in any order, an input as
                often as it has events; may be empty.

        Returns:
            As :meth:`step`.

        Raises:
            ShapeError: not one axis. DataError: not whole numbers, or an input that does not exist. The state is then
                as before.
        """
        events = np.asarray(indices)
        if events.ndim != 1:
            raise ShapeError(f"the events of a step must be a list of inputs, got shape {events.shape}")
        if events.dtype.kind not in "iu" and events.size:
            raise DataError(f"the events of a step must be whole numbers, got {events.dtype}")
        if events.size > self._events.size:
            self._events = np.zeros(2 * events.size, np.int64)
        self._events[: events.size] = events
        bad = kernels.step_events(self._events, events.size, *self._arrays)
        if bad >= 0:
            raise DataError(f"event {bad} of the step is at input {events[bad]}, inputs are 0..{self.in_features - 1}")
        return self._output

    def run(self, x: ArrayLike) -> Array:
        """Advance by all steps of ``x``, ``[time, in_features]``; returns a new array ``[time, out_features]``.

        Goes on from the present state: :meth:`reset` first for a new recording. Raises ShapeError or DataError as
        :meth:`step` does, before anything has changed.
        """
        given = np.asarray(x)
        if given.ndim != 2 or given.shape[1] != self.in_features or given.dtype.kind not in "biuf":
            self._refuse(given, "a recording", ("time", self.in_features))
        made = np.array(given, self.dtype, order="C")
        if not np.isfinite(made).all():
            t, i = np.argwhere(~np.isfinite(made))[0]
            raise DataError(
                f"input {i} of step {t} is {given[t, i]}, expected a finite number that {self.dtype} can hold"
            )
        y = np.empty((len(made), self.out_features), self.dtype)
        kernels.run(made, y, *self._arrays)
        return y

    def reset(self) -> None:
        """Put everything at rest: membranes at their resting values, nothing under way, outputs zero."""
        self._program.table[:, kernels.SLOT] = 0
        self._program.state[:] = self._rest
        self._program.values[:] = 0

    def state(self) -> tuple:
        """A copy of the state, in the form of the network's own.

        ``network(x, engine.state())`` goes on where the engine is, as does an engine that it is loaded into.
        """
        return self._assemble(self._program.outline)

    def load_state(self, state: tuple | None) -> None:
        """Take the state that :meth:`state` or the network returned for a batch of one; None is the resting state.

        Outputs are zero until the next step. Raises ShapeError for the state of another network or batch, DataError for
        values that are not finite; the engine is then as before.
        """
        parts = self._parts(self._program.outline, state)
        checked = [None if part is None else self._checked(number, part) for number, part in parts]
        self.reset()
        for (number, _), part in zip(parts, checked):
            row = self._program.table[number]
            if part is None:
                continue
            if row[kernels.KIND] == kernels.SYNAPSE:
                kernels.replay(row, part, *self._arrays[1:])
            else:
                self._program.state[row[kernels.STATE] :][: part.size] = part

    def _assemble(self, outline: Outline) -> Any:
        if isinstance(outline, tuple):
            return tuple(self._assemble(part) for part in outline)
        row = self._program.table[outline]
        own, width = self._program.state[row[kernels.STATE] :], int(row[kernels.INPUTS])
        if row[kernels.KIND] != kernels.SYNAPSE:
            return MembraneState(torch.from_numpy(own[:width].copy())[None])
        rows, slot = int(row[kernels.ROWS]), row[kernels.SLOT]
        history = own[rows * row[kernels.OUTPUTS] :][: rows * width].reshape(rows, width)
        # The oldest input is in the row that is written next, and no delay reaches it any more.
        return DelayLineState(torch.from_numpy(np.roll(history, -slot, 0)[1:].copy())[:, None])

    def _parts(self, outline: Outline, state: Any) -> list[tuple[int, Any]]:
        """States of all layers, each with the layer's number."""
        if not isinstance(outline, tuple):
            return [(outline, state)]
        if state is None:
            state = (None,) * len(outline)
        if not isinstance(state, tuple) or len(state) != len(outline):
            raise ShapeError(
                f"the state is {_described(state)}, expected a tuple with a part for each of {len(outline)} layers; "
                "pass what this network or its engine returned"
            )
        return [found for inner, part in zip(outline, state) for found in self._parts(inner, part)]

    def _checked(self, number: int, part: Any) -> Array:
        """A layer's state as an array without the batch."""
        row, name = self._program.table[number], list(self.outputs)[number]
        synapse = row[kernels.KIND] == kernels.SYNAPSE
        wanted, width = DelayLineState if synapse else MembraneState, int(row[kernels.INPUTS])
        shape = (int(row[kernels.ROWS]) - 1, 1, width) if synapse else (1, width)
        if not isinstance(part, wanted) or tuple(part[0].shape) != shape:
            raise ShapeError(
                f"the state of {name} is {_described(part)}, expected a {wanted.__name__} of shape {shape} (batch 1)"
            )
        values = part[0].detach().cpu().numpy().astype(self.dtype)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).sum())
            raise DataError(f"the state of {name}: {bad} of {values.size} values are not finite; start from rest")
        return np.ascontiguousarray(values.reshape(-1, width) if synapse else values[0])

    def _refuse(self, x: Array, what: str, expected: tuple[Any, ...]) -> None:
        if x.dtype.kind not in "biuf":
            raise DataError(f"{what} must hold real numbers, got an array of {x.dtype}")
        raise ShapeError(f"{what} must have shape ({', '.join(map(str, expected))}), got {x.shape}")


def _read_only(view: Array) -> Array:
    view = view.view()
    view.flags.writeable = False
    return view


def _described(state: Any) -> str:
    shape = getattr(state[0], "shape", None) if isinstance(state, tuple) and len(state) == 1 else None
    if shape is not None:
        return f"a {type(state).__name__} of shape {tuple(shape)}"
    return f"a {type(state).__name__}" + (f" of {len(state)} parts" if isinstance(state, tuple) else "")
