"""Text in batches: random crops of a corpus to train on, every token once to evaluate, sentences padded.

Throughout, ``x`` and ``y`` are int64 ``[time, batch]`` and ``y`` is the token after ``x``.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from snn_delays.arguments import integer
from snn_delays.errors import DataError

Counted = tuple[torch.Tensor, torch.Tensor, torch.Tensor]


class RandomCrops:
    """Pieces of ``context`` tokens that begin anywhere in a split, every one of ``positions`` equally likely.

    ``tokens``: int ``[token]``. Raises DataError if the split has no ``context + 1`` tokens.
    """

    def __init__(self, tokens: NDArray[np.int32], context: int) -> None:
        context = integer("context", context, least=1)
        if len(tokens) <= context:
            raise DataError(f"{len(tokens)} tokens are too few for crops of {context} and the token after each")
        self.tokens, self.context = tokens, context
        self.positions = len(tokens) - context

    def batch(self, count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """``count`` crops ``(x, y)`` on the CPU, drawn with replacement; the same from the same state of ``generator``.

        Raises ConfigError for a count below 1.
        """
        count = integer("count", count, least=1)
        starts = torch.randint(self.positions, (count,), generator=generator, device=generator.device).cpu().numpy()
        crops = self.tokens[np.arange(self.context + 1)[:, None] + starts].astype(np.int64)
        return torch.from_numpy(crops[:-1]), torch.from_numpy(crops[1:])


def windows(tokens: NDArray[np.int32], context: int, batch: int) -> Iterator[Counted]:
    """All of a split in windows of ``context`` tokens that do not overlap, each to start from rest, in file order.

    Yields ``(x, y, counted)`` of ``context`` steps and up to ``batch`` windows. Every token but the split's first is in
    ``y`` where ``counted`` (bool ``[time, batch]``) is true exactly once: the first of a window is predicted by the
    last step of the window before. The last window is padded with tokens 0 that do not count.

    Raises DataError for a split of fewer than two tokens, ConfigError for a context or batch below 1.
    """
    context, batch = integer("context", context, least=1), integer("batch", batch, least=1)
    starts = np.arange(0, _predictions(tokens), context)
    for first in range(0, len(starts), batch):
        yield _pieces(tokens, starts[first : first + batch], len(tokens) - 1, context)


def streams(tokens: NDArray[np.int32], streams: int, chunk: int) -> Iterator[Counted]:
    """All of a split as ``streams`` long pieces side by side, in chunks of ``chunk`` steps, state to be carried on.

    Column i of every chunk goes on where column i of the chunk before ended. Column 0 begins at the split's first
    token, column i at the token that column i - 1 predicts last. Yields ``(x, y, counted)`` as :func:`windows` does, of
    ``streams`` columns and ``chunk`` steps, the last chunk of fewer; columns that are one token shorter end in a token
    that does not count.

    Raises DataError for a split with fewer predictions than streams, ConfigError for streams or a chunk below 1.
    """
    streams, chunk = integer("streams", streams, least=1), integer("chunk", chunk, least=1)
    n = _predictions(tokens)
    if n < streams:
        raise DataError(f"{len(tokens)} tokens are too few for {streams} streams; take at most {n}")
    bounds = np.arange(streams + 1, dtype=np.int64) * n // streams
    longest = int(np.diff(bounds).max())
    for first in range(0, longest, chunk):
        yield _pieces(tokens, bounds[:-1] + first, bounds[1:], min(chunk, longest - first))


def _pieces(tokens: NDArray[np.int32], starts: NDArray[np.int64], ends: NDArray[np.int64] | int, steps: int) -> Counted:
    """Inputs from ``starts``, ``steps`` of them, of which those before ``ends`` count."""
    at = np.arange(steps)[:, None] + starts
    counted = at < ends
    x, y = (np.where(counted, tokens[np.where(counted, at + later, 0)], 0).astype(np.int64) for later in (0, 1))
    return torch.from_numpy(x), torch.from_numpy(y), torch.from_numpy(counted)


def _predictions(tokens: NDArray[np.int32]) -> int:
    if len(tokens) < 2:
        raise DataError(f"a split of {len(tokens)} tokens has nothing to predict; it needs at least 2")
    return len(tokens) - 1


def pad(sentences: Sequence[NDArray[np.int32]]) -> tuple[torch.Tensor, torch.Tensor]:
    """A batch of sentences: tokens int64 ``[time, batch]``, 0 after the end of each, and lengths int64 ``[batch]``.

    Raises DataError for no sentence at all, or one without tokens.
    """
    lengths = [len(sentence) for sentence in sentences]
    if not all(lengths) or not lengths:
        which = f"sentence {lengths.index(0)} has no tokens" if lengths else "there is no sentence"
        raise DataError(f"cannot make a batch: {which}")
    tokens = np.zeros((max(lengths), len(lengths)), np.int64)
    for i, sentence in enumerate(sentences):
        tokens[: lengths[i], i] = sentence
    return torch.from_numpy(tokens), torch.tensor(lengths)
