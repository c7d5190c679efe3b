"""What a user has in memory, events or counts, as counts and labels of a data set."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.binning import Binning, bin_recording
from snn_delays.data.events import Events
from snn_delays.errors import DataError


def counts_of(i: int, recording: Any, binning: Binning) -> NDArray[np.uint8] | NDArray[np.float32]:
    """Counts or features ``[time, *sensor]`` of recording ``i``: :class:`Events`, or an array of them."""
    if isinstance(recording, Events):
        return bin_recording(recording, binning, f"recording {i}")
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


def numbered(labels: Any, class_names: Sequence[str] | None) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Numbers of the labels, int64 ``[sample]``, and the names of the classes in their order."""
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
