"""The recordings of one split of a data set, read one at a time, whatever their format."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.events import Sample
from snn_delays.data.files import Progress, checksums
from snn_delays.data.indices import sample_index
from snn_delays.errors import DataError, SampleIndexError

Reader = Literal["auto", "tonic", "own"]

# What a card calls its reader, and where it is; a reader is called as reader(card, split, path, which).
READERS = {
    "shd": "snn_delays.data.formats.shd:open_shd",
    "synthetic": "snn_delays.data.synthetic.recordings:open_synthetic",
    "speech_commands": "snn_delays.data.formats.speech_commands:open_speech_commands",
    "sequential_mnist": "snn_delays.data.formats.pixel_sequences:open_pixel_sequences",
    "nmnist": "snn_delays.data.formats.nmnist:open_nmnist",
    "dvs_gesture": "snn_delays.data.formats.dvs_gesture:open_dvs_gesture",
    "ntidigits": "snn_delays.data.formats.ntidigits:open_ntidigits",
    "cifar10_dvs": "snn_delays.data.formats.cifar10_dvs:open_cifar10_dvs",
}


class Recordings(ABC):
    """A sequence of recordings that are read when asked for.

    ``path``: their file or folder; ``sensor``: see :class:`Events`; ``class_names``: in the order of the labels.
    ``made_here``: name of a set that is made on the user's machine and that no checksum can know, else None.
    ``recordings[i]`` raises DataError naming file and record if that one is damaged; the others stay readable.
    """

    path: Path
    sensor: tuple[int, ...]
    class_names: tuple[str, ...]
    made_here: str | None = None

    @abstractmethod
    def __len__(self) -> int: ...

    @abstractmethod
    def __getitem__(self, i: int) -> Sample: ...

    def number(self, i: int) -> int:
        """``i`` as the number of a recording. Raises SampleIndexError unless it is an integer of one that is there."""
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
        """Display name of the data set this is, decided by checksum; ``"unidentified"`` if none knows it."""
        from snn_delays.data.catalogue.lookup import identify

        return self.made_here or identify(self.path)


class FeatureRecordings(Recordings):
    """Recordings that are numbers in every step instead of events: ``frames(i)`` takes the place of ``recordings[i]``.

    ``frame_ms``: milliseconds from one step to the next; ``sensor``: shape of a step.
    """

    frame_ms: float

    @abstractmethod
    def frames(self, i: int) -> tuple[NDArray[np.float32], int, int]:
        """Features float32 ``[time, *sensor]``, label and speaker of a recording; raises as ``recordings[i]`` does."""

    def __getitem__(self, i: int) -> Sample:
        raise DataError(f"{self.path} gives features, not events: ask frames({i}) for them")


def open_recordings(
    name: str | Path, split: str, *, reader: Reader = "auto", progress: Progress | None = None
) -> Recordings:
    """The recordings of a split of a data set, by its name in the catalogue or the path of one's own.

    ``reader``: ``"tonic"`` (needs tonic >= 1.7), ``"own"``, or ``"auto"``: the card's choice of what is installed.

    Raises ConfigError for an unknown name or split, DataError naming the missing file, where it belongs and its
    checksum, BackendUnavailableError if a package is missing.
    """
    from snn_delays.data.catalogue.convert import find_data
    from snn_delays.data.catalogue.lookup import card, recognise

    found = card(name)
    if found.reader not in READERS:
        raise DataError(f"card {name!r} names the reader {found.reader!r}; there are {', '.join(READERS)}")
    module, function = READERS[found.reader].split(":")
    path = find_data(name, split, progress)
    known = recognise(path) if path.exists() else []
    if known and split not in [other for _, other in known]:
        raise DataError(
            f"{path} should be the split {split} of {found.display_name}, but by its checksum it is the split "
            f"{known[0][1]} of {known[0][0].display_name}; put each file in its place"
        )
    opened: Recordings = getattr(import_module(module), function)(found, split, path, reader)
    if found.split(split).made_here and not (found.own and known):
        opened.made_here = f"{found.display_name} (own data)" if found.own else f"{found.display_name}, made here"
    return opened
