"""The recordings of one split of a data set, read one at a time, whatever their format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.batches import sample_index
from snn_delays.data.card import UNIDENTIFIED
from snn_delays.data.events import Sample
from snn_delays.data.files import checksums
from snn_delays.errors import DataError, SampleIndexError
from snn_delays.moved import forward

Reader = Literal["auto", "tonic", "own"]


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

    ``frame_ms``: milliseconds from one step to the next; ``sensor``: shape of a step.
    """

    frame_ms: float

    @abstractmethod
    def frames(self, i: int) -> tuple[NDArray[np.float32], int, int]:
        """Features float32 ``[time, *sensor]``, label and speaker of a recording; raises as ``recordings[i]`` does."""

    def __getitem__(self, i: int) -> Sample:
        raise DataError(f"{self.path} holds features, not events: call frames({i})")


__getattr__ = forward(__name__, dict.fromkeys(("READERS", "open_recordings"), "snn_delays.data.opening"))
