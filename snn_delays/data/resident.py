"""A binned data set that is resident on a device, so that an epoch copies nothing there but indices."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from snn_delays.data.batches import Batch, Indices, Padding
from snn_delays.data.dataset import BinnedDataset
from snn_delays.errors import DataError


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
