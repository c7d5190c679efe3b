"""A whole binned data set, in memory or mapped from disk, and the batches drawn from it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.data.binning import Binning
from snn_delays.errors import ConfigError, DataError


class Batch(NamedTuple):
    """Samples side by side.

    ``counts`` uint8 (float32 where the input is not of spikes) ``[time, batch, channel]``, of an event camera ``[time,
    batch, polarity, y, x]``, zero after a sample's end; ``lengths`` int64 ``[batch]``, in steps: how
    far the readout and the loss may look; ``labels`` int64 ``[batch]`` (float32 ``[batch, class]`` after CutMix).
    """

    counts: Tensor
    lengths: Tensor
    labels: Tensor


@dataclass(frozen=True, eq=False)
class BinnedDataset:
    """Counts of all samples, one after another.

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

    def __post_init__(self) -> None:
        n = len(self.labels)
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

    def __len__(self) -> int:
        return len(self.labels)

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
        self._check(np.array([i]))
        return self.counts[self.offsets[i] : self.offsets[i + 1]]

    def subset(self, indices: Sequence[int] | NDArray[np.int64]) -> "BinnedDataset":
        """The samples named by ``indices``, in that order, copied."""
        chosen = np.asarray(indices, dtype=np.int64)
        self._check(chosen)
        lengths = self.lengths()[chosen]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        rows = np.arange(offsets[-1]) + np.repeat(self.offsets[chosen] - offsets[:-1], lengths)
        return replace(
            self,
            counts=self.counts[rows],
            offsets=offsets,
            labels=self.labels[chosen],
            speakers=self.speakers[chosen],
        )

    def batch(
        self,
        indices: Sequence[int] | NDArray[np.int64],
        tail_steps: int = 0,
        padding: Literal["masked", "published"] = "masked",
    ) -> Batch:
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
        self, indices: Sequence[int] | NDArray[np.int64], tail_steps: int, padding: str
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices of a batch, checked, and the length that each of its samples has in it; see :meth:`batch`."""
        if tail_steps < 0:
            raise ConfigError(f"tail_steps must be >= 0, got {tail_steps}")
        if padding not in ("masked", "published"):
            raise ConfigError(f"unknown padding {padding!r}; choose masked or published")
        chosen = np.asarray(indices, dtype=np.int64)
        if chosen.size == 0:
            raise DataError("a batch needs at least one sample")
        self._check(chosen)
        lengths = self.lengths()[chosen] + tail_steps
        return chosen, np.full_like(lengths, lengths.max()) if padding == "published" else lengths

    def _check(self, indices: NDArray[np.int64]) -> None:
        if indices.size and (indices.min() < 0 or indices.max() >= len(self)):
            raise DataError(f"indices must lie in 0 to {len(self) - 1}, got {indices.min()}..{indices.max()}")
