"""Recordings read through Tonic: whether it can serve, and one adapter for all of its data sets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.events import Events, Sample, camera_fields
from snn_delays.data.recordings import Reader, Recordings
from snn_delays.errors import BackendUnavailableError, DataError


def check_reader(reader: Reader) -> None:
    """Raise DataError for a reader that does not exist."""
    if reader not in ("auto", "tonic", "own"):
        raise DataError(f"unknown reader {reader!r}; choose auto, tonic or own")


def through_tonic(reader: Reader) -> bool:
    """True if ``reader`` is ``"tonic"``, or ``"auto"`` where Tonic can serve.

    Raises DataError for a reader that is none, BackendUnavailableError if Tonic is requested and cannot serve.
    """
    check_reader(reader)
    refusal = tonic_refuses()
    if reader == "tonic" and refusal:
        raise BackendUnavailableError(refusal)
    return reader != "own" and refusal is None


def tonic_refuses() -> str | None:
    """Why Tonic cannot serve, in a sentence, or None if it can."""
    try:
        installed = version("tonic")
    except PackageNotFoundError:
        return "tonic is not installed: pip install 'snn-delays[tonic]', or read with reader='own'"
    if tuple(int(part) for part in installed.split(".")[:2]) < (1, 7):
        return f"tonic {installed} overflows SHD's float16 times: install tonic >= 1.7, or read with reader='own'"
    return None


@dataclass(eq=False, repr=False)
class TonicRecordings(Recordings):
    """Recordings decoded by Tonic, and by our reader first, which names what is damaged.

    ``own``: the same recordings through our reader. ``open_dataset``: returns the Tonic data set whose sample i is
    recording i; it is called late and its result never pickled, as it may hold an open file. ``from_first_event``: time
    0 is the first event. ``by_channel``: events of equal time are put in the order of their channels.

    Raises DataError as our reader does, and where Tonic decodes other events than are stored.
    """

    own: Recordings
    open_dataset: Callable[[], Any]
    from_first_event: bool = False
    by_channel: bool = False
    _dataset: Any = None

    def __post_init__(self) -> None:
        own = self.own
        self.path, self.sensor, self.class_names, self.known_as = own.path, own.sensor, own.class_names, own.known_as

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_dataset": None}

    def __getattr__(self, name: str) -> Any:
        """Files, labels and whatever else our reader has."""
        if name.startswith("_") or name == "own":
            raise AttributeError(name)
        return getattr(self.own, name)

    def __len__(self) -> int:
        return len(self.own)

    def __getitem__(self, i: int) -> Sample:
        sample = self.own[i]
        files = getattr(self.own, "files", None)
        where = f"{files[i] if files else self.path} (sample {i})"
        try:
            if self._dataset is None:
                self._dataset = self.open_dataset()
            decoded, _ = self._dataset[self.own.number(i)]
            if self.by_channel:
                decoded = decoded[np.lexsort((decoded["x"], decoded["t"]))]
            events = tonic_events(decoded, self.sensor, from_first_event=self.from_first_event)
        except (OSError, DataError) as error:
            raise DataError(f"{where}: Tonic cannot read it ({error}); read with 'own'") from error
        if events != sample.events:
            raise DataError(
                f"{where}: Tonic reads other numbers than are stored, as they do not fit its types; read with 'own'"
            )
        return Sample(events, sample.label, sample.speaker)

    def checksum(self) -> str:
        """That of our reader's."""
        return self.own.checksum()


def read_through(
    reader: Reader, own: Recordings, open_dataset: Callable[..., Any], *arguments: Any, **options: bool
) -> Recordings:
    """Our recordings, or the same through Tonic if ``reader`` is ``"tonic"`` or ``"auto"`` where Tonic is installed.

    Both give equal events. ``open_dataset(*arguments)`` and ``options``: of :class:`TonicRecordings`. Raises
    BackendUnavailableError if Tonic is requested and cannot serve.
    """
    return TonicRecordings(own, partial(open_dataset, *arguments), **options) if through_tonic(reader) else own


def tonic_events(decoded: NDArray[Any], sensor: Sequence[int], *, from_first_event: bool = False) -> Events:
    """The events of a sample as Tonic's data sets yield them: a structured array with t in us, x, and y and p if any.

    ``sensor``: ``(channels,)``, for which x is the channel, or ``(polarities, height, width)``. Events are sorted by
    time, those of equal times keep their order; time 0 is the recording's own or, with ``from_first_event``, its first
    event. Raises DataError naming the first event that is impossible.
    """
    fields = camera_fields(decoded, ("t", "x") if len(sensor) == 1 else ("t", "x", "y"))
    t_us, channel = np.asarray(fields["t"]), np.asarray(fields["x"])
    if len(sensor) == 3:
        polarity = None if sensor[0] == 1 else fields["p"]
        origin = None if from_first_event else 0
        return Events.from_camera(t_us, channel, fields["y"], polarity, sensor=sensor, origin=origin, sort=True)
    if from_first_event and t_us.size:
        t_us = t_us.astype(np.int64) - int(t_us.min())
    return Events.sorted(t_us, channel, sensor[0])


def tonic_dataset(name: str, replaced: dict[str, Any], **arguments: Any) -> Any:
    """Tonic's data set ``name`` without its search for an archive, with class attributes ``replaced``.

    Tonic joins a file's name with a folder; an absolute name stays what it is, so that a file is found wherever it is.
    """
    import tonic.datasets

    theirs = getattr(tonic.datasets, name)
    return type(name, (theirs,), {"_check_exists": lambda self: True, **replaced})(".", **arguments)


def tonic_files(name: str, files: Sequence[Path], labels: Sequence[int]) -> Any:
    """Tonic's data set ``name`` over the files given."""
    dataset = tonic_dataset(name, {})
    dataset.data, dataset.targets = [str(file) for file in files], list(labels)
    return dataset
