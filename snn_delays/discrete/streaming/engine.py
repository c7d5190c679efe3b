"""A discrete network that takes one step of one recording at a time."""

import copy
import math
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, DTypeLike, NDArray

from snn_delays.discrete.network import DiscreteNetwork
from snn_delays.discrete.streaming import kernels
from snn_delays.discrete.streaming.program import Outline, Program, program_of
from snn_delays.errors import ConfigError, DataError, ExportError, ShapeError
from snn_delays.ir.canonical import CanonicalNetwork
from snn_delays.models import SpikeGPT, SpikeGPTClassifier
from snn_delays.nn import map_state

Array = NDArray[Any]


class StreamingEngine:
    r"""A discrete network for one recording, a step a call, without allocating.

    Computes what ``network(x)`` does, with the arithmetic of its layers: in float64 spike for spike, in float32 up to
    rounding (exactly, where weights are on a grid that float32 holds). Synapses cost time only for inputs that are not
    zero, and scale with them. The engine starts at rest, keeps its state from call to call and its own copy of the
    parameters.

    Args:
        network: what :func:`snn_delays.discrete.discretize` returned, on any device, or a canonical network
            (:mod:`snn_delays.ir.canonical`), whose layers are then ``hidden1.synapse``, ``hidden1.neuron``, ...
        dtype: float32 or float64.
        sensor: channels, rows and columns of the input of a convolutional network; None: ``network.sensor``.

    Attributes:
        in_features, out_features: length of a step's input and output; maps are flat, channel by channel, row by row.
        outputs: by dotted name every layer's output of the last step: spikes of a LIF, membranes of an integrator,
            currents of a synapse. Views that cannot be written and that the next step overwrites.

    Raises:
        ExportError: not a discrete network: a layer of another kind, delays that are not integers, values not finite,
            neurons in integer arithmetic, or a convolution whose input has no known size.
        ConfigError: another dtype.

    Not for several threads at once; engines of their own run beside each other, Python's lock is released.
    """

    def __init__(
        self,
        network: DiscreteNetwork | CanonicalNetwork,
        dtype: DTypeLike = np.float32,
        *,
        sensor: tuple[int, ...] | None = None,
    ) -> None:
        self.dtype = np.dtype(dtype)
        if self.dtype not in (np.float32, np.float64):
            raise ConfigError(f"the engine computes in float32 or float64, got dtype {self.dtype}")
        if isinstance(network, SpikeGPT | SpikeGPTClassifier):
            raise ExportError(f"a {type(network).__name__} reads tokens: LanguageEngine(network) takes its steps")
        self._take(program_of(network, self.dtype, sensor))
        # Compiled here, so that the first step takes no longer than the others.
        self.run(np.zeros((1, self.in_features)))
        self.step(np.zeros(self.in_features))
        self.step_events(np.zeros(0, np.int64))
        self.load_state(self.state())
        self.reset()

    def _take(self, program: Program) -> None:
        """Run on the arrays of a program: everything else is a view of them."""
        self._program, self._arrays = program, program.arrays
        self.in_features = int(program.table[0, kernels.INPUTS])
        self._input = program.values[: self.in_features]
        self._events = np.zeros(self.in_features, np.int64)
        places = program.places.items()
        self.outputs = MappingProxyType({name: read_only(program.values[place.output]) for name, place in places})
        self._output = list(self.outputs.values())[-1]
        self.out_features = self._output.size

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which go on by themselves from the present state."""
        return {"dtype": self.dtype, "program": copy.deepcopy(self._program)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.dtype = state["dtype"]
        self._take(state["program"])

    def step(self, x_t: ArrayLike) -> Array:
        """Advance by one step of spikes, counts or any real values, ``[in_features]``.

        Returns the last layer's output, ``[out_features]``: a view, which the next step overwrites. Raises ShapeError
        for another length, DataError for values that are not finite numbers; the state is then as before.
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
        """Advance by one step whose input is a list of events; returns what :meth:`step` does.

        ``indices``: the inputs that have an event in this step, integers ``[events]``, in any order, an input as often
        as it has events; may be empty. Raises ShapeError for other axes, DataError for what are no integers, or an
        input that does not exist; the state is then as before.
        """
        events = np.asarray(indices)
        if events.ndim != 1:
            raise ShapeError(f"the events of a step must be a list of inputs, got shape {events.shape}")
        if events.dtype.kind not in "iu" and events.size:
            raise DataError(f"the events of a step must be integers, got {events.dtype}")
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
        x = np.asarray(x)
        if x.ndim != 2 or x.shape[1] != self.in_features or x.dtype.kind not in "biuf":
            self._refuse(x, "a recording", ("time", self.in_features))
        steps = np.array(x, self.dtype, order="C")
        if not np.isfinite(steps).all():
            t, i = np.argwhere(~np.isfinite(steps))[0]
            raise DataError(f"input {i} of step {t} is {x[t, i]}, expected a finite number that {self.dtype} can hold")
        y = np.empty((len(steps), self.out_features), self.dtype)
        kernels.run(steps, y, *self._arrays)
        return y

    def reset(self) -> None:
        """Put everything at rest: membranes at their resting values, nothing under way, outputs zero."""
        self._program.table[:, kernels.SLOT] = 0
        self._program.state[:] = self._program.rest
        self._program.values[:] = 0

    def state(self) -> tuple:
        """A copy of the state, in the form of the network's own.

        ``network(x, engine.state())`` goes on where the engine is, as does an engine that it is loaded into.
        """
        return self._state_of(self._program.outline)

    def load_state(self, state: tuple | None) -> None:
        """Take the state that :meth:`state` or the network returned for a batch of one; None is the resting state.

        Outputs are zero until the next step, those of recurrent neurons their last spikes.

        Raises ShapeError for the state of another network or batch, DataError for values that are not finite; the
        engine is then as before.
        """
        parts = []
        for name, part in self._by_name(self._program.outline, state):
            place = self._program.places[name]
            parts.append((place, checked(name, place.rest, part, self.dtype)))
        self.reset()
        for place, numbers in parts:
            if place.membrane is not None:
                self._own(place.membrane)[: numbers[0].size] = numbers[0].ravel()
            if place.ring is not None:
                past = numbers[-1] if place.membrane is None else numbers[-1][:-1]
                kernels.replay(self._program.table[place.ring], past, *self._arrays[1:])
        for place, numbers in parts:
            if place.ring is not None and place.membrane is not None:
                self._program.values[place.output] = numbers[-1][-1]  # where the next step reads the last spikes

    def _own(self, row: int) -> Array:
        return self._program.state[self._program.table[row, kernels.STATE] :]

    def _history(self, row: int) -> Array:
        """The inputs of a ring's last steps, the oldest first, but for that which no delay reaches any more."""
        layer = self._program.table[row]
        width, outputs, rows = (int(layer[column]) for column in (kernels.INPUTS, kernels.OUTPUTS, kernels.ROWS))
        history = self._own(row)[rows * outputs :][: rows * width].reshape(rows, width)
        return np.roll(history, -layer[kernels.SLOT], 0)[1:]

    def _state_of(self, outline: Outline) -> Any:
        if isinstance(outline, tuple):
            return tuple(self._state_of(part) for part in outline)
        place, parts = self._program.places[outline], []
        if place.membrane is not None:
            parts.append(self._own(place.membrane))
        if place.ring is not None:
            history, spikes = self._history(place.ring), self._program.values[place.output][None]
            parts.append(history if place.membrane is None else np.concatenate([history, spikes]))
        numbers = iter(parts)
        return map_state(lambda rest: rest.new_tensor(next(numbers).flat[: rest.numel()]).view_as(rest), place.rest)

    def _by_name(self, outline: Outline, state: Any) -> list[tuple[str, Any]]:
        """The states of all layers by name."""
        if not isinstance(outline, tuple):
            return [(outline, state)]
        if state is None:
            state = (None,) * len(outline)
        if not isinstance(state, tuple) or len(state) != len(outline):
            raise ShapeError(
                f"the state is {described(state)}, expected a tuple with a part for each of {len(outline)} layers; "
                "pass what this network or its engine returned"
            )
        return [pair for inner, part in zip(outline, state) for pair in self._by_name(inner, part)]

    def _refuse(self, x: Array, what: str, expected: tuple[Any, ...]) -> None:
        if x.dtype.kind not in "biuf":
            raise DataError(f"{what} must hold real numbers, got an array of {x.dtype}")
        raise ShapeError(f"{what} must have shape ({', '.join(map(str, expected))}), got {x.shape}")


def checked(name: str, rest: Any, state: Any, dtype: DTypeLike, batch: int = 1) -> list[Array]:
    """The numbers ``[time, input]`` of a layer's state, which has the form of that at rest; None is at rest.

    Raises ShapeError for another form, DataError for values that are not finite.
    """
    state = rest if state is None else state
    if (given := described(state)) != (expected := described(rest)):
        what = ": it has no state" if rest is None else f" (batch {batch})"
        raise ShapeError(f"the state of {name} is {given}, expected {expected}{what}")
    if isinstance(rest, tuple):
        return [n for inner, part in zip(rest, state) for n in checked(name, inner, part, dtype, batch)]
    if rest is None:
        return []
    values = state.detach().cpu().numpy().astype(dtype)
    if bad := int((~np.isfinite(values)).sum()):
        raise DataError(f"the state of {name}: {bad} of {values.size} values are not finite; start from rest")
    return [np.ascontiguousarray(values).reshape(len(values), math.prod(values.shape[1:]))]


def read_only(view: Array) -> Array:
    """A view that cannot be written."""
    view = view.view()
    view.flags.writeable = False
    return view


def described(state: Any) -> str:
    """Class and shape of a state, in words."""
    if state is None:
        return "None"
    tensor = state[0] if isinstance(state, tuple) and len(state) == 1 else state
    if isinstance(tensor, torch.Tensor):
        return f"a {type(state).__name__} of shape {tuple(tensor.shape)}"
    return f"a {type(state).__name__}" + (f" of {len(state)} parts" if isinstance(state, tuple) else "")
