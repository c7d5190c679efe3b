"""Reading a recording: any rate, WAV or FLAC, mono or stereo, and refused with a reason if it cannot be used."""

from importlib import import_module
from math import gcd
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.errors import BackendUnavailableError, DataError

SUFFIXES = (".wav", ".flac")
_RATES = (4_000, 768_000)
_SHORTEST_S = 0.01
_SILENT = 1e-5  # root mean square, a third of the smallest step of 16 bits
_FULL_SCALE = 1 - 1 / (1 << 10)
_RUN = 3  # samples in a row at full scale that are clipping and not a peak
_UNKNOWN = 0xFFFF_FFFF  # a length that a recorder writes before it knows the right one


def need(module: str) -> Any:
    """A module of the ``audio`` extra. Raises BackendUnavailableError saying how to install it."""
    try:
        return import_module(module)
    except (ImportError, OSError) as error:  # soundfile raises OSError where its library is missing
        raise BackendUnavailableError(
            f"the cochlea needs {module.partition('.')[0]} ({error}): pip install 'snn-delays[audio]'"
        ) from error


def read_audio(path: Path, rate: int, *, max_seconds: float = 600.0, max_clipped: float = 0.01) -> NDArray[np.float32]:
    """One recording as mono samples [time] at ``rate`` Hz; channels are averaged, other rates resampled.

    ``max_clipped`` is the share of samples that may be in runs of three or more at full scale (|x| > 0.999).

    Raises DataError naming the file, what is wrong with it and what to do, if it is missing, empty, not audio,
    truncated, longer than ``max_seconds``, silent, clipped, or holds NaN; BackendUnavailableError without the
    ``audio`` extra.
    """
    soundfile = need("soundfile")
    _check_size(path)
    try:
        info = soundfile.info(str(path))
        _check_header(path, info, max_seconds)
        samples = soundfile.read(str(path), dtype="float32", always_2d=True)[0]
    except (soundfile.SoundFileError, TypeError) as error:
        reason = str(getattr(error, "error_string", error)).removeprefix("Error :").strip(" .")
        raise _damaged(path, f"cannot be decoded ({reason}); it is damaged, half-written or not WAV or FLAC") from error
    if len(samples) != info.frames:
        raise _damaged(path, f"is truncated: its header announces {info.frames} samples and {len(samples)} are there")
    try:
        return prepare(samples, info.samplerate, rate, max_clipped=max_clipped)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error


def prepare(samples: NDArray[Any], found_rate: int, rate: int, *, max_clipped: float = 0.01) -> NDArray[np.float32]:
    """Samples [time] or [time, channel] within -1..1 as mono float32 [time] at ``rate`` Hz. Raises DataError."""
    samples = np.asarray(samples)
    if samples.dtype.kind != "f":
        raise DataError(f"samples are {samples.dtype}, expected floats within -1..1; divide 16-bit samples by 32768")
    samples = samples.astype(np.float32)
    if samples.ndim not in (1, 2):
        raise DataError(f"samples must have axes [time] or [time, channel], got shape {samples.shape}")
    samples = samples.reshape(len(samples), -1)
    if not _RATES[0] <= found_rate <= _RATES[1]:
        raise DataError(f"the sample rate is {found_rate} Hz, expected {_RATES[0]} to {_RATES[1]}; is it right?")
    if samples.shape[0] < _SHORTEST_S * found_rate:
        raise DataError(
            f"{samples.shape[0]} samples at {found_rate} Hz are shorter than {_SHORTEST_S * 1e3:g} ms; leave it out"
        )
    finite = np.isfinite(samples)
    if not finite.all():
        i = int((~finite).any(axis=1).argmax())
        raise DataError(f"sample {i} ({i / found_rate:.3f} s) is {samples[i][~finite[i]][0]}; export the sound again")
    clipped = _clipped(samples)
    if clipped > max_clipped:
        raise DataError(
            f"{clipped:.1%} of the samples are clipped (runs at full scale), more than the {max_clipped:.1%} allowed; "
            "record it at a lower level, or allow more with max_clipped"
        )
    mono = samples.mean(axis=1)
    if (level := float(np.sqrt(np.mean(np.square(mono, dtype=np.float64))))) < _SILENT:
        loud = samples.shape[1] > 1 and float(np.abs(samples).max()) > 100 * _SILENT
        why = "its channels cancel when mixed: give one of them" if loud else "leave it out or record it again"
        raise DataError(f"silent (root mean square {level:.1e} of full scale); {why}")
    if found_rate != rate:
        common = gcd(found_rate, rate)
        mono = need("scipy.signal").resample_poly(mono, rate // common, found_rate // common).astype(np.float32)
    return mono


def _clipped(samples: NDArray[np.float32]) -> float:
    """Share of the samples that are in runs of three or more at one end of the scale."""
    runs = 0
    for side in (samples >= _FULL_SCALE, samples <= -_FULL_SCALE):
        padded = np.pad(side.astype(np.int8), ((1, 1), (0, 0)))
        edges = np.diff(padded, axis=0).T
        start, stop = (np.argwhere(edges == sign)[:, 1] for sign in (1, -1))
        length = stop - start
        runs += int(length[length >= _RUN].sum())
    return runs / samples.size


def _check_size(path: Path) -> None:
    """Missing, empty, and WAV whose data chunk is longer than the file: libsndfile would quietly read what is there."""
    if not path.is_file():
        raise DataError(f"{path} {'is not a file' if path.exists() else 'does not exist'}; give WAV or FLAC files")
    size = path.stat().st_size
    if size == 0:
        raise _damaged(path, "is empty (0 bytes)")
    with path.open("rb") as file:
        head = file.read(12)
        if head[:4] != b"RIFF" or head[8:] != b"WAVE":  # RF64 and others have lengths of their own
            return
        while len(chunk := file.read(8)) == 8:
            length = int.from_bytes(chunk[4:], "little")
            if chunk[:4] == b"data":
                there = size - file.tell()
                if length > there or (length == 0 and there > 0):
                    announced = "no length" if length in (0, _UNKNOWN) else f"{length} bytes of sound"
                    raise _damaged(path, f"is half-written: its header announces {announced} and {there} are there")
                return
            file.seek(length + length % 2, 1)
    raise _damaged(path, "is half-written: its header announces no sound")


def _damaged(path: Path, what: str) -> DataError:
    return DataError(f"{path} {what}; fetch or record it again")


def _check_header(path: Path, info: Any, max_seconds: float) -> None:
    if info.frames == 0:
        raise DataError(f"{path} is empty: 0 samples of sound; leave it out or record it again")
    seconds = info.frames / info.samplerate
    if not 0 < seconds <= max_seconds:
        if info.frames >= 1 << 48:
            raise DataError(f"{path}: its header does not say how long it is; re-encode it from a complete file")
        raise DataError(
            f"{path} lasts {seconds:.0f} s, longer than the {max_seconds:g} s allowed; cut it into recordings of one "
            "word each, or raise max_seconds"
        )
