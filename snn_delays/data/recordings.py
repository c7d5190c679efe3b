"""The recordings of one split of a data set, read one at a time, whatever their format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.batches import sample_index
from snn_delays.data.card import UNIDENTIFIED, Card
from snn_delays.data.events import Events, Sample
from snn_delays.data.files import checksums, files_in
from snn_delays.errors import DataError, SampleIndexError
from snn_delays.moved import forward

Reader = Literal["auto", "tonic", "own"]
AnyRecordings = TypeVar("AnyRecordings", bound="Recordings")


class Recordings(ABC):
    """A sequence of recordings, each read when it is indexed.

    ``path``: their file or folder; ``sensor``: see :class:`Events`; ``class_names``: in the order of the labels;
    ``known_as``: display name of the data set, decided by checksum when it is opened by name.
    ``recordings[i]`` raises DataError naming file and record if that one is damaged; the others stay readable.
    """

    path: Path
    sensor: tuple[int, ...]
    class_names: tuple[str, ...]
    known_as: str = UNIDENTIFIED

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, i: int) -> Sample: ...

    def number(self, i: int) -> int:
        """``i`` as an int. Raises SampleIndexError unless it is the integer number of a recording."""
        try:
            return sample_index(i, len(self))
        except SampleIndexError as error:
            raise SampleIndexError(f"{self.path} has samples 0 to {len(self) - 1}, not {i}") from error

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def checksum(self) -> str:
        """sha256 that changes when anything in the recordings does."""
        return checksums(self.path).sha256

    def source(self) -> str:
        """Display name of the data set, ``"unidentified"`` where no card knows it."""
        return self.known_as


class FeatureRecordings(Recordings):
    """Recordings that are features in every step instead of events: ``frames(i)`` replaces ``recordings[i]``.

    ``frame_ms``: milliseconds from one step to the next; ``sensor``: shape of a step; ``rule``: see :class:`Binning`.
    """

    frame_ms: float
    rule: ClassVar[str] = "log_mel"

    @abstractmethod
    def frames(self, i: int) -> tuple[NDArray[np.float32], int, int]:
        """Features float32 ``[time, *sensor]``, label and speaker of a recording; raises as ``recordings[i]`` does."""

    def __getitem__(self, i: int) -> Sample:
        raise DataError(f"{self.path} holds features, not events: call frames({i})")


@dataclass(eq=False, repr=False)
class EventFiles(Recordings):
    """Recordings that are one file each, in the order of their paths, which is the same on every machine.

    ``files``, ``labels``, ``speakers``: one entry a recording.
    """

    path: Path
    files: Sequence[Path]
    labels: Sequence[int]
    speakers: Sequence[int]
    sensor: tuple[int, ...]
    class_names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> Sample:
        i = self.number(i)
        try:
            events = self._events(self.files[i])
            if not len(events):
                raise DataError("holds no events")
        except (DataError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
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


def check_complete(recordings: AnyRecordings, card: Card, split: str) -> AnyRecordings:
    """The recordings. Raises DataError for another number of them than on the card: half unpacked, or another data set.

    ``any_number`` in the card's settings lifts the check.
    """
    expected = card.split(split).samples
    if not card.settings.get("any_number") and len(recordings) != expected:
        raise DataError(
            f"{recordings.path} has {len(recordings):,} recordings of the split {split}; {card.display_name} has "
            f"{expected:,}: unpack the archive again, or give a part of it a card of its own"
        )
    return recordings


__getattr__ = forward(__name__, dict.fromkeys(("READERS", "open_recordings"), "snn_delays.data.opening"))
