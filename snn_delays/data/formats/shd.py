"""The HDF5 layout of the Spiking Heidelberg Digits, written and read.

``spikes/times`` (variable length, float16 seconds), ``spikes/units`` (variable length, uint16), ``labels`` uint16,
``extra/speaker`` uint16, ``extra/keys`` (class names, bytes). Cramer et al., IEEE TNNLS 2020. Two things of ours are in
no published file: ``extra/channels``, the number of channels where it is not 700, and the speaker 65535, who is not
known (-1 in a :class:`Sample`).
"""

import hashlib
from collections.abc import Iterable, Sequence, Sized
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.card import Card
from snn_delays.data.events import Events, Sample
from snn_delays.data.files import Progress
from snn_delays.data.formats.hdf5 import check_ends, checked_file
from snn_delays.data.formats.tonic import read_through, tonic_dataset
from snn_delays.data.numbers import first_true
from snn_delays.data.recordings import Reader, Recordings
from snn_delays.errors import DataError
from snn_delays.hdf5 import check_stored, written_hdf5
from snn_delays.reading import as_data_error

if TYPE_CHECKING:
    import h5py

N_CHANNELS = 700
CLASS_NAMES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("null", "eins", "zwei", "drei", "vier", "fuenf", "sechs", "sieben", "acht", "neun"),
)
_KEYS = ("spikes/times", "spikes/units", "labels", "extra/speaker", "extra/keys")
_CHANNELS = "extra/channels"
_NOBODY = (1 << 16) - 1  # a speaker who is not known
_LAST_US = int(np.finfo(np.float16).max) * 1_000_000
_TOO_LATE_S = 1e9
_BYTES_PER_SPIKE, _BYTES_PER_SAMPLE = 12, 512  # at most; tables of HDF5 included
_REMEDY = "fetch or encode it again"
BLOCK = 256  # samples read at once: large enough to be quick, small enough to stay in memory

_Spikes = tuple[NDArray[np.floating[Any]], NDArray[np.integer[Any]]]


def write_shd_hdf5(
    path: Path | str,
    samples: Iterable[Sample],
    n_samples: int | None = None,
    class_names: Sequence[str] = CLASS_NAMES,
    progress: Progress | None = None,
    *,
    time_dtype: Literal["float16", "float64"] = "float16",
    n_spikes: int | None = None,
) -> None:
    """Write samples in SHD's layout, whole or not at all; equal samples give equal bytes.

    ``n_samples``: how many there are, where ``samples`` cannot say it themselves.
    Times become float16 seconds, as in the published files: a step of 0.12 ms below 0.25 s, 0.98 ms above 1 s. With
    ``time_dtype="float64"`` they stay exact, to a microsecond. The file is made in memory, or with ``n_spikes``, how
    many there are in all, on the disk, once it is known that they fit. Raises DataError if a number does not fit its
    field, samples differ in channels, or ``samples`` does not yield ``n_samples``.
    """
    if time_dtype not in ("float16", "float64"):
        raise DataError(f"times are written as float16 or float64, got {time_dtype!r}")
    last_us = _LAST_US if time_dtype == "float16" else int(_TOO_LATE_S) * 1_000_000
    path, n_channels = Path(path), None
    if n_samples is None:
        if not isinstance(samples, Sized):
            raise DataError(f"{path}: how many samples there are is not known; give n_samples, or a list of them")
        n_samples = len(samples)
    import h5py

    labels, speakers = np.zeros(n_samples, dtype=np.uint16), np.zeros(n_samples, dtype=np.uint16)
    # The format is pinned to one version, and no times of creation are stored, so that a checksum names the data.
    pinned: dict[str, Any] = {"libver": ("earliest", "v110"), "track_order": False}
    room = None if n_spikes is None else _BYTES_PER_SPIKE * n_spikes + _BYTES_PER_SAMPLE * n_samples + (1 << 16)
    with written_hdf5(path, room, **pinned) as file:
        options: dict[str, Any] = {"shape": (n_samples,), "track_times": False}
        times = file.create_dataset("spikes/times", dtype=h5py.vlen_dtype(np.dtype(time_dtype)), **options)
        units = file.create_dataset("spikes/units", dtype=h5py.vlen_dtype(np.uint16), **options)
        written = 0
        for i, sample in enumerate(samples):
            events, label, speaker = sample.events, sample.label, sample.speaker
            if i >= n_samples:
                raise DataError(f"{path}: more than the {n_samples} samples announced")
            integers = isinstance(label, int | np.integer) and isinstance(speaker, int | np.integer)
            if not (integers and 0 <= label < len(class_names) and -1 <= speaker < _NOBODY):
                raise DataError(f"{path}: sample {i} has label {label}, speaker {speaker}")
            if events.n_channels > 1 << 16:
                raise DataError(f"{path}: {events.n_channels} channels do not fit uint16")
            n_channels = n_channels or events.n_channels
            if events.n_channels != n_channels:
                raise DataError(f"{path}: sample {i} has {events.n_channels} channels, others have {n_channels}")
            if len(events) and events.t_us[-1] > last_us:
                raise DataError(
                    f"{path}: sample {i} ends after {last_us // 1_000_000} s, the last time of {time_dtype} seconds"
                )
            times[i], units[i] = (events.t_us / 1e6).astype(time_dtype), events.channel.astype(np.uint16)
            labels[i], speakers[i] = label, _NOBODY if speaker == -1 else speaker
            written = i + 1
            if progress is not None:
                progress(written, n_samples)
        if written != n_samples:
            raise DataError(f"{path}: {n_samples} samples announced, {written} given")
        rest: dict[str, Any] = dict(zip(_KEYS[2:], (labels, speakers, [name.encode() for name in class_names])))
        if n_channels not in (None, N_CHANNELS):
            rest[_CHANNELS] = np.uint32(n_channels)
        for key, values in rest.items():
            file.create_dataset(key, data=np.array(values), track_times=False)


def _check(path: Path, file: "h5py.File") -> None:
    """Datasets present, of the right kind and of equal lengths, names in UTF-8, labels in range."""
    import h5py

    def expect(good: bool, key: str, has: str, expected: str) -> None:
        if not good:
            raise DataError(f"{path}: {key} {has}, expected {expected}")

    for key in _KEYS:
        if not isinstance(file.get(key), h5py.Dataset):
            raise DataError(f"{path}: no dataset {key!r}; SHD's layout has {', '.join(_KEYS)}")
        expect(len(file[key].shape or ()) == 1, key, f"has shape {file[key].shape}", "one axis")
    n_samples = file["labels"].shape[0]
    for key in _KEYS:
        shape, dtype = file[key].shape, file[key].dtype
        expect(key == _KEYS[4] or shape == (n_samples,), key, f"has shape {shape}", f"({n_samples},) as labels")
        check_stored(file[key], file)
        if key in _KEYS[:2]:
            inner = h5py.check_vlen_dtype(dtype)
            variable = inner is not None and np.dtype(inner).kind in "fiu"
            expect(variable, key, f"holds {inner or dtype}", "arrays of variable length")
        elif key in _KEYS[2:4]:
            expect(dtype.kind in "iu", key, f"holds {dtype}", "integers")
        else:
            expect(h5py.check_string_dtype(dtype) is not None, key, f"holds {dtype}", "names of classes")
    labels, n_classes = file["labels"][()], len(_class_names(path, file))
    if (i := first_true((labels < 0) | (labels >= n_classes))) is not None:
        raise DataError(f"{path}: labels[{i}] is {labels[i]}, but extra/keys names {n_classes} classes")


def _class_names(path: Path, file: "h5py.File") -> tuple[str, ...]:
    with as_data_error(f"{path}: extra/keys is not UTF-8", _REMEDY, UnicodeDecodeError):
        return tuple(bytes(name).decode() for name in file["extra/keys"][()])


class ShdRecordings(Recordings):
    """Recordings of a file in SHD's layout, in file order, events sorted by time.

    A time is ``floor(float64(seconds) * 1e6)`` microseconds, as Tonic's SHD gives it, and of float64 seconds the
    nearest microsecond. ``n_channels``: as the file says, 700 where it does not. ``stored``: dtype of its times. Spikes
    are read by the block.
    """

    def __init__(self, path: Path, n_channels: int | None = None) -> None:
        import h5py

        self.path = path
        check_ends(path)
        with checked_file(path, _check, _REMEDY) as file:
            self.sensor = (_channels(path, file, n_channels),)
            self.stored = np.dtype(h5py.check_vlen_dtype(file[_KEYS[0]].dtype))
            self.labels, speakers = file["labels"][()], file["extra/speaker"][()]
            unknown = (speakers == _NOBODY) & (speakers.dtype == np.uint16)
            self.speakers = np.where(unknown, -1, speakers.astype(np.int64))
            self.class_names = _class_names(path, file)
        self._block: tuple[int, list[_Spikes]] = (-1, [])

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_block": (-1, [])}  # what was read last is read again

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> Sample:
        i = self.number(i)
        start = i - i % BLOCK
        block = self._block  # taken once, as another thread may put its recordings in place meanwhile
        if block[0] != start:
            with checked_file(self.path, _check, _REMEDY) as file:
                block = self._block = (start, _read_block(self.path, file, start))
        times, units = block[1][i - start]
        # checked before any cast that would hide it
        if (j := first_true(~((times >= 0) & (times.astype(np.float64) < _TOO_LATE_S)))) is not None:
            raise DataError(
                f"{self.path}: spikes/times[{i}][{j}] is {times[j]}; expected seconds from 0 to {_TOO_LATE_S:g}: "
                f"{_REMEDY}"
            )
        if times.size != units.size:
            raise DataError(f"{self.path}: sample {i} has {times.size} spikes/times and {units.size} spikes/units")
        seconds = times.astype(np.float64) * 1e6
        t_us = (np.rint(seconds) if _exact(times.dtype) else seconds).astype(np.int64)
        n_channels = self.sensor[0]
        if (j := first_true(units >= n_channels)) is not None:
            raise DataError(
                f"{self.path}: spikes/units[{i}][{j}] is {units[j]}; the data set has channels 0 to {n_channels - 1}"
            )
        try:
            # The layout promises no order; float16 keeps the order of what was rounded, so a stable sort loses nothing.
            events = Events.sorted(t_us, units, n_channels)
        except DataError as error:
            raise DataError(f"{self.path}: spikes of sample {i}: {error}") from error
        return Sample(events, int(self.labels[i]), int(self.speakers[i]))


def open_shd(card: Card, split: str, path: Path, reader: Reader) -> Recordings:
    """:func:`shd_recordings` of a split. Raises DataError for another number of classes than the card has."""
    recordings = shd_recordings(path, reader, card.sensor[0])
    if len(recordings.class_names) != card.n_classes:
        raise DataError(
            f"{path} names {len(recordings.class_names)} classes; {card.display_name} has {card.n_classes}: "
            "another data set is there, fetch or encode it again"
        )
    return recordings


def shd_recordings(path: Path, reader: Reader = "auto", n_channels: int | None = None) -> Recordings:
    """The recordings of any file in SHD's layout; see :func:`read_through`.

    Times of float64, whose fractions Tonic would cut off, are read by our reader in any case.
    """
    recordings = ShdRecordings(path, n_channels)
    through = read_through(reader, recordings, tonic_dataset, "SHD", {"train_zip": f"{path.resolve()}.zip"})
    return recordings if _exact(recordings.stored) else through


def _exact(stored: np.dtype[Any]) -> bool:
    return stored.itemsize >= 8


def _channels(path: Path, file: "h5py.File", expected: int | None) -> int:
    """The number of channels that the file says, or else what is expected of it, or else SHD's."""
    if _CHANNELS not in file:
        return N_CHANNELS if expected is None else expected
    stored = file[_CHANNELS]
    if getattr(stored, "shape", None) != () or stored.dtype.kind not in "iu" or not 1 <= int(stored[()]) <= 1 << 16:
        raise DataError(f"{path}: {_CHANNELS} must be one integer from 1 to {1 << 16}; {_REMEDY}")
    if expected not in (None, n_channels := int(stored[()])):
        raise DataError(f"{path} has {n_channels} channels; the data set has {expected}")
    return n_channels


def _read_block(path: Path, file: "h5py.File", start: int) -> list[_Spikes]:
    with as_data_error(f"{path}: spikes of samples from {start} on cannot be read", _REMEDY, RuntimeError):
        return list(zip(*(file[key][start : start + BLOCK] for key in _KEYS[:2])))


def read_shd_hdf5(path: Path, reader: Reader = "auto") -> list[Sample]:
    """All samples of a file in SHD's layout; see :func:`shd_recordings`."""
    return list(shd_recordings(path, reader))


def content_sha256(path: Path) -> str:
    """Checksum of what an SHD file says, whichever version of HDF5 laid out its bytes.

    sha256 over, per sample: number of spikes (uint32), times (float16), units (uint16); then labels and speakers
    (uint16), and the class names joined by newlines; all little-endian.
    """
    digest = hashlib.sha256()
    check_ends(path)
    with checked_file(path, _check, _REMEDY) as file:
        blocks = (_read_block(path, file, start) for start in range(0, file["labels"].shape[0], BLOCK))
        for times, units in chain.from_iterable(blocks):
            digest.update(np.array([times.size], dtype="<u4").tobytes())
            digest.update(times.astype("<f2").tobytes())
            digest.update(units.astype("<u2").tobytes())
        digest.update(file["labels"][()].astype("<u2").tobytes())
        digest.update(file["extra/speaker"][()].astype("<u2").tobytes())
        digest.update(b"\n".join(bytes(name) for name in file["extra/keys"][()]))
    return digest.hexdigest()
