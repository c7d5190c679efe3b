"""Samples side by side, and which samples are meant: the one place where indices are checked."""

import operator
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.arguments import integer
from snn_delays.data.numbers import first_true
from snn_delays.errors import ConfigError, DataError, SampleIndexError

Indices = Sequence[int] | Sequence[bool] | NDArray[np.integer[Any]] | NDArray[np.bool_]
Padding = Literal["masked", "published"]


class Batch(NamedTuple):
    """Samples side by side.

    ``counts`` uint8 (float32 where the input is not of spikes) ``[time, batch, channel]``, of an event camera ``[time,
    batch, polarity, y, x]``, zero after a sample's end; ``lengths`` int64 ``[batch]``, in steps: how
    far the readout and the loss may look; ``labels`` int64 ``[batch]`` (float32 ``[batch, class]`` after CutMix).
    """

    counts: Tensor
    lengths: Tensor
    labels: Tensor


def pad_collate(samples: Sequence[tuple[Tensor, int]], tail_steps: int = 0, padding: Padding = "masked") -> Batch:
    """The ``collate_fn`` of a ``DataLoader`` over a :class:`BinnedDataset`: ``counts``, ``lengths``, ``labels``.

    ``samples``: pairs ``(counts [time, *sensor], label)``. They are padded with zeros at the end and put side by side,
    ``[time, batch, *sensor]``, as :meth:`BinnedDataset.batch` does; ``functools.partial`` sets ``tail_steps`` and
    ``padding``, which mean the same there. Raises DataError for no samples or samples of different sensors.
    """
    tail_steps = check_padding(tail_steps, padding)
    if not samples:
        raise DataError("a batch needs at least one sample")
    kinds = {(tuple(counts.shape[1:]), counts.dtype) for counts, _ in samples}
    if len(kinds) > 1:
        raise DataError(f"samples of a batch differ in sensor or dtype: {sorted(map(str, kinds))}")
    lengths = torch.tensor([len(counts) + tail_steps for counts, _ in samples])
    first = samples[0][0]
    padded = first.new_zeros((int(lengths.max()), len(samples), *first.shape[1:]))
    for i, (counts, _) in enumerate(samples):
        padded[: len(counts), i] = counts
    if padding == "published":
        lengths.fill_(int(lengths.max()))
    return Batch(padded, lengths, torch.tensor([int(label) for _, label in samples]))


def check_padding(tail_steps: int, padding: str) -> int:
    """``tail_steps`` as an int. Raises ConfigError if it is negative, or for an unknown padding."""
    if padding not in ("masked", "published"):
        raise ConfigError(f"unknown padding {padding!r}; choose masked or published")
    return integer("tail_steps", tail_steps, least=0)


def sample_indices(indices: Any, n: int) -> NDArray[np.int64]:
    """Numbers of the samples chosen out of ``n``, int64 ``[chosen]``, in the order given.

    ``indices``: integers of any kind from 0 to ``n - 1``, as a list, range, array or tensor; or a boolean mask of
    length ``n``, which selects. Raises SampleIndexError (a DataError and an IndexError) for anything else: fractions,
    negative numbers, a mask of another length.
    """
    try:
        array = np.asarray(indices)
    except (TypeError, ValueError, RuntimeError) as error:  # a tensor of a GPU, a ragged list
        raise SampleIndexError(f"indices cannot be read as one array of integers: {error}") from error
    if array.ndim != 1:
        raise SampleIndexError(f"indices must have one axis [sample], got shape {array.shape}")
    if array.dtype == np.bool_:
        if array.size != n:
            raise SampleIndexError(f"a mask over {n} samples needs as many entries, got {array.size}")
        return np.flatnonzero(array)
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.dtype.kind not in "iu":
        raise SampleIndexError(
            f"indices must be integers or a boolean mask, got {array.dtype} such as {array[0]!r}; convert them first"
        )
    if (i := first_true((array < 0) | (array >= n))) is not None:
        raise SampleIndexError(f"indices must lie in 0 to {n - 1}, got indices[{i}] = {array[i]}")
    return array.astype(np.int64, copy=False)


def sample_index(i: Any, n: int) -> int:
    """The number of one sample out of ``n``. Raises SampleIndexError unless it is an integer from 0 to ``n - 1``."""
    try:
        number = -1 if isinstance(i, bool | np.bool_) else operator.index(i)
    except TypeError:
        raise SampleIndexError(
            f"one sample is chosen by an integer, got {i!r}; subset() and batch() take several"
        ) from None
    if not 0 <= number < n:
        raise SampleIndexError(f"indices must lie in 0 to {n - 1}, got {i}")
    return number
