"""Which samples are meant: numbers, or a mask over all of them. The one place where indices are checked."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import SampleIndexError

Indices = Sequence[int] | Sequence[bool] | NDArray[np.integer[Any]] | NDArray[np.bool_]


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
    outside = (array < 0) | (array >= n)
    if outside.any():
        i = int(outside.argmax())
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
    if isinstance(i, bool | np.bool_) or not 0 <= number < n:
        raise SampleIndexError(f"indices must lie in 0 to {n - 1}, got {i}")
    return number
