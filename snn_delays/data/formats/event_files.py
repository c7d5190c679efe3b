"""Recordings that are one file each, and the checks that formats of event cameras share."""

from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.card import Card
from snn_delays.data.events import Events, Sample
from snn_delays.data.files import files_in
from snn_delays.data.recordings import Recordings
from snn_delays.errors import DataError


class EventFiles(Recordings):
    """Recordings that are one file each, in the order of their paths, which is the same on every machine.

    ``files``, ``labels``, ``speakers``: one entry a recording. A file that is damaged, empty or not to be read raises
    DataError naming it and its number when it is indexed; the others stay readable.
    """

    def __init__(
        self,
        path: Path,
        files: Sequence[Path],
        labels: Sequence[int],
        speakers: Sequence[int],
        sensor: Sequence[int],
        class_names: Sequence[str],
    ) -> None:
        self.path, self.sensor, self.class_names = path, tuple(sensor), tuple(class_names)
        self.files, self.labels, self.speakers = tuple(files), tuple(labels), tuple(speakers)

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Sample:
        i = self.number(i)
        try:
            events = self._events(self.files[i])
            if not len(events):
                raise DataError("holds no events")
        except (DataError, OSError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise DataError(
                f"{self.files[i]} (sample {i}): {reason}; fetch it again, or leave it out with on_bad='skip'"
            ) from error
        return Sample(events, self.labels[i], self.speakers[i])

    @abstractmethod
    def _events(self, file: Path) -> Events:
        """The events of one file. Raises DataError saying what is wrong in it; who calls names the file."""


def files_by_class(path: Path, class_names: Sequence[str], suffixes: Sequence[str]) -> tuple[list[Path], list[int]]:
    """The files ``path/<class>/*`` of the given suffixes in the order of their paths, and their labels.

    Raises DataError if there are none, or if one is elsewhere below ``path``.
    """
    files = [file for file in files_in(path) if file.suffix in suffixes]
    where = f"{path}/<class>/ with class one of {', '.join(class_names)}"
    if not files:
        raise DataError(f"{path} holds no {' or '.join(suffixes)} files; expected them in {where}: unpack it again")
    for file in files:
        if file.parent.parent != path or file.parent.name not in class_names:
            raise DataError(f"{file} is in no folder of a class; expected {where}: move it away or unpack again")
    return files, [class_names.index(file.parent.name) for file in files]


def check_complete(recordings: Recordings, card: Card, split: str) -> None:
    """Raise DataError if a split has not the number of recordings on its card: half unpacked, or not this data set.

    ``any_number`` in the card's settings lifts the check.
    """
    expected = card.split(split).samples
    if not card.settings.get("any_number") and len(recordings) != expected:
        raise DataError(
            f"{recordings.path} has {len(recordings):,} recordings of the split {split}; {card.display_name} has "
            f"{expected:,}: unpack the archive again, or give a part of it a card of its own"
        )


def camera_events(
    t_us: NDArray[Any], x: NDArray[Any], y: NDArray[Any], p: NDArray[Any], sensor: Sequence[int], *, in_order: bool
) -> Events:
    """Events of a camera with every coordinate checked: ``channel = (p * height + y) * width + x``.

    ``sensor``: (polarity, height, width). ``in_order``: the format stores events in the order of time, so that a time
    that falls is damage; otherwise events are sorted, those of equal times staying as they were.

    Raises DataError naming the first event that is impossible.
    """
    late = np.asarray(t_us[1:] < t_us[:-1])
    if in_order and late.any():
        i = int(late.argmax()) + 1
        raise DataError(
            f"event {i} at {t_us[i]} us follows one at {t_us[i - 1]} us; the format stores events in their order"
        )
    return Events.from_camera(t_us, x, y, p, sensor=sensor, origin=0, sort=True)
