"""A whole binned data set, in memory, mapped from disk or on a device, and the batches drawn from it."""

import hashlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from snn_delays.arguments import integer
from snn_delays.data.batches import Batch, Indices, Padding, check_padding, pad_collate, sample_index, sample_indices
from snn_delays.data.binning import Binning
from snn_delays.data.from_arrays import counts_of, numbered
from snn_delays.errors import DataError
from snn_delays.npy import MappedArray

_MOST_IN_A_BATCH = 1 << 34  # counts; beyond that one long sample would fill the memory of any machine


@dataclass(frozen=True, eq=False)
class BinnedDataset(Dataset[tuple[Tensor, int]]):
    """Counts of all samples, one after another; a map-style data set of PyTorch.

    ``dataset[i]`` is ``(counts, label)``: a tensor ``[time, *sensor]`` of its own, and an int. Samples differ in
    length: a ``DataLoader`` pads them with ``collate_fn=dataset.collate`` (:func:`snn_delays.data.pad_collate`).

    ``counts`` uint8 or float32 ``[total_steps, *sensor]``, which may be mapped from a file; sample i occupies steps
    ``offsets[i]`` to ``offsets[i + 1]`` (``offsets`` int64 ``[n + 1]``); ``labels``, ``speakers`` int64 ``[n]``;
    ``source``: display name of the data set, by checksum; ``checksum``: sha256 of what it came from; ``skipped``: the
    errors of the recordings that were left out because they could not be read.

    Raises DataError if the arrays contradict each other.
    """

    counts: NDArray[np.uint8] | NDArray[np.float32]
    offsets: NDArray[np.int64]
    labels: NDArray[np.int64]
    speakers: NDArray[np.int64]
    source: str
    checksum: str
    binning: Binning
    n_classes: int
    class_names: tuple[str, ...]
    skipped: tuple[str, ...] = ()

    collate = staticmethod(pad_collate)

    def __post_init__(self) -> None:
        for name in ("offsets", "labels", "speakers"):
            object.__setattr__(self, name, _integers(name, getattr(self, name)))
        object.__setattr__(self, "n_classes", integer("n_classes", self.n_classes))
        n = len(self.labels)
        if not isinstance(self.counts, np.ndarray):
            raise DataError(
                f"counts must be an array, got {type(self.counts).__name__}; BinnedDataset.from_arrays takes a list"
            )
        if self.counts.dtype not in (np.uint8, np.float32) or self.counts.ndim < 2:
            raise DataError(
                f"counts must be uint8 or float32 [steps, channel] or [steps, polarity, y, x], got {self.counts.dtype} "
                f"{self.counts.shape}"
            )
        if self.offsets.shape != (n + 1,) or self.speakers.shape != (n,):
            raise DataError(
                f"{n} labels need {n + 1} offsets and {n} speakers, got {self.offsets.shape} and {self.speakers.shape}"
            )
        if self.offsets[0] != 0 or self.offsets[-1] != len(self.counts) or (np.diff(self.offsets) <= 0).any():
            raise DataError(
                f"offsets must rise from 0 to the {len(self.counts)} steps of counts, each sample having at least one"
            )
        if n and (self.labels.min() < 0 or self.labels.max() >= self.n_classes):
            raise DataError(
                f"labels must lie in 0 to {self.n_classes - 1}, got {self.labels.min()}..{self.labels.max()}"
            )
        if len(self.class_names) != self.n_classes:
            raise DataError(f"{self.n_classes} classes need as many names, got {len(self.class_names)}")

    @classmethod
    def from_arrays(
        cls,
        recordings: Sequence[Any] | NDArray[Any],
        labels: Sequence[int] | Sequence[str] | NDArray[Any],
        *,
        binning: Binning | None = None,
        speakers: Sequence[int] | NDArray[Any] | None = None,
        class_names: Sequence[str] | None = None,
        source: str = "own arrays",
    ) -> "BinnedDataset":
        """A data set of recordings that are in memory.

        ``recordings``: :class:`Events`, one each, which ``binning`` bins; or counts ``[time, *sensor]``, one array each
        or all in one ``[sample, time, *sensor]``: integers or bool from 0 to 255, or float32, whose steps are taken to
        last ``binning.dt_ms``. ``binning`` defaults to steps of 10 ms with all channels. ``labels``: numbers from 0, or
        names of classes. ``class_names``: in the order of the numbers; default: the names in alphabetical order, or
        ``"0"``, ``"1"``, ... up to the largest label. ``speakers``: -1, unknown, by default. ``source``: the name that
        results are shown under.

        Raises DataError naming the recording for what a count cannot hold, for a recording without events or steps, or
        for arrays that contradict each other.
        """
        binning = binning or Binning(channel_group=1)
        if len(recordings) == 0:
            raise DataError("a data set needs at least one recording")
        parts = [counts_of(i, recording, binning) for i, recording in enumerate(recordings)]
        if len(kinds := {(part.shape[1:], part.dtype) for part in parts}) > 1:
            raise DataError(f"recordings differ in sensor or dtype: {sorted(map(str, kinds))}")
        numbers, names = numbered(labels, class_names)
        counts: NDArray[Any] = np.concatenate(parts)
        offsets = offsets_of([len(part) for part in parts])
        digest = hashlib.sha256(f"{counts.dtype} {counts.shape[1:]} {names}".encode())
        for array in (counts, offsets, numbers):
            digest.update(np.ascontiguousarray(array).data)
        speakers = np.full(len(parts), -1, dtype=np.int64) if speakers is None else np.asarray(speakers)
        return cls(counts, offsets, numbers, speakers, source, digest.hexdigest(), binning, len(names), names)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[Tensor, int]:
        """Counts ``[time, *sensor]`` of sample ``i``, copied, and its label. Raises SampleIndexError."""
        i = sample_index(i, len(self))
        return torch.from_numpy(np.array(self.sample(i))), int(self.labels[i])

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        return (self[i] for i in range(len(self)))

    def __getstate__(self) -> dict[str, Any]:
        """Counts that are mapped from a file travel as its path: a worker of a ``DataLoader`` maps them again."""
        return {**self.__dict__, "counts": MappedArray.of(self.counts)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        counts = state["counts"]
        self.__dict__.update({**state, "counts": counts.open() if isinstance(counts, MappedArray) else counts})

    @property
    def sensor(self) -> tuple[int, ...]:
        """Shape of one step after grouping: ``(channels,)`` or ``(polarity, height, width)``."""
        return self.counts.shape[1:]

    @property
    def n_channels(self) -> int:
        """Channels after grouping."""
        return math.prod(self.sensor)

    def in_a_row(self) -> "BinnedDataset":
        """The same with the channels of each step in one row; a view."""
        return self if len(self.sensor) == 1 else replace(self, counts=self.counts.reshape(len(self.counts), -1))

    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sample, int64 ``[n]``."""
        return np.diff(self.offsets)

    def sample(self, i: int) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Counts of one sample, ``[time, *sensor]``, a view."""
        i = sample_index(i, len(self))
        return self.counts[self.offsets[i] : self.offsets[i + 1]]

    def subset(self, indices: Indices) -> "BinnedDataset":
        """The samples named by ``indices``, in that order, copied.

        ``indices``: integers, or a mask of ``len(self)``, as in ``dataset.subset(dataset.labels == 3)``. Raises
        SampleIndexError for anything else; see :func:`sample_indices`.
        """
        chosen = sample_indices(indices, len(self))
        lengths = self.lengths()[chosen]
        offsets = offsets_of(lengths)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return replace(
            self, counts=self.counts[rows], offsets=offsets, labels=self.labels[chosen], speakers=self.speakers[chosen]
        )

    def batch(self, indices: Indices, tail_steps: int = 0, padding: Padding = "masked") -> Batch:
        """Samples padded with zeros at the end to the longest of them.

        ``tail_steps``: silent steps after each sample, in which delayed spikes may still arrive; they count to its
        length. ``padding="masked"``: every sample keeps its own length, so that its result does not depend on its
        neighbours. ``"published"``: every length is that of the batch, as in the code of Hammouamri et al. (ICLR 2024).

        Raises ConfigError for a negative tail or an unknown padding, DataError for an index out of range.
        """
        chosen, lengths = self.batch_lengths(indices, tail_steps, padding)
        counts = np.zeros((int(lengths.max()), chosen.size, *self.sensor), dtype=self.counts.dtype)
        for j, i in enumerate(chosen):
            start, end = self.offsets[i], self.offsets[i + 1]
            counts[: end - start, j] = self.counts[start:end]
        return Batch(torch.from_numpy(counts), torch.from_numpy(lengths), torch.from_numpy(self.labels[chosen]))

    def batch_lengths(
        self, indices: Indices, tail_steps: int, padding: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of a batch, checked, and the length that each of its samples has in it; see :meth:`batch`."""
        tail_steps = check_padding(tail_steps, padding)
        chosen = sample_indices(indices, len(self))
        if chosen.size == 0:
            raise DataError("a batch needs at least one sample")
        lengths = self.lengths()[chosen] + tail_steps
        if (size := int(lengths.max()) * chosen.size * self.n_channels) > _MOST_IN_A_BATCH:
            raise DataError(
                f"{chosen.size} samples padded to {lengths.max():,} steps of {self.n_channels:,} channels are {size:,} "
                f"counts, more than {_MOST_IN_A_BATCH:,}: take smaller batches, longer steps, or cut or leave out the "
                f"longest recording (sample {chosen[lengths.argmax()]})"
            )
        return chosen, np.full_like(lengths, lengths.max()) if padding == "published" else lengths


class ResidentDataset:
    """The same batches as :meth:`BinnedDataset.batch`, cut out on ``device``.

    Takes ``counts.nbytes`` there (SHD at 10 ms and 140 channels: 115 MB). Nothing is read back, so the host does not
    wait for the device. Raises DataError if the device has no room.
    """

    def __init__(self, dataset: BinnedDataset, device: torch.device | str) -> None:
        self.dataset, self.device = dataset, torch.device(device)
        silent = np.zeros_like(dataset.counts[:1])  # what every step after a sample's end looks at
        try:
            self._counts = torch.from_numpy(np.concatenate([dataset.counts, silent])).to(self.device)
        except torch.OutOfMemoryError as error:
            size = dataset.counts.nbytes / 2**20
            raise DataError(f"{self.device} has no room for the data set's {size:.0f} MiB; train on the cpu") from error
        self._labels = torch.from_numpy(dataset.labels).to(self.device)

    @property
    def labels(self) -> NDArray[np.int64]:
        """Labels of all samples, on the host."""
        return self.dataset.labels

    def lengths(self) -> NDArray[np.int64]:
        """Steps of each sample, on the host."""
        return self.dataset.lengths()

    def batch(self, indices: Indices, tail_steps: int = 0, padding: Padding = "masked") -> Batch:
        """See :meth:`BinnedDataset.batch`; the tensors are on the device."""
        chosen, lengths = self.dataset.batch_lengths(indices, tail_steps, padding)
        starts = self._there(self.dataset.offsets[chosen])
        own_lengths = self._there(self.dataset.lengths()[chosen])
        step = torch.arange(int(lengths.max()), device=self.device).unsqueeze(1)
        rows = torch.where(step < own_lengths, starts + step, len(self._counts) - 1)
        return Batch(self._counts[rows], self._there(lengths), self._labels[self._there(chosen)])

    def _there(self, numbers: NDArray[np.int64]) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(numbers)).to(self.device, non_blocking=True)


def offsets_of(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each sample begins among the steps of all, and the last one ends; int64 ``[n + 1]``."""
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _integers(name: str, values: Any) -> NDArray[np.int64]:
    array = np.asarray(values)
    if array.size and array.dtype.kind not in "iu":
        raise DataError(f"{name} must hold integers, got {array.dtype}; convert them first")
    return array.astype(np.int64, copy=False)
