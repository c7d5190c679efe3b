"""DVS128 Gesture as Tonic distributes it: gestures of 29 people, cut out, one ``.npy`` file a recording.

``user<number>_<light>/<class>.npy``, an array [event, 4] of x, y, polarity and t in ms. Amir et al., CVPR 2017.
"""

import re
from pathlib import Path

import numpy as np

from snn_delays.data.card import Card
from snn_delays.data.events import Events
from snn_delays.data.files import files_in
from snn_delays.data.formats.tonic import read_through, tonic_files
from snn_delays.data.numbers import first_true
from snn_delays.data.recordings import EventFiles, Reader, Recordings, check_complete
from snn_delays.errors import DataError
from snn_delays.npy import read_npy
from snn_delays.reading import read_bytes

SENSOR = (2, 128, 128)
CLASS_NAMES = (
    *("hand clapping", "right hand wave", "left hand wave", "right arm clockwise", "right arm counter-clockwise"),
    *("left arm clockwise", "left arm counter-clockwise", "arm roll", "air drums", "air guitar", "other gestures"),
)
_MOST_BYTES = 1 << 32
_LIMIT = 1e12  # in ms 31 years; a thousand times as much still fits 64 bits
_FOLDER = re.compile(r"user(\d+)_.+")


class DvsGestureRecordings(EventFiles):
    """Recordings in the order of their paths (Tonic's differs from machine to machine); the speaker is the user.

    Time 0 is the first event: the gestures were cut out of longer recordings at instants set by hand. Events are sorted
    by time.
    """

    def __init__(self, path: Path) -> None:
        files = [file for file in files_in(path) if file.suffix == ".npy"]
        expected = f"{path}/user<number>_<light>/<0 to {len(CLASS_NAMES) - 1}>.npy"
        if not files and any(path.rglob("*.aedat")):
            raise DataError(
                f"{path} holds DVS128 Gesture as its authors publish it, uncut recordings in AEDAT 3.1; this reader "
                f"takes the gestures as Tonic cut them out, {expected}: snn-delays data download dvs128-gesture"
            )
        if not files:
            raise DataError(f"{path} holds no .npy files; expected {expected}: unpack it again")
        labels, users = [], []
        for file in files:
            folder = _FOLDER.fullmatch(file.parent.name)
            known = file.stem.isdecimal() and int(file.stem) < len(CLASS_NAMES)
            if file.parent.parent != path or folder is None or not known:
                raise DataError(f"{file} is no recording; expected {expected}: move it away or unpack again")
            labels.append(int(file.stem))
            users.append(int(folder[1]))
        super().__init__(path, files, labels, users, SENSOR, CLASS_NAMES)

    def _events(self, file: Path) -> Events:
        try:
            stored = read_npy(read_bytes(file, _MOST_BYTES))
        except OSError:
            raise
        except Exception as error:  # the header is parsed as Python, and damage in it raises what that parser raises
            raise DataError(f"is no array of numpy, or cut short ({error})") from error
        if stored.ndim != 2 or stored.shape[1] != 4 or stored.dtype.kind not in "iuf":
            raise DataError(f"holds {stored.dtype} of shape {stored.shape}; expected numbers [event, 4]: x, y, p, t")
        finite = (np.abs(stored.astype(np.float64)) < _LIMIT).all(axis=1)  # before any cast that would hide it
        if (i := first_true(np.logical_not(finite))) is not None:
            raise DataError(f"event {i} is {stored[i].tolist()}; expected finite numbers below {_LIMIT:g}")
        exact = stored.astype(np.float64 if stored.dtype.kind == "f" else np.int64)
        fractions = (exact[:, :3] != np.floor(exact[:, :3])).any(axis=1)
        if (i := first_true(np.logical_or(fractions, exact[:, 3] < 0))) is not None:
            raise DataError(f"event {i} is {stored[i].tolist()}; expected integer x, y, p and a time of 0 ms or more")
        x, y, p = exact[:, :3].astype(np.int64).T
        return Events.from_camera((exact[:, 3] * 1000).astype(np.int64), x, y, p, sensor=SENSOR, sort=True)


def open_dvs_gesture(card: Card, split: str, path: Path, reader: Reader) -> Recordings:
    """The recordings of a split; see :func:`read_through`.

    Raises DataError if files are missing or a user belongs to the other split by the official lists (users 1 to 23
    train, 24 to 29 test).
    """
    recordings = DvsGestureRecordings(path)
    first, last = card.settings["users"][split]
    for file, user in zip(recordings.files, recordings.speakers):
        if not first <= user <= last:
            raise DataError(f"{file}: user {user} is not in the split {split}, which has users {first} to {last}")
    check_complete(recordings, card, split)
    files, labels = recordings.files, recordings.labels
    return read_through(reader, recordings, tonic_files, "DVSGesture", files, labels, from_first_event=True)
