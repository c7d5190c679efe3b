"""N-TIDIGITS18: spoken digits of TIDIGITS recorded with a silicon cochlea of 64 channels; here the single digits.

``n-tidigits.hdf5``: ``<split>_labels`` (names of the recordings, bytes ``<man|woman>-<speaker>-<take>-<digits>``),
``<split>_timestamps/<name>`` in seconds and ``<split>_addresses/<name>``. Anumula et al., Frontiers in Neuroscience
12:23, 2018.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.card import Card
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.event_files import check_complete
from snn_delays.data.formats.tonic import TonicRecordings, through_tonic
from snn_delays.data.probe import check_ends
from snn_delays.data.recordings import Reader, Recordings
from snn_delays.errors import DataError
from snn_delays.hdf5 import check_stored, opened_hdf5

if TYPE_CHECKING:
    import h5py

N_CHANNELS = 64
CLASS_NAMES = ("o", "1", "2", "3", "4", "5", "6", "7", "8", "9", "z")
"""As Tonic numbers them: "oh" is 0 and "zero" 10."""
_GENDERS = ("man", "woman")
_LAST_S = 1e9


class _Name(NamedTuple):
    """What the name of a recording says; ``speaker`` is ``2 * int(code, 36)``, and one more for a woman."""

    text: str
    speaker: int
    digits: str


class NtidigitsRecordings(Recordings):
    """Single digits of one split, in the order of the file's list; events sorted by time, times as stored.

    A time is ``floor(float64(seconds) * 1e6)`` microseconds, as Tonic gives it. Raises DataError naming
    file and record.
    """

    def __init__(self, path: Path, split: str) -> None:
        self.path, self.split = path, split
        self.sensor, self.class_names = (N_CHANNELS,), CLASS_NAMES
        check_ends(path)
        with _open(path, split) as file:
            raw = file[f"{split}_labels"][()]
        names = [_parse(path, f"{split}_labels[{i}]", value) for i, value in enumerate(raw)]
        self.names = tuple(name for name in names if name.digits in CLASS_NAMES)
        if len({name.text for name in names}) != len(names):
            raise DataError(f"{path}: {split}_labels names a recording twice; fetch the file again")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, i: int) -> Sample:
        i = self.number(i)
        name = self.names[i]
        with _open(self.path, self.split) as file:
            seconds, address = (self._array(file, f"{self.split}_{key}", i) for key in ("timestamps", "addresses"))
        where = f"{self.path}: record {name.text} (sample {i})"
        if seconds.size != address.size or not seconds.size:
            raise DataError(f"{where} has {seconds.size} timestamps and {address.size} addresses; fetch the file again")
        # Checked before any cast, which would hide what is no number or no channel.
        for key, values, good, expected in (
            ("timestamps", seconds, (seconds >= 0) & (seconds < _LAST_S), "seconds from 0 to 1e9"),
            ("addresses", address, (address >= 0) & (address < N_CHANNELS), f"channels 0 to {N_CHANNELS - 1}"),
        ):
            if not good.all():
                j = int((~good).argmax())
                raise DataError(f"{where}: {key}[{j}] is {values[j]}; expected {expected}: fetch the file again")
        t_us = (seconds.astype(np.float64) * 1e6).astype(np.int64)
        order = np.argsort(t_us, kind="stable")  # the layout promises no order
        try:
            events = Events(t_us[order], address[order], N_CHANNELS)
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        return Sample(events, CLASS_NAMES.index(name.digits), name.speaker)

    def _array(self, file: "h5py.File", group: str, i: int) -> NDArray[Any]:
        where = f"{self.path}: {group}/{self.names[i].text} (sample {i})"
        try:
            dataset = file[group][self.names[i].text]
            check_stored(dataset, file)
            values = np.asarray(dataset)
        except (AttributeError, KeyError, OSError, RuntimeError, ValueError) as error:  # a group has no such attribute
            raise DataError(f"{where} is missing or cannot be read ({error}); fetch the file again") from error
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            raise DataError(f"{where} holds {values.dtype} of shape {values.shape}; expected numbers [event]")
        return values


def tonic_dataset(path: Path, split: str) -> Any:
    """Tonic's NTIDIGITS18 over a file anywhere."""
    from tonic.datasets import NTIDIGITS18

    # Joined with any folder, an absolute name stays what it is: the file is found wherever it is.
    own = type("NTIDIGITS18", (NTIDIGITS18,), {"filename": str(path.resolve())})
    return own(".", train=split == "train", single_digits=True)


@contextmanager
def _open(path: Path, split: str) -> Iterator["h5py.File"]:
    """The file with its three parts present."""
    import h5py

    try:
        file = opened_hdf5(path)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist") from error
    except OSError as error:
        raise DataError(f"{path} is truncated or not an HDF5 file ({error}); fetch it again") from error
    with file:
        for key, kind in (("labels", h5py.Dataset), ("timestamps", h5py.Group), ("addresses", h5py.Group)):
            if not isinstance(file.get(f"{split}_{key}"), kind):
                raise DataError(f"{path}: no {split}_{key}; expected the layout of n-tidigits.hdf5")
        try:
            check_stored(file[f"{split}_labels"], file)
        except (OSError, RuntimeError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); fetch it again") from error
        yield file


def _parse(path: Path, where: str, value: Any) -> _Name:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    gender, *rest = text.split("-")
    good = gender in _GENDERS and len(rest) == 3 and rest[0].isalnum() and rest[0].isascii() and rest[2]
    if not good or set(rest[2]) - set(CLASS_NAMES):
        raise DataError(f"{path}: {where} is {text!r}; expected <man|woman>-<speaker>-<take>-<digits>")
    return _Name(text, 2 * int(rest[0], 36) + _GENDERS.index(gender), rest[2])


def open_ntidigits(card: Card, split: str, path: Path, reader: Reader) -> Recordings:
    """The single digits of a split; ``"auto"`` is Tonic where it is installed. Both give equal events.

    Raises DataError if the file is not N-TIDIGITS18, BackendUnavailableError if Tonic is requested and cannot serve.
    """
    recordings, tonic = NtidigitsRecordings(path, split), through_tonic(reader)
    check_complete(recordings, card, split)
    return TonicRecordings(recordings, partial(tonic_dataset, path, split)) if tonic else recordings
