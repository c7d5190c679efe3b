"""N-MNIST: handwritten digits seen by an event camera in three saccades, one ``.bin`` file a recording.

``<label>/<number of the MNIST image, from 1>.bin``, 5 bytes an event: x; y; polarity (top bit) and bits 22 to 16 of t;
bits 15 to 8; bits 7 to 0, t in us from the start of the first saccade. Orchard et al., Frontiers in Neuroscience 9:437,
2015.
"""

from pathlib import Path

import numpy as np

from snn_delays.data.card import Card
from snn_delays.data.events import Events
from snn_delays.data.formats.tonic import read_through, tonic_files
from snn_delays.data.numbers import first_fall
from snn_delays.data.recordings import EventFiles, Reader, Recordings, check_complete, files_by_class
from snn_delays.errors import DataError

SENSOR = (2, 34, 34)
CLASS_NAMES = tuple("0123456789")
_EVENT_BYTES = 5
# A row that no sensor has marks that the clock went round; all later times are this much later.
_OVERFLOW_ROW, _OVERFLOW_US = 240, 1 << 13


class NmnistRecordings(EventFiles):
    """Recordings in N-MNIST's layout, in the order of label and index, times as stored."""

    def __init__(self, path: Path) -> None:
        files, labels = files_by_class(path, CLASS_NAMES, (".bin",))
        super().__init__(path, files, labels, [-1] * len(files), SENSOR, CLASS_NAMES)

    def _events(self, file: Path) -> Events:
        size = file.stat().st_size
        if size % _EVENT_BYTES:
            raise DataError(f"has {size} bytes, no multiple of {_EVENT_BYTES}: cut short, or another format")
        b = np.fromfile(file, np.uint8).reshape(-1, _EVENT_BYTES).astype(np.int64)
        overflow = b[:, 1] == _OVERFLOW_ROW
        t_us = ((b[:, 2] & 127) << 16 | b[:, 3] << 8 | b[:, 4]) + _OVERFLOW_US * np.cumsum(overflow)
        b, t_us = b[~overflow], t_us[~overflow]
        if (i := first_fall(t_us)) is not None:
            raise DataError(
                f"event {i} at {t_us[i]} us follows one at {t_us[i - 1]} us; the format stores events in their order"
            )
        return Events.from_camera(t_us, b[:, 0], b[:, 1], b[:, 2] >> 7, sensor=SENSOR, origin=0)


def open_nmnist(card: Card, split: str, path: Path, reader: Reader) -> Recordings:
    """The recordings of a split. Raises DataError if files are missing, and as :func:`nmnist_recordings`."""
    return check_complete(nmnist_recordings(path, reader), card, split)


def nmnist_recordings(path: Path, reader: Reader = "auto") -> Recordings:
    """The recordings of any folder in N-MNIST's layout; see :func:`read_through`."""
    recordings = NmnistRecordings(path)
    return read_through(reader, recordings, tonic_files, "NMNIST", recordings.files, recordings.labels)
