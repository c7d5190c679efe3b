"""The compact form in which spoken digits travel: sorted keys, their differences, three byte planes, xz.

Inside the xz lies an ``.npz``: ``n_spikes`` uint16, ``label``, ``speaker`` and ``trial`` uint8, one per sample;
``tick_us`` and ``n_units``; and ``d0``, ``d1``, ``d2`` uint8: low, middle and high byte of the differences of each
sample's ascending keys ``tick * n_units + unit``, the first difference of a sample being its first key.
"""

import io
import lzma
import os
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from snn_delays.data.batches import Indices, sample_indices
from snn_delays.data.events import Events, Sample
from snn_delays.errors import DataError
from snn_delays.files import atomic_path
from snn_delays.npy import read_npy
from snn_delays.reading import open_regular, read_at_most, read_member, room_for

_KEYS = ("n_spikes", "label", "speaker", "trial", "tick_us", "n_units", "d0", "d1", "d2")
_SCALARS = ("tick_us", "n_units")
_MOST_SAMPLES, _LEAST_ROOM, _HEADER = 1 << 24, 1 << 20, 1 << 10  # samples; bytes of an array, and of its header


@dataclass(frozen=True, eq=False)
class SpikeArchive:
    """An opened archive; samples are decoded one at a time.

    ``step`` int32 [spike] differences of keys; ``n_spikes``, ``label``, ``speaker``, ``trial`` int64 [sample].
    """

    step: NDArray[np.int32]
    n_spikes: NDArray[np.int64]
    label: NDArray[np.int64]
    speaker: NDArray[np.int64]
    trial: NDArray[np.int64]
    tick_us: int
    n_units: int

    def __len__(self) -> int:
        return self.n_spikes.size

    def __iter__(self) -> Iterator[Sample]:
        ends = np.cumsum(self.n_spikes)
        for i, end in enumerate(ends):
            key = np.cumsum(self.step[end - self.n_spikes[i] : end], dtype=np.int64)
            tick, unit = np.divmod(key, self.n_units)
            events = Events(tick * self.tick_us, unit, self.n_units)
            yield Sample(events, int(self.label[i]), int(self.speaker[i]))

    def subset(self, indices: Indices) -> "SpikeArchive":
        """The samples named by ``indices``, integers or a mask, in that order; see :func:`indices.sample_indices`."""
        indices = sample_indices(indices, len(self))
        ends = np.cumsum(self.n_spikes)
        parts = [self.step[ends[i] - self.n_spikes[i] : ends[i]] for i in indices]
        return SpikeArchive(
            np.concatenate(parts) if parts else self.step[:0],
            self.n_spikes[indices],
            self.label[indices],
            self.speaker[indices],
            self.trial[indices],
            self.tick_us,
            self.n_units,
        )


def read_archive(path: Path) -> SpikeArchive:
    """Open an archive. Raises DataError if it is missing, damaged, or its arrays contradict each other."""
    try:
        with open_regular(path) as packed, lzma.open(packed) as f:
            content = read_at_most(f, room_for(os.fstat(packed.fileno()).st_size))
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise ValueError("there is no .npz inside")
        arrays = _arrays(path, content)
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; give the path of a .npz.xz archive of spikes") from error
    except DataError:
        raise
    except Exception as error:  # the headers inside are parsed as Python, and damage raises what that parser raises
        raise DataError(f"{path} is damaged or not an archive of spikes ({error}); fetch it again") from error
    for key, array in arrays.items():
        if array.dtype.kind not in "iu" or array.ndim != (0 if key in _SCALARS else 1):
            raise DataError(f"{path}: {key} holds {array.dtype} of shape {array.shape}, expected integers")
        if array.size and array.min() < (key in _SCALARS):
            raise DataError(f"{path}: {key} has {array.min()}, expected at least {int(key in _SCALARS)}")
    n_samples, n_spikes = arrays["n_spikes"].size, int(arrays["n_spikes"].sum(dtype=np.int64))
    for key in ("label", "speaker", "trial"):
        if arrays[key].shape != (n_samples,):
            raise DataError(f"{path}: {key} has shape {arrays[key].shape}, expected ({n_samples},) as n_spikes")
    for key in ("d0", "d1", "d2"):
        if arrays[key].shape != (n_spikes,):
            raise DataError(f"{path}: {key} has shape {arrays[key].shape}, expected ({n_spikes},), the sum of n_spikes")
    step = arrays["d0"].astype(np.int32)
    step |= arrays["d1"].astype(np.int32) << 8
    step |= arrays["d2"].astype(np.int32) << 16
    return SpikeArchive(
        step,
        arrays["n_spikes"].astype(np.int64),
        arrays["label"].astype(np.int64),
        arrays["speaker"].astype(np.int64),
        arrays["trial"].astype(np.int64),
        int(arrays["tick_us"]),
        int(arrays["n_units"]),
    )


def _arrays(path: Path, content: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of an ``.npz``; ``n_spikes``, the first, says how much there may be in the others."""
    arrays: dict[str, NDArray[Any]] = {}
    room = _MOST_SAMPLES * 2
    with zipfile.ZipFile(io.BytesIO(content)) as z:
        for key in _KEYS:
            if f"{key}.npy" not in z.namelist():
                raise DataError(f"{path}: no array {key!r} inside; this is not an archive of spikes")
            arrays[key] = read_npy(read_member(z, f"{key}.npy", room + _HEADER))
            if key == "n_spikes":
                room = max(_LEAST_ROOM, arrays[key].nbytes, int(arrays[key].sum(dtype=np.int64)))
    return arrays


def write_archive(path: Path, archive: SpikeArchive) -> None:
    """Write an archive, whole or not at all; equal archives give equal bytes (with one version of liblzma).

    Raises DataError if a number does not fit its field.
    """
    for key, limit in (("n_spikes", 1 << 16), ("label", 256), ("speaker", 256), ("trial", 256), ("step", 1 << 24)):
        values = getattr(archive, key)
        if values.size and (values.min() < 0 or values.max() >= limit):
            raise DataError(f"{key} must lie in 0 to {limit - 1} to fit its field of {path.name}")
    buffer = io.BytesIO()
    np.savez(
        buffer,
        n_spikes=archive.n_spikes.astype(np.uint16),
        label=archive.label.astype(np.uint8),
        speaker=archive.speaker.astype(np.uint8),
        trial=archive.trial.astype(np.uint8),
        tick_us=np.int64(archive.tick_us),
        n_units=np.int64(archive.n_units),
        d0=(archive.step & 255).astype(np.uint8),
        d1=(archive.step >> 8 & 255).astype(np.uint8),
        d2=(archive.step >> 16).astype(np.uint8),
    )
    with atomic_path(path) as temporary:
        temporary.write_bytes(lzma.compress(buffer.getvalue(), preset=9 | lzma.PRESET_EXTREME))


def pack(samples: list[Sample], trials: list[int], *, tick_us: int) -> SpikeArchive:
    """Samples as an archive. Raises DataError unless every time is a multiple of ``tick_us`` and no spike is double."""
    steps = []
    n_units = samples[0].events.n_channels if samples else 1
    for i, sample in enumerate(samples):
        tick, rest = np.divmod(sample.events.t_us, tick_us)
        if rest.any() or sample.events.n_channels != n_units:
            raise DataError(f"sample {i}: times must be multiples of {tick_us} us and channels {n_units} in number")
        key = np.sort(tick * n_units + sample.events.channel)
        step = np.diff(key, prepend=0)
        if (step[1:] == 0).any():
            raise DataError(f"sample {i}: two spikes of one channel fall into one tick of {tick_us} us")
        steps.append(step.astype(np.int32))
    return SpikeArchive(
        np.concatenate(steps) if steps else np.zeros(0, dtype=np.int32),
        np.array([len(s.events) for s in samples], dtype=np.int64),
        np.array([s.label for s in samples], dtype=np.int64),
        np.array([s.speaker for s in samples], dtype=np.int64),
        np.array(trials, dtype=np.int64),
        tick_us,
        n_units,
    )
