"""Sizes of one call of the spectral backend, and the transforms bound to them."""

import itertools

import torch
from torch import Tensor

from snn_delays.ops.delay import lane_fft
from snn_delays.ops.delay.transform_length import transform_length
from snn_delays.ops.lanes import array
from snn_delays.ops.packed import Packed
from snn_delays.ops.workspace import empty

GROUP_BYTES = 96 * 2**20  # of the spectra that are held at once; more groups read the kernel more often


class SpectralPlan:
    """Transforms of length ``n`` in ``blocks`` blocks that begin ``hop`` steps apart.

    The signal is the input after ``past`` steps of its history; up to ``max_delay_steps`` there is silence before it.
    """

    def __init__(self, steps: int, max_delay_steps: int, past: int, dtype: torch.dtype) -> None:
        self.max_delay_steps, self.steps, self.past, self.dtype = max_delay_steps, steps, past, dtype
        self.n, self.blocks = transform_length(steps, max_delay_steps)
        self.hop = self.n - max_delay_steps
        self.frequencies = self.n // 2 + 1
        self._element_bytes = torch.finfo(dtype).bits // 8
        self._silence = max_delay_steps - past
        self._tables = lane_fft.tables(self.n, str(dtype).removeprefix("torch."))

    def is_real(self, part: slice) -> bool:
        """Whether these frequencies are one alone, whose spectra are real: the first or, for even n, the last."""
        return part.stop - part.start == 1 and part.start in (0, self.n / 2)

    def groups(self, batch: int, columns: int) -> list[slice]:
        """Samples that are worked on together, so that spectra of ``columns`` neurons need no more than GROUP_BYTES."""
        each = 2 * self.frequencies * self.blocks * columns * self._element_bytes
        count = min(batch, -(-batch * each // GROUP_BYTES))
        bounds = [k * batch // count for k in range(count + 1)]
        return [slice(*ends) for ends in itertools.pairwise(bounds)]

    def spectra(self, rows: int, *columns: int) -> list[Tensor]:
        """Room for spectra ``[frequency, 2, row, column]``, one for each number of columns."""
        with torch.inference_mode(False):  # other threads, which know nothing of the mode, write into it
            return [empty((self.frequencies, 2, rows, each), self.dtype) for each in columns]

    def kernel_spectrum(self, outputs: int, inputs: int) -> Tensor:
        """Room for the spectrum ``[frequency, 2, out, in]`` of a kernel."""
        return self.spectra(outputs, inputs)[0]

    def transform(self, x: Packed, samples: slice, into: Tensor, place: int = 0, take: int | None = None) -> None:
        """Spectrum of a signal's blocks; or of those of a current, their first ``take`` steps put at ``place``."""
        signal, spectrum = array(x.numbers), into.numpy()
        scale, silence = spectrum.dtype.type(x.scale), self._silence if take is None else 0
        lane_fft.rfft(
            signal, samples.start, samples.stop - samples.start, scale, self.n, self.blocks, self.hop, silence, place,
            self.n if take is None else take, *self._tables, 0, spectrum,
        )  # fmt: skip

    def restore(self, spectrum: Tensor, y: Tensor, samples: slice, skip: int = 0, take: int | None = None) -> None:
        """Signal put together from its blocks; or a current, from ``take`` steps of each from step ``skip`` on."""
        silence = self._silence if take is None else 0
        lane_fft.irfft(
            spectrum.numpy(), self.n, self.blocks, self.hop, silence, skip, self.n if take is None else take,
            *self._tables, 0, y.numpy(), samples.start, samples.stop - samples.start,
        )  # fmt: skip

    def transform_kernel(self, kernel: Tensor, into: Tensor, first_row: int) -> None:
        """Spectrum of the kernel ``[D + 1, rows, in]`` of some output neurons, from ``first_row`` on."""
        spectrum = into.numpy()
        one, window = spectrum.dtype.type(1), self.max_delay_steps + 1
        lane_fft.rfft(
            array(kernel), 0, kernel.shape[1], one, self.n, 1, 0, 0, 0, window, *self._tables, first_row, spectrum
        )

    def restore_kernel(self, spectrum: Tensor, kernel: Tensor, first_row: int) -> None:
        """The inverse of :meth:`transform_kernel`."""
        window = self.max_delay_steps + 1
        lane_fft.irfft(
            spectrum.numpy(), self.n, 1, 0, 0, 0, window, *self._tables, first_row, kernel.numpy(), 0, kernel.shape[1]
        )
