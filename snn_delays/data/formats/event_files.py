"""Recordings that are one file each, and what formats of such files share."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from snn_delays.data.card import Card
from snn_delays.data.events import Events, Sample
from snn_delays.data.files import files_in
from snn_delays.data.recordings import Recordings
from snn_delays.errors import DataError

AnyRecordings = TypeVar("AnyRecordings", bound=Recordings)


@dataclass(eq=False, repr=False)
class EventFiles(Recordings):
    """Recordings that are one file each, in the order of their paths, which is the same on every machine.

    ``files``, ``labels``, ``speakers``: one entry a recording. A file that is damaged, empty or not to be read raises
    DataError naming it and its number when it is indexed; the others stay readable.
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
