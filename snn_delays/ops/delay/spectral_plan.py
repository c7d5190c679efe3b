"""Sizes of one call of the spectral backend, and the transforms bound to them."""

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.delay import lane_fft
from snn_delays.ops.delay.transform_length import transform_length
from snn_delays.ops.packed import Packed
from snn_delays.ops.workspace import scratch


class SpectralPlan:
    """Transforms of length ``n`` in ``blocks`` blocks that begin ``hop`` steps apart.

    The signal is the input behind ``past`` steps of its history; up to ``max_delay_steps`` there is silence before it.
    """

    def __init__(self, steps: int, max_delay_steps: int, past: int, dtype: torch.dtype) -> None:
        self.max_delay_steps, self.steps, self.past, self.dtype = max_delay_steps, steps, past, dtype
        self.n, self.blocks = transform_length(steps, max_delay_steps)
        self.hop = self.n - max_delay_steps
        self.frequencies = self.n // 2 + 1
        self._silence = max_delay_steps - past
        self._tables = lane_fft.tables(self.n, str(dtype).removeprefix("torch."))

    def scratch(self, name: str, rows: int, columns: int) -> Tensor:
        """Room for a spectrum ``[frequency, 2, row, column]``."""
        return scratch(name, (self.frequencies, 2, rows, columns), self.dtype)

    def transform(self, x: Packed, into: Tensor, place: int = 0, take: int | None = None) -> Tensor:
        """Spectrum of a signal's blocks; or of those of a current, their first ``take`` steps put at ``place``."""
        signal, spectrum = _array(x.numbers), into.numpy()
        scale, silence = spectrum.dtype.type(x.scale), self._silence if take is None else 0
        take = self.n if take is None else take
        lane_fft.rfft(signal, scale, self.n, self.blocks, self.hop, silence, place, take, *self._tables, 0, spectrum)
        return into

    def restore(self, spectrum: Tensor, y: Tensor, skip: int = 0, take: int | None = None) -> Tensor:
        """Signal put together from its blocks; or a current, from ``take`` steps of each from step ``skip`` on."""
        silence, take = self._silence if take is None else 0, self.n if take is None else take
        lane_fft.irfft(
            spectrum.numpy(), self.n, self.blocks, self.hop, silence, skip, take, *self._tables, 0, y.numpy()
        )  # fmt: skip
        return y

    def transform_kernel(self, kernel: Tensor, into: Tensor, first_row: int) -> None:
        """Spectrum of the kernel ``[D + 1, rows, in]`` of some output neurons, from ``first_row`` on."""
        spectrum = into.numpy()
        one, window = spectrum.dtype.type(1), self.max_delay_steps + 1
        lane_fft.rfft(_array(kernel), one, self.n, 1, 0, 0, 0, window, *self._tables, first_row, spectrum)

    def restore_kernel(self, spectrum: Tensor, kernel: Tensor, first_row: int) -> None:
        """The way back of :meth:`transform_kernel`."""
        window = self.max_delay_steps + 1
        lane_fft.irfft(spectrum.numpy(), self.n, 1, 0, 0, 0, window, *self._tables, first_row, kernel.numpy())


def _array(x: Tensor) -> np.ndarray:
    return x.detach().contiguous().numpy()
