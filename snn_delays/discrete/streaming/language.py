"""SpikeGPT, a token of each of a few texts at a time."""

import copy
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from snn_delays.arguments import integer
from snn_delays.discrete.streaming import language_kernels as kernels
from snn_delays.discrete.streaming.engine import checked, read_only
from snn_delays.discrete.streaming.language_program import Language, Place, Program, program_of
from snn_delays.errors import ConfigError, DataError, ShapeError
from snn_delays.models import SpikeGPTClassifier
from snn_delays.nn import map_state

Array = NDArray[Any]


class LanguageEngine:
    r"""SpikeGPT or its classifier, a token of every text of a small batch at a time, without allocating.

    Computes what ``network(tokens, state)`` does: in float64 spike for spike, in float32 up to rounding. One compiled
    call on one thread does a whole token. The engine starts at rest, keeps its state from call to call, and its own
    copy of the parameters as they are when it is made: a network that is trained on needs a new engine.

    Args:
        network: SpikeGPT or SpikeGPTClassifier, on any device, with neurons, shifts and delays of any kind.
        dtype: float32 or float64.
        batch: how many texts.

    Attributes:
        out_features: numbers of an output for a text: tokens of the vocabulary, or classes.
        outputs: by dotted name every layer's output of the last step, ``[batch, neuron]`` (of a shift ``[mixes, batch,
            neuron]``): spikes of neurons, products of matrices. Views that cannot be written and that the next step
            overwrites.

    Raises:
        ExportError: another network; a layer in it that is a subclass, has hooks or constants for each neuron; values
            not finite; half precision; training with dropout.
        ConfigError: another dtype or batch.

    Not for several threads at once; engines of their own run beside each other, Python's lock is released.
    """

    def __init__(self, network: Language, dtype: DTypeLike = np.float32, *, batch: int = 1) -> None:
        self.dtype, self.batch = np.dtype(dtype), integer("batch", batch, 1)
        if self.dtype not in (np.float32, np.float64):
            raise ConfigError(f"the engine computes in float32 or float64, got dtype {self.dtype}")
        self._mean = isinstance(network, SpikeGPTClassifier)
        self._take(program_of(network, self.dtype, self.batch))
        # Compiled here, so that the first token takes no longer than the others.
        self.step(np.zeros(self.batch, np.int64))
        self.reset()

    def _take(self, program: Program) -> None:
        """Run on the arrays of a program: everything else is a view of them."""
        self._program, self._arrays = program, program.arrays
        self.tokens = int(program.table[0, kernels.ROWS])
        places = program.outputs.items()
        self.outputs = MappingProxyType(
            {name: read_only(program.values[place].reshape(shape)) for name, (place, shape) in places}
        )
        self._output = list(self.outputs.values())[-1]
        self.out_features = self._output.shape[1]

    def __getstate__(self) -> dict[str, Any]:
        """For copies and pickles, which go on by themselves from the present state."""
        kept = {name: vars(self)[name] for name in ("dtype", "batch", "_mean")}
        return kept | {"program": copy.deepcopy(self._program)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        program = state.pop("program")
        vars(self).update(state)
        self._take(program)

    def step(self, tokens: ArrayLike) -> Array:
        """Read the next token of every text, ``[batch]``, or a number where there is one text.

        Returns logits of the token after it, ``[batch, tokens]``, or the scores of this token alone, ``[batch,
        classes]``: a view, which the next step overwrites. Raises ShapeError for another length, DataError for a token
        that is not in the vocabulary; the state is then as before.
        """
        x = np.asarray(tokens)
        if x.shape != (self.batch,) and not (x.shape == () and self.batch == 1):
            raise ShapeError(f"a step reads tokens of shape ({self.batch},), a token of each text; got {x.shape}")
        bad = kernels.step(self._integers(x).reshape(self.batch), *self._arrays)
        if bad >= 0:
            self._refuse(int(x.flat[bad]), f"of text {bad}")
        return self._output

    def run(self, tokens: ArrayLike) -> Array:
        """Read all tokens of texts of one length, ``[time, batch]``.

        Returns new arrays: the logits after each token, ``[time, batch, tokens]``, or the scores of all of them,
        ``[batch, classes]``. Goes on from the present state: :meth:`reset` first for new texts. Raises ShapeError or
        DataError as :meth:`step` does, before anything has changed.
        """
        x = np.asarray(tokens)
        if x.ndim != 2 or x.shape[1] != self.batch or not (len(x) or not self._mean):
            least = "at least one token each, " if self._mean else ""
            raise ShapeError(f"texts must be tokens of shape (time, {self.batch}), {least}got {x.shape}")
        texts = self._integers(x)
        outside = np.argwhere((texts < 0) | (texts >= self.tokens))
        if len(outside):
            t, s = outside[0]
            self._refuse(int(x[t, s]), f"at place {t} of text {s}")
        y = np.empty((len(texts), *self._output.shape), self.dtype)
        for t, each in enumerate(texts):
            kernels.step(each, *self._arrays)
            y[t] = self._output
        return y.mean(0) if self._mean else y

    def reset(self) -> None:
        """Put everything at rest, as before the first token of a text; outputs are zero."""
        self._program.values[:] = 0
        self._put(self._program.rest)

    def state(self) -> tuple[Any, ...]:
        """A copy of the state, in the form of the network's own: ``network(x, engine.state())`` goes on from it."""
        places = iter(self._program.places)
        return map_state(lambda rest: rest.new_tensor(self._now(next(places), rest.shape)), self._program.rest)

    def load_state(self, state: tuple[Any, ...] | None) -> None:
        """Take the state that :meth:`state` or the network returned for as many texts; None is the resting state.

        So the network can read a long prompt at once, and the engine goes on. Outputs are zero until the next step.

        Raises ShapeError for the state of another network or batch, DataError for values that are not finite; the
        engine is then as before.
        """
        self._program.values[:] = 0
        self._put(state)

    def _put(self, state: Any) -> None:
        table = self._program.table
        numbers = checked("the network", self._program.rest, state, self.dtype, self.batch)
        for place, given in zip(self._program.places, numbers, strict=True):
            self._own(place)[: given.size] = given.ravel()
            if place.ring:  # oldest first; the row behind them is the next
                table[place.row, kernels.SLOT] = len(given)

    def _own(self, place: Place) -> Array:
        return self._program.state[self._program.table[place.row, kernels.STATE] + place.offset :]

    def _now(self, place: Place, shape: tuple[int, ...]) -> Array:
        """The numbers of a tensor of the state."""
        if not place.ring:
            return self._own(place)[: np.prod(shape)].reshape(shape)
        ring = self._own(place)[: (shape[0] + 1) * np.prod(shape[1:])].reshape(-1, *shape[1:])
        return np.roll(ring, -self._program.table[place.row, kernels.SLOT], 0)[1:]

    def _integers(self, x: Array) -> Array:
        if x.dtype.kind not in "iu" and x.size:
            raise DataError(f"tokens must be integers, got {x.dtype}")
        return np.ascontiguousarray(x, np.int64)

    def _refuse(self, token: int, where: str) -> None:
        raise DataError(
            f"the token {where} is {token}, the vocabulary has {self.tokens}, 0..{self.tokens - 1}: encode the text "
            "with the vocabulary the network was made for"
        )
