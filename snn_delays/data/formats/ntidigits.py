"""N-TIDIGITS18: spoken digits of TIDIGITS recorded with a silicon cochlea of 64 channels; here the single digits.

``n-tidigits.hdf5``: ``<split>_labels`` (names of the recordings, bytes ``<man|woman>-<speaker>-<take>-<digits>``),
``<split>_timestamps/<name>`` in seconds and ``<split>_addresses/<name>``. Anumula et al., Frontiers in Neuroscience
12:23, 2018.
"""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.card import Card
from snn_delays.data.events import Events, Sample
from snn_delays.data.formats.hdf5 import check_ends, checked_file
from snn_delays.data.formats.tonic import read_through, tonic_dataset
from snn_delays.data.numbers import first_true
from snn_delays.data.recordings import Reader, Recordings, check_complete
from snn_delays.errors import DataError
from snn_delays.hdf5 import check_stored
from snn_delays.reading import as_data_error

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

    A time is ``floor(float64(seconds) * 1e6)`` microseconds, as Tonic gives it.
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
        for key, values, end, expected in (
            ("timestamps", seconds, _LAST_S, "seconds from 0 to 1e9"),
            ("addresses", address, N_CHANNELS, f"channels 0 to {N_CHANNELS - 1}"),
        ):
            if (j := first_true(~((values >= 0) & (values < end)))) is not None:
                raise DataError(f"{where}: {key}[{j}] is {values[j]}; expected {expected}: fetch the file again")
        t_us = (seconds.astype(np.float64) * 1e6).astype(np.int64)
        try:
            events = Events.sorted(t_us, address, N_CHANNELS)  # the layout promises no order
        except DataError as error:
            raise DataError(f"{where}: {error}") from error
        return Sample(events, CLASS_NAMES.index(name.digits), name.speaker)

    def _array(self, file: "h5py.File", group: str, i: int) -> NDArray[Any]:
        where = f"{self.path}: {group}/{self.names[i].text} (sample {i})"
        damage = (AttributeError, KeyError, RuntimeError, ValueError)  # a group has no such attribute
        with as_data_error(f"{where} is missing or cannot be read", "fetch the file again", *damage):
            dataset = file[group][self.names[i].text]
            check_stored(dataset, file)
            values = np.asarray(dataset)
        if values.ndim != 1 or values.dtype.kind not in "iuf":
            raise DataError(f"{where} holds {values.dtype} of shape {values.shape}; expected numbers [event]")
        return values


def _open(path: Path, split: str) -> AbstractContextManager["h5py.File"]:
    """The file with its three parts present."""
    import h5py

    def check(path: Path, file: h5py.File) -> None:
        for key, kind in (("labels", h5py.Dataset), ("timestamps", h5py.Group), ("addresses", h5py.Group)):
            if not isinstance(file.get(f"{split}_{key}"), kind):
                raise DataError(f"{path}: no {split}_{key}; expected the layout of n-tidigits.hdf5")
        check_stored(file[f"{split}_labels"], file)

    return checked_file(path, check, "fetch it again")


def _parse(path: Path, where: str, value: Any) -> _Name:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
    gender, *rest = text.split("-")
    good = gender in _GENDERS and len(rest) == 3 and rest[0].isalnum() and rest[0].isascii() and rest[2]
    if not good or set(rest[2]) - set(CLASS_NAMES):
        raise DataError(f"{path}: {where} is {text!r}; expected <man|woman>-<speaker>-<take>-<digits>")
    return _Name(text, 2 * int(rest[0], 36) + _GENDERS.index(gender), rest[2])


def open_ntidigits(card: Card, split: str, path: Path, reader: Reader) -> Recordings:
    """The single digits of a split; see :func:`read_through`. Raises DataError if the file is not N-TIDIGITS18."""
    recordings = check_complete(NtidigitsRecordings(path, split), card, split)
    return read_through(reader, recordings, _tonic_digits, path, split)


def _tonic_digits(path: Path, split: str) -> Any:
    replaced = {"filename": str(path.resolve())}
    return tonic_dataset("NTIDIGITS18", replaced, train=split == "train", single_digits=True)
