"""The HDF5 layout of the Spiking Heidelberg Digits: written, read and read through Tonic.

``spikes/times`` (variable length, float16 seconds), ``spikes/units`` (variable length, uint16), ``labels`` uint16,
``extra/speaker`` uint16, ``extra/keys`` (class names, bytes). Cramer et al., IEEE TNNLS 2020. Two things of ours are in
no published file: ``extra/channels``, the number of channels where it is not 700, and the speaker 65535, who is not
known (-1 in a :class:`Sample`).
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.card import Card
from snn_delays.data.events import Events, Sample
from snn_delays.data.files import Progress
from snn_delays.data.formats.tonic import TonicRecordings, through_tonic
from snn_delays.data.probe import check_ends
from snn_delays.data.recordings import Reader, Recordings
from snn_delays.errors import DataError
from snn_delays.hdf5 import check_stored, opened_hdf5, written_hdf5

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
            if i >= n_samples:
                raise DataError(f"{path}: more than the {n_samples} samples announced")
            whole = all(isinstance(number, int | np.integer) for number in (sample.label, sample.speaker))
            if not (whole and 0 <= sample.label < len(class_names) and -1 <= sample.speaker < _NOBODY):
                raise DataError(f"{path}: sample {i} has label {sample.label}, speaker {sample.speaker}")
            if sample.events.n_channels > 1 << 16:
                raise DataError(f"{path}: {sample.events.n_channels} channels do not fit uint16")
            n_channels = sample.events.n_channels if n_channels is None else n_channels
            if sample.events.n_channels != n_channels:
                raise DataError(f"{path}: sample {i} has {sample.events.n_channels} channels, others have {n_channels}")
            if len(sample.events) and sample.events.t_us[-1] > last_us:
                raise DataError(
                    f"{path}: sample {i} ends after {last_us // 1_000_000} s, the last time of {time_dtype} seconds"
                )
            seconds = (sample.events.t_us / 1e6).astype(time_dtype)
            times[i], units[i] = seconds, sample.events.channel.astype(np.uint16)
            labels[i], speakers[i] = sample.label, _NOBODY if sample.speaker == -1 else sample.speaker
            written = i + 1
            if progress is not None:
                progress(written, n_samples)
        if written != n_samples:
            raise DataError(f"{path}: {n_samples} samples announced, {written} given")
        file.create_dataset("labels", data=labels, track_times=False)
        file.create_dataset("extra/speaker", data=speakers, track_times=False)
        names = np.array([name.encode() for name in class_names])
        file.create_dataset("extra/keys", data=names, track_times=False)
        if n_channels not in (None, N_CHANNELS):
            file.create_dataset(_CHANNELS, data=np.uint32(n_channels), track_times=False)


@contextmanager
def _open(path: Path) -> Iterator["h5py.File"]:
    """The file with its layout checked; see :func:`_check`."""
    if not path.exists():
        raise DataError(f"{path} does not exist")
    try:
        file = opened_hdf5(path)
    except OSError as error:
        why = error.strerror or error
        raise DataError(f"{path} is truncated or not an HDF5 file ({why}); fetch or encode it again") from error
    with file:
        try:
            _check(path, file)
        except DataError:
            raise
        except (OSError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path} cannot be read ({error}); fetch or encode it again") from error
        yield file


def _check(path: Path, file: "h5py.File") -> None:
    """Datasets present, of the right kind and of equal lengths, names in UTF-8, labels in range."""
    import h5py

    for key in _KEYS:
        if not isinstance(file.get(key), h5py.Dataset):
            raise DataError(f"{path}: no dataset {key!r}; SHD's layout has {', '.join(_KEYS)}")
        if len(file[key].shape or ()) != 1:
            raise DataError(f"{path}: {key} has shape {file[key].shape}, expected one axis")
    n_samples = file["labels"].shape[0]
    for key in _KEYS[:-1]:
        if file[key].shape != (n_samples,):
            raise DataError(f"{path}: {key} has shape {file[key].shape}, expected ({n_samples},) as labels")
    for key in _KEYS[:2]:
        inner = h5py.check_vlen_dtype(file[key].dtype)
        if inner is None or np.dtype(inner).kind not in "fiu":
            raise DataError(f"{path}: {key} holds {inner or file[key].dtype}, expected arrays of variable length")
    for key in _KEYS:
        check_stored(file[key], file)
    for key in _KEYS[2:4]:
        if file[key].dtype.kind not in "iu":
            raise DataError(f"{path}: {key} holds {file[key].dtype}, expected integers")
    if h5py.check_string_dtype(file["extra/keys"].dtype) is None:
        raise DataError(f"{path}: extra/keys holds {file['extra/keys'].dtype}, expected names of classes")
    labels, n_classes = file["labels"][()], len(_class_names(path, file))
    outside = (labels < 0) | (labels >= n_classes)
    if outside.any():
        i = int(outside.argmax())
        raise DataError(f"{path}: labels[{i}] is {labels[i]}, but extra/keys names {n_classes} classes")


def _class_names(path: Path, file: "h5py.File") -> tuple[str, ...]:
    try:
        return tuple(bytes(name).decode() for name in file["extra/keys"][()])
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: extra/keys is not UTF-8 ({error}); fetch or encode it again") from error


class ShdRecordings(Recordings):
    """Recordings of a file in SHD's layout, in file order, events sorted by time.

    A time is ``floor(float64(seconds) * 1e6)`` microseconds, as Tonic's SHD gives it, and of float64 seconds the
    nearest microsecond. ``n_channels``: as the file says, 700 where it does not. ``stored``: dtype of its times. Spikes
    are read by the block. Raises DataError naming file, key and sample.
    """

    def __init__(self, path: Path, n_channels: int | None = None) -> None:
        import h5py

        self.path = path
        check_ends(path)
        with _open(path) as file:
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
        times, units = self._raw(i)
        seconds = times.astype(np.float64) * 1e6
        t_us = (np.rint(seconds) if _exact(times.dtype) else seconds).astype(np.int64)
        return Sample(self._checked(t_us, units, i), int(self.labels[i]), int(self.speakers[i]))

    def _raw(self, i: int) -> _Spikes:
        """Times and units of a sample as they are stored, checked for what no cast survives."""
        start = i - i % BLOCK
        block = self._block  # taken once, as another thread may put its own in place meanwhile
        if block[0] != start:
            with _open(self.path) as file:
                block = self._block = (start, _read_block(self.path, file, start))
        times, units = block[1][i - start]
        good = (times >= 0) & (times.astype(np.float64) < _TOO_LATE_S)
        if not good.all():
            j = int((~good).argmax())
            raise DataError(
                f"{self.path}: spikes/times[{i}][{j}] is {times[j]}; expected seconds from 0 to {_TOO_LATE_S:g}: "
                "fetch or encode it again"
            )
        if times.size != units.size:
            raise DataError(f"{self.path}: sample {i} has {times.size} spikes/times and {units.size} spikes/units")
        return times, units

    def _checked(self, t_us: NDArray[Any], units: NDArray[Any], i: int) -> Events:
        n_channels = self.sensor[0]
        if t_us.size and units.max() >= n_channels:
            j = int((units >= n_channels).argmax())
            raise DataError(
                f"{self.path}: spikes/units[{i}][{j}] is {units[j]}; the data set has channels 0 to {n_channels - 1}"
            )
        # The layout promises no order; float16 keeps the order of what was rounded, so a stable sort loses nothing.
        if (t_us[1:] < t_us[:-1]).any():
            order = np.argsort(t_us, kind="stable")
            t_us, units = t_us[order], units[order]
        try:
            return Events(t_us, units, n_channels)
        except DataError as error:
            raise DataError(f"{self.path}: spikes of sample {i}: {error}") from error


def open_shd(card: Card, split: str, path: Path, reader: Reader) -> Recordings:
    """The recordings of a card in SHD's layout; ``"auto"`` is Tonic where it is installed. Both give equal events.

    Raises DataError for another number of classes than the card has.
    """
    recordings = shd_recordings(path, reader, card.sensor[0])
    if len(recordings.class_names) != card.n_classes:
        raise DataError(
            f"{path} names {len(recordings.class_names)} classes; {card.display_name} has {card.n_classes}: "
            "another data set is there, fetch or encode it again"
        )
    return recordings


def shd_recordings(path: Path, reader: Reader = "auto", n_channels: int | None = None) -> Recordings:
    """The recordings of any file in SHD's layout, read as ``reader`` says.

    Times of float64, whose fractions Tonic would cut off, are read by our reader in any case. Raises
    BackendUnavailableError if Tonic is requested and cannot serve.
    """
    tonic, own = through_tonic(reader), ShdRecordings(path, n_channels)
    return TonicRecordings(own, partial(tonic_dataset, path)) if tonic and not _exact(own.stored) else own


def tonic_dataset(path: Path) -> Any:
    """Tonic's SHD over any file of its layout."""
    from tonic.datasets import SHD

    # Joined with any folder, an absolute name stays what it is: no archive is looked for, no link needed.
    where = {"train_zip": f"{path.resolve()}.zip", "_check_exists": lambda self: True}
    return type("SHD", (SHD,), where)(".", train=True)


def _exact(stored: np.dtype[Any]) -> bool:
    return stored.itemsize >= 8


def _channels(path: Path, file: "h5py.File", expected: int | None) -> int:
    """The number of channels that the file says, or else what is expected of it, or else SHD's."""
    if _CHANNELS not in file:
        return N_CHANNELS if expected is None else expected
    found = file[_CHANNELS]
    if getattr(found, "shape", None) != () or found.dtype.kind not in "iu" or not 1 <= int(found[()]) <= 1 << 16:
        raise DataError(f"{path}: {_CHANNELS} must be one integer from 1 to {1 << 16}; fetch or encode it again")
    if expected not in (None, n_channels := int(found[()])):
        raise DataError(f"{path} has {n_channels} channels; the data set has {expected}")
    return n_channels


def _read_block(path: Path, file: "h5py.File", start: int) -> list[_Spikes]:
    try:
        times, units = (file[key][start : start + BLOCK] for key in _KEYS[:2])
    except (OSError, RuntimeError) as error:
        raise DataError(
            f"{path}: spikes of samples from {start} on cannot be read ({error}); fetch or encode it again"
        ) from error
    return list(zip(times, units))


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
    with _open(path) as file:
        blocks = (_read_block(path, file, start) for start in range(0, file["labels"].shape[0], BLOCK))
        for times, units in chain.from_iterable(blocks):
            digest.update(np.array([times.size], dtype="<u4").tobytes())
            digest.update(times.astype("<f2").tobytes())
            digest.update(units.astype("<u2").tobytes())
        digest.update(file["labels"][()].astype("<u2").tobytes())
        digest.update(file["extra/speaker"][()].astype("<u2").tobytes())
        digest.update(b"\n".join(bytes(name) for name in file["extra/keys"][()]))
    return digest.hexdigest()
