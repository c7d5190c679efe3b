"""The HDF5 layout of the Spiking Heidelberg Digits: written, read and read through Tonic.

``spikes/times`` (variable length, float16 seconds), ``spikes/units`` (variable length, uint16), ``labels`` uint16,
``extra/speaker`` uint16, ``extra/keys`` (class names, bytes). Cramer et al., IEEE TNNLS 2020.
"""

import hashlib
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.events import Events, Sample
from snn_delays.data.files import Progress
from snn_delays.errors import BackendUnavailableError, DataError
from snn_delays.files import atomic_path

if TYPE_CHECKING:
    import h5py

N_CHANNELS = 700
CLASS_NAMES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"),
    *("null", "eins", "zwei", "drei", "vier", "fuenf", "sechs", "sieben", "acht", "neun"),
)
_KEYS = ("spikes/times", "spikes/units", "labels", "extra/speaker", "extra/keys")
_LAST_US = int(np.finfo(np.float16).max) * 1_000_000
_BLOCK = 256  # samples read at once: large enough to be quick, small enough to stay in memory

Reader = Literal["auto", "tonic", "own"]


def write_shd_hdf5(
    path: Path,
    samples: Iterable[Sample],
    n_samples: int,
    class_names: Sequence[str] = CLASS_NAMES,
    progress: Progress | None = None,
) -> None:
    """Write samples in SHD's layout, whole or not at all; equal samples give equal bytes.

    Times become float16 seconds, as in the published files: a step of 0.12 ms below 0.25 s, 0.98 ms above 1 s.
    Raises DataError if a number does not fit its field or ``samples`` does not yield ``n_samples``.
    """
    import h5py

    labels, speakers = np.zeros(n_samples, dtype=np.uint16), np.zeros(n_samples, dtype=np.uint16)
    # The format is pinned to one version, and no times of creation are stored, so that a checksum names the data.
    pinned: dict[str, Any] = {"libver": ("earliest", "v110"), "track_order": False}
    with atomic_path(path) as temporary, h5py.File(temporary, "w", **pinned) as file:
        options: dict[str, Any] = {"shape": (n_samples,), "track_times": False}
        times = file.create_dataset("spikes/times", dtype=h5py.vlen_dtype(np.float16), **options)
        units = file.create_dataset("spikes/units", dtype=h5py.vlen_dtype(np.uint16), **options)
        written = 0
        for i, sample in enumerate(samples):
            if i >= n_samples:
                raise DataError(f"{path}: more than the {n_samples} samples announced")
            if not (0 <= sample.label < len(class_names) and 0 <= sample.speaker < 1 << 16):
                raise DataError(f"{path}: sample {i} has label {sample.label}, speaker {sample.speaker}")
            if sample.events.n_channels > 1 << 16:
                raise DataError(f"{path}: {sample.events.n_channels} channels do not fit uint16")
            if len(sample.events) and sample.events.t_us[-1] > _LAST_US:
                raise DataError(
                    f"{path}: sample {i} ends after {_LAST_US // 1_000_000} s, the last time of float16 seconds"
                )
            seconds = (sample.events.t_us / 1e6).astype(np.float16)
            times[i], units[i] = seconds, sample.events.channel.astype(np.uint16)
            labels[i], speakers[i] = sample.label, sample.speaker
            written = i + 1
            if progress is not None:
                progress(written, n_samples)
        if written != n_samples:
            raise DataError(f"{path}: {n_samples} samples announced, {written} given")
        file.create_dataset("labels", data=labels, track_times=False)
        file.create_dataset("extra/speaker", data=speakers, track_times=False)
        names = np.array([name.encode() for name in class_names])
        file.create_dataset("extra/keys", data=names, track_times=False)


@contextmanager
def _open(path: Path) -> Iterator["h5py.File"]:
    """The file with its layout checked: groups present, lengths equal, labels in range."""
    import h5py

    if not path.exists():
        raise DataError(f"{path} does not exist")
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        raise DataError(f"{path} is truncated or not an HDF5 file ({error}); fetch or convert it again") from error
    with file:
        for key in _KEYS:
            if not isinstance(file.get(key), h5py.Dataset):
                raise DataError(f"{path}: no dataset {key!r}; SHD's layout has {', '.join(_KEYS)}")
        n_samples = file["labels"].shape[0]
        for key in _KEYS[:-1]:
            if file[key].shape != (n_samples,):
                raise DataError(f"{path}: {key} has shape {file[key].shape}, expected ({n_samples},) as labels")
        for key in _KEYS[:2]:
            if h5py.check_vlen_dtype(file[key].dtype) is None:
                raise DataError(f"{path}: {key} holds {file[key].dtype}, expected arrays of variable length")
        labels, n_classes = file["labels"][()], file["extra/keys"].shape[0]
        outside = (labels < 0) | (labels >= n_classes)
        if outside.any():
            i = int(outside.argmax())
            raise DataError(f"{path}: labels[{i}] is {labels[i]}, but extra/keys names {n_classes} classes")
        yield file


def _raw_samples(path: Path, file: "h5py.File") -> Iterator[tuple[NDArray[np.floating[Any]], NDArray[np.integer[Any]]]]:
    n_samples = file["labels"].shape[0]
    for start in range(0, n_samples, _BLOCK):
        try:
            times, units = (file[key][start : start + _BLOCK] for key in _KEYS[:2])
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{path}: spikes of samples from {start} on cannot be read ({error}); fetch or convert it again"
            ) from error
        yield from zip(times, units)


def _checked_events(path: Path, i: int, t_us: NDArray[Any], units: NDArray[Any]) -> Events:
    if t_us.size != units.size:
        raise DataError(f"{path}: sample {i} has {t_us.size} spikes/times and {units.size} spikes/units")
    if t_us.size and units.max() >= N_CHANNELS:
        j = int((units >= N_CHANNELS).argmax())
        raise DataError(f"{path}: spikes/units[{i}][{j}] is {units[j]}; SHD has channels 0 to {N_CHANNELS - 1}")
    # The layout promises no order; float16 keeps the order of what was rounded, so a stable sort loses nothing.
    if (t_us[1:] < t_us[:-1]).any():
        order = np.argsort(t_us, kind="stable")
        t_us, units = t_us[order], units[order]
    try:
        return Events(t_us, units, N_CHANNELS)
    except DataError as error:
        raise DataError(f"{path}: spikes of sample {i}: {error}") from error


def iterate_shd_hdf5(path: Path, reader: Reader = "auto") -> Iterator[Sample]:
    """Samples of a file in SHD's layout, in file order, events sorted by time.

    A time is ``floor(float64(seconds) * 1e6)`` microseconds, as Tonic's SHD gives it. ``reader``: ``"own"``,
    ``"tonic"`` (needs tonic >= 1.7), or ``"auto"``: Tonic where it is installed. Both yield equal events.

    Raises DataError naming file, key and sample; BackendUnavailableError if Tonic is asked for and cannot serve.
    """
    if reader not in ("auto", "tonic", "own"):
        raise DataError(f"unknown reader {reader!r}; choose auto, tonic or own")
    refusal = _tonic_refuses()
    if reader == "tonic" and refusal:
        raise BackendUnavailableError(refusal)
    if reader == "own" or refusal:
        yield from _iterate_own(path)
    else:
        yield from _iterate_tonic(path)


def _iterate_own(path: Path) -> Iterator[Sample]:
    with _open(path) as file:
        labels, speakers = file["labels"][()], file["extra/speaker"][()]
        for i, (times, units) in enumerate(_raw_samples(path, file)):
            _check_times(path, i, times)
            t_us = (times.astype(np.float64) * 1e6).astype(np.int64)
            yield Sample(_checked_events(path, i, t_us, units), int(labels[i]), int(speakers[i]))


def _check_times(path: Path, i: int, times: NDArray[np.floating[Any]]) -> None:
    good = np.isfinite(times) & (times >= 0)
    if not good.all():
        j = int((~good).argmax())
        raise DataError(
            f"{path}: spikes/times[{i}][{j}] is {times[j]}; expected seconds >= 0: fetch or convert it again"
        )


def _tonic_refuses() -> str | None:
    try:
        found = version("tonic")
    except PackageNotFoundError:
        return "tonic is not installed: pip install 'snn-delays[tonic]', or read with reader='own'"
    if tuple(int(part) for part in found.split(".")[:2]) < (1, 7):
        return f"tonic {found} overflows SHD's float16 times: install tonic >= 1.7, or read with reader='own'"
    return None


def _iterate_tonic(path: Path) -> Iterator[Sample]:
    with _open(path) as file:  # Tonic says little about a file that is not as it expects: look first
        for i, (times, units) in enumerate(_raw_samples(path, file)):
            _check_times(path, i, times)
            if times.size != units.size:
                raise DataError(f"{path}: sample {i} has {times.size} spikes/times and {units.size} spikes/units")
    from tonic.datasets import SHD

    # Tonic wants <folder>/SHD/shd_train.h5 with an archive of that name beside it, of which it reads nothing.
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder, "SHD")
        home.mkdir()
        (home / "shd_train.h5").symlink_to(path.resolve())
        (home / "shd_train.h5.zip").touch()
        dataset = SHD(folder, train=True)
        for i, speaker in enumerate(dataset.speaker):
            events, label = dataset[i]
            yield Sample(_checked_events(path, i, events["t"], events["x"]), int(label), int(speaker))


def read_shd_hdf5(path: Path, reader: Reader = "auto") -> list[Sample]:
    """All samples of a file in SHD's layout; see :func:`iterate_shd_hdf5`."""
    return list(iterate_shd_hdf5(path, reader))


def read_header(path: Path) -> tuple[tuple[str, ...], int]:
    """Names of the classes, in the order of the labels, and the number of samples."""
    with _open(path) as file:
        names = tuple(bytes(name).decode() for name in file["extra/keys"][()])
        return names, file["labels"].shape[0]


def content_sha256(path: Path) -> str:
    """Checksum of what an SHD file says, whichever version of HDF5 laid out its bytes.

    sha256 over, per sample: number of spikes (uint32), times (float16), units (uint16); then labels and speakers
    (uint16), and the class names joined by newlines; all little-endian.
    """
    digest = hashlib.sha256()
    with _open(path) as file:
        for times, units in _raw_samples(path, file):
            digest.update(np.array([times.size], dtype="<u4").tobytes())
            digest.update(times.astype("<f2").tobytes())
            digest.update(units.astype("<u2").tobytes())
        digest.update(file["labels"][()].astype("<u2").tobytes())
        digest.update(file["extra/speaker"][()].astype("<u2").tobytes())
        digest.update(b"\n".join(bytes(name) for name in file["extra/keys"][()]))
    return digest.hexdigest()
