"""A binned data set out of what a user has in memory: events, or counts."""

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.events import Events
from snn_delays.errors import DataError


def from_arrays(
    recordings: Sequence[Any] | NDArray[Any],
    labels: Sequence[int] | Sequence[str] | NDArray[Any],
    binning: Binning | None,
    speakers: Sequence[int] | NDArray[Any] | None,
    class_names: Sequence[str] | None,
    source: str,
) -> dict[str, Any]:
    """The arguments of the :class:`BinnedDataset` that :meth:`BinnedDataset.from_arrays` returns."""
    binning = binning or Binning(channel_group=1)
    if len(recordings) == 0:
        raise DataError("a data set needs at least one recording")
    parts = [_counts(i, recording, binning) for i, recording in enumerate(recordings)]
    if len(kinds := {(part.shape[1:], part.dtype) for part in parts}) > 1:
        raise DataError(f"recordings differ in sensor or dtype: {sorted(map(str, kinds))}")
    numbers, names = _classes(labels, class_names)
    lengths = [len(part) for part in parts]
    counts: NDArray[Any] = np.concatenate(parts)
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    digest = hashlib.sha256(f"{counts.dtype} {counts.shape[1:]} {names}".encode())
    for array in (counts, offsets, numbers):
        digest.update(np.ascontiguousarray(array).data)
    return dict(  # noqa: C408
        counts=counts,
        offsets=offsets,
        labels=numbers,
        speakers=np.full(len(parts), -1, dtype=np.int64) if speakers is None else np.asarray(speakers),
        source=source,
        checksum=digest.hexdigest(),
        binning=binning,
        n_classes=len(names),
        class_names=names,
    )


def _counts(i: int, recording: Any, binning: Binning) -> NDArray[np.uint8] | NDArray[np.float32]:
    if isinstance(recording, Events):
        if len(recording) == 0:
            raise DataError(f"recording {i} has no events; a recording without spikes cannot be classified")
        try:
            return bin_events(recording, binning)
        except DataError as error:
            raise DataError(f"recording {i}: {error}") from error
    array = np.asarray(recording)
    if array.ndim < 2 or 0 in array.shape:
        raise DataError(
            f"recording {i} must be Events or counts [time, channel] with at least one step, got shape {array.shape}"
        )
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise DataError(f"recording {i} holds values that are not finite")
        single = array.astype(np.float32)
        if (single != array).any():
            raise DataError(f"recording {i} holds {array.dtype} that float32 would change; give .astype(np.float32)")
        return single
    if array.dtype.kind not in "biu":
        raise DataError(f"recording {i} holds {array.dtype}; expected counts, or features of float32")
    if array.min() < 0 or array.max() > 255:
        raise DataError(
            f"recording {i} has counts from {array.min()} to {array.max()}; a count holds 0 to 255: take shorter "
            "steps, or float32"
        )
    return array.astype(np.uint8)


def _classes(labels: Any, class_names: Sequence[str] | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    array = np.asarray(labels)
    if array.ndim != 1:
        raise DataError(f"labels must have one axis [sample], got shape {array.shape}")
    if array.dtype.kind == "U":
        names = tuple(class_names) if class_names is not None else tuple(np.unique(array).tolist())
        if len(set(names)) != len(names):
            raise DataError("class_names repeat a name")
        if unknown := sorted(set(array.tolist()) - set(names)):
            raise DataError(f"label {unknown[0]!r} is none of the classes {', '.join(names)}")
        return np.array([names.index(name) for name in array.tolist()], dtype=np.int64), names
    if array.dtype.kind not in "iu":
        raise DataError(f"labels must be integers or names of classes, got {array.dtype}; convert them first")
    numbers = array.astype(np.int64)
    if class_names is not None:
        return numbers, tuple(class_names)
    return numbers, tuple(str(i) for i in range(int(numbers.max(initial=-1)) + 1))
