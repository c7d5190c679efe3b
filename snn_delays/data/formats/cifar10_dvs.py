"""CIFAR10-DVS: pictures moved on a screen before an event camera, one AEDAT file a recording.

``<class>/*.aedat`` as published (AEDAT 2.0) or ``<class>/*.aedat4`` as Tonic distributes them. AEDAT 2.0: header lines
from ``#!AER-DAT2.0`` on, each beginning with ``#``, then big-endian uint32 pairs of address and time in us; bit 0 of an
address is 0 for ON, bits 1 to 7 count x from the right, bits 8 to 14 are y. Li et al., Frontiers in Neuroscience
11:309, 2017, and the converter ``dat2mat.m`` named in its README.
"""

from importlib.util import find_spec
from pathlib import Path

import numpy as np

from snn_delays.data.card import Card
from snn_delays.data.events import Events
from snn_delays.data.formats.tonic import through_tonic
from snn_delays.data.numbers import first_true
from snn_delays.data.recordings import EventFiles, Reader, check_complete, files_by_class
from snn_delays.errors import BackendUnavailableError, DataError

SENSOR = (2, 128, 128)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_MAGIC = b"#!AER-DAT2.0"
_MAGIC_4 = b"#!AER-DAT4.0\r\n"
_MOST_JITTER_US = 1_000_000  # packets arrive out of order by less; a clock that falls by more was set back


class Cifar10DvsRecordings(EventFiles):
    """Recordings of one split, in the order of their paths.

    There is no official split; this one is by the rule most use: of each class, in the order of file names, the first
    90 % (rounded up) train, the rest test. Time 0 is the first event, as the camera's clock starts anywhere; events are
    sorted by time.
    """

    def __init__(self, path: Path, split: str, sensor: tuple[int, int, int] = SENSOR) -> None:
        files, labels = files_by_class(path, CLASS_NAMES, (".aedat", ".aedat4"))
        chosen: list[tuple[Path, int]] = []
        for label in sorted(set(labels)):
            members = [pair for pair in zip(files, labels) if pair[1] == label]
            n_train = len(members) - len(members) // 10
            chosen += members[:n_train] if split == "train" else members[n_train:]
        files, labels = [file for file, _ in chosen], [label for _, label in chosen]
        super().__init__(path, files, labels, [-1] * len(files), sensor, CLASS_NAMES)

    def _events(self, file: Path) -> Events:
        t_us, x, y, p = _aedat4(file) if file.suffix == ".aedat4" else _aedat2(file)
        if (i := first_true(t_us[:-1] - t_us[1:] > _MOST_JITTER_US)) is not None:
            raise DataError(f"event {i + 1} at {t_us[i + 1]} us follows one at {t_us[i]} us: the clock was set back")
        return Events.from_camera(t_us, x, y, p, sensor=self.sensor, sort=True)


_Fields = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def _aedat2(file: Path) -> _Fields:
    content = file.read_bytes()
    if not content.startswith(_MAGIC):
        raise DataError(f"starts with {content[:16]!r}, expected {_MAGIC.decode()}; AEDAT 4 files are named .aedat4")
    start = 0
    while content[start : start + 1] == b"#":
        end = content.find(b"\n", start) + 1
        if not end:
            raise DataError("is cut short within its header")
        start = end
    if (len(content) - start) % 8:
        raise DataError(f"has {len(content) - start} bytes of events, no multiple of 8: it is cut short")
    address, t_us = np.frombuffer(content, ">u4", offset=start).reshape(-1, 2).astype(np.int64).T
    if (i := first_true(address >> 16 != 0)) is not None:
        raise DataError(f"event {i} has address {address[i]}; a camera of 128 x 128 has 16 bits of address")
    return t_us, 127 - (address >> 1 & 127), address >> 8 & 127, 1 - (address & 1)


def _aedat4(file: Path) -> _Fields:
    from tonic.io import read_aedat4

    _check_aedat4_header(file)
    try:
        events = read_aedat4(str(file))
    except (KeyboardInterrupt, SystemExit, MemoryError):
        raise
    except BaseException as error:  # Tonic raises a plain Exception, and a panic of the decoder is not even one
        raise DataError(f"cannot be decoded as AEDAT 4 ({error}); it is cut short or another format") from error
    t_us, x, y, p = (events[name].astype(np.int64) for name in ("t", "x", "y", "on"))
    return t_us, x, y, p


def _check_aedat4_header(file: Path) -> None:
    """Look at the description in front: aedat 2.3 ends the whole process on one that is no text."""
    with file.open("rb") as opened:
        magic, size = opened.read(len(_MAGIC_4)), int.from_bytes(opened.read(4), "little")
        header = opened.read(size) if magic == _MAGIC_4 else b""
    if magic != _MAGIC_4 or len(header) < size:
        raise DataError("cannot be decoded as AEDAT 4: its header is missing or cut short")
    try:
        header[header.find(b"<dv") :].decode()
    except UnicodeDecodeError as error:
        raise DataError(f"cannot be decoded as AEDAT 4: its header is damaged ({error})") from error


def open_cifar10_dvs(card: Card, split: str, path: Path, reader: Reader) -> Cifar10DvsRecordings:
    """The recordings of a split. AEDAT 2.0 is read here, as Tonic 1.7 fails on it; AEDAT 4 through Tonic and ``aedat``.

    Raises DataError if files are missing, BackendUnavailableError if the files need what is not installed or excluded
    by ``reader``.
    """
    recordings = Cifar10DvsRecordings(path, split)
    tonic_serves = through_tonic(reader)
    kinds = {file.suffix for file in recordings.files}
    if ".aedat4" in kinds and not (tonic_serves and find_spec("aedat")):
        raise BackendUnavailableError(
            f"{path} holds .aedat4 files, which Tonic and aedat decode: pip install 'snn-delays[tonic]' and read with "
            "reader='auto', or place the .aedat files of the publication instead"
        )
    if ".aedat" in kinds and reader == "tonic":
        raise BackendUnavailableError(f"{path} holds .aedat files, which Tonic cannot read; use reader='auto' or 'own'")
    return check_complete(recordings, card, split)
