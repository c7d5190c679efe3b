"""Any data set of Tonic, binned, whether or not the catalogue has a card for it."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from snn_delays.data.binning import Binning, bin_events
from snn_delays.data.dataset import BinnedDataset
from snn_delays.data.files import Progress
from snn_delays.data.formats.tonic import tonic_events
from snn_delays.errors import DataError


def from_tonic(
    dataset: Any,
    binning: Binning,
    *,
    target: Callable[[Any], int | str] | None = None,
    sensor_size: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    start: Literal["recorded", "first_event"] = "recorded",
    source: str | None = None,
    progress: Progress | None = None,
) -> BinnedDataset:
    """A data set of Tonic, or anything that yields ``(events, target)`` as Tonic's do, binned in memory.

    ``dataset``: its events are structured arrays with the fields t (microseconds), x, and y and p where there are any,
    before any transform; it may be wrapped, as in a ``Subset`` or a cache. ``target``: makes a label, an integer from 0
    or the name of a class, of a target that is neither. ``sensor_size``: ``(width, height, polarities)``, as Tonic has
    it; default: the data set's own. ``class_names``: in the order of the labels; default: ``dataset.classes`` if they
    are names. ``start``: what time 0 is, that of the recording or its first event. ``source``: the name that results
    are shown under.

    Counts are ``[time, channel]`` where height and polarities are 1, else ``[time, polarity, y, x]``. Raises DataError
    naming the sample for events or targets that are not of this form.
    """
    sensor = _sensor(dataset, sensor_size)
    if start not in ("recorded", "first_event"):
        raise DataError(f"start is 'recorded' or 'first_event', got {start!r}")
    counts: list[Any] = []
    labels: list[Any] = []
    for i in range(len(dataset)):
        sample = dataset[i]
        if not (isinstance(sample, tuple | list) and len(sample) == 2):
            raise DataError(f"sample {i} is {type(sample).__name__}; expected a pair (events, target)")
        events, label = sample
        if not (isinstance(events, np.ndarray) and events.dtype.names):
            raise DataError(
                f"sample {i} holds {_kind(events)}; expected a structured array of events: leave out the transform, or "
                "give counts to BinnedDataset.from_arrays"
            )
        labels.append(_label(i, label if target is None else target(label), target is not None))
        try:
            recording = tonic_events(events, sensor, from_first_event=start == "first_event")
            if not len(recording):
                raise DataError("has no events; a recording without spikes cannot be classified")
            counts.append(bin_events(recording, binning))
        except DataError as error:
            late = start == "recorded" and "the last event is at" in str(error)
            hint = "; start='first_event' ignores the camera's clock" if late else ""
            raise DataError(f"sample {i}: {error}{hint}") from error
        if progress is not None:
            progress(i + 1, len(dataset))
    if class_names is None and all(isinstance(label, int) for label in labels):
        classes = _attribute(dataset, "classes")
        named = isinstance(classes, list | tuple) and all(isinstance(name, str) for name in classes)
        class_names = classes if named and len(classes) > max(labels, default=-1) else None
    name = source or f"Tonic's {type(_innermost(dataset)).__name__}"
    return BinnedDataset.from_arrays(counts, labels, binning=binning, class_names=class_names, source=name)


def _sensor(dataset: Any, sensor_size: Sequence[int] | None) -> tuple[int, ...]:
    sizes = _attribute(dataset, "sensor_size") if sensor_size is None else sensor_size
    try:
        width, height, polarities = (int(size) for size in sizes)
    except (TypeError, ValueError):
        raise DataError(
            f"the sensor of {type(_innermost(dataset)).__name__} is not known (sensor_size is {sizes!r}); "
            "give sensor_size=(width, height, polarities)"
        ) from None
    return (width,) if (height, polarities) == (1, 1) else (polarities, height, width)


def _label(i: int, label: Any, converted: bool) -> int | str:
    if isinstance(label, str):
        return str(label)
    if isinstance(label, int | np.integer) and not isinstance(label, bool):
        return int(label)
    where = "target() returned" if converted else "its target is"
    raise DataError(
        f"sample {i}: {where} {_kind(label)}, not an integer or the name of a class; "
        "give target=, a function that makes one of it"
    )


def _kind(value: Any) -> str:
    return f"{type(value).__name__} {value!r:.60}"


def _attribute(dataset: Any, name: str) -> Any:
    """An attribute of a data set or of the one it wraps."""
    while getattr(dataset, name, None) is None and hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return getattr(dataset, name, None)


def _innermost(dataset: Any) -> Any:
    while hasattr(dataset, "dataset"):
        dataset = dataset.dataset
    return dataset
