"""The kernel's spectrum, some frequencies at a time, and the gradients of weight and delay from its own."""

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.delay.expansion import expansion, polynomials, tolerance_of
from snn_delays.ops.delay.kernel_parts import dense_gradients, kernel_gradients, output_parts, part
from snn_delays.ops.delay.narrow_kernel import is_narrow, narrow_gradients, narrow_kernel
from snn_delays.ops.delay.spectral_plan import SpectralPlan
from snn_delays.ops.delay.taps import delay_kernel
from snn_delays.ops.workspace import scratch

KERNEL_BYTES = 2**20  # of the dense kernel built at once: its temporaries then stay in the second-level cache

Gradients = tuple[Tensor | None, Tensor | None, Tensor | None]


class KernelSpectrum(Protocol):
    """Spectrum ``[frequency, 2, out, in]`` of the kernel of weight, delay and sigma.

    ``lasts``: whether the spectrum can be passed over again while its gradient is taken in.
    """

    lasts: bool

    def part(self, first: int, last: int) -> Tensor:
        """The frequencies from ``first`` to before ``last``; valid until the next call."""

    def room(self, first: int, last: int) -> Tensor:
        """Where the spectrum of the kernel's gradient is to be written: ``[frequency, 2, out, in]``.

        May be the memory of :meth:`part`: write a frequency when its part has been used.
        """

    def take_in(self, thread: int, first: int, last: int) -> None:
        """Take in what was written to :meth:`room`, each frequency once. Threads go by different numbers."""

    def gradients(self) -> Gradients:
        """Gradients of weight, delay and sigma, once those of all frequencies were taken in."""


def kernel_spectrum(
    plan: SpectralPlan, weight: Tensor, delay: Tensor, sigma: Tensor | None, taps: str, learns_sigma: bool
) -> KernelSpectrum:
    """The way to the spectrum that takes the fewest numbers per synapse."""
    if sigma is not None and sigma.numel() == 1 and not learns_sigma:
        found = expansion(float(sigma.detach()), plan.max_delay_steps, taps, tolerance_of(plan.dtype))
        if found is not None:
            return Expanded(plan, weight, delay, sigma, found)
    return Transformed(plan, weight, delay, sigma, taps)


class Transformed:
    """The dense kernel, built and transformed a few output neurons at a time; any taps, any width."""

    lasts = False  # the gradient takes its place

    def __init__(self, plan: SpectralPlan, weight: Tensor, delay: Tensor, sigma: Tensor | None, taps: str) -> None:
        self._plan, self._given, self._taps = plan, (weight, delay, sigma), taps
        self._narrow = is_narrow(delay, sigma, plan.max_delay_steps, taps)
        outputs, inputs, _ = weight.shape
        self._rows = output_parts(weight, plan.max_delay_steps + 1, KERNEL_BYTES)
        self._spectrum = plan.kernel_spectrum(outputs, inputs)
        for rows in self._rows:
            parts = weight[rows], part(delay, rows, outputs), part(sigma, rows, outputs)
            kernel = (narrow_kernel if self._narrow else delay_kernel)(*parts, plan.max_delay_steps, taps)
            plan.transform_kernel(kernel, self._spectrum, rows.start)

    def part(self, first: int, last: int) -> Tensor:
        """See :class:`KernelSpectrum`."""
        return self._spectrum[first:last]

    def room(self, first: int, last: int) -> Tensor:
        """See :class:`KernelSpectrum`."""
        return self._spectrum[first:last]

    def take_in(self, thread: int, first: int, last: int) -> None:
        """See :class:`KernelSpectrum`. The gradient has taken the place of the spectrum."""

    def gradients(self) -> Gradients:
        """See :class:`KernelSpectrum`."""
        weight, longest = self._given[0], self._plan.max_delay_steps
        grads = [None if tensor is None else torch.zeros_like(tensor) for tensor in self._given]
        for rows in self._rows:
            gradient = weight.new_empty(longest + 1, rows.stop - rows.start, weight.shape[1])
            self._plan.restore_kernel(self._spectrum, gradient, rows.start)
            differentiate = narrow_gradients if self._narrow else dense_gradients
            kernel_gradients(gradient, rows, self._given, longest, self._taps, grads, differentiate)
        return grads[0], grads[1], grads[2]


class Expanded:
    """Wide taps by their expansion: the spectrum is one thin matrix product, and nothing as long as the window is kept.

    Source: this package; see :mod:`snn_delays.ops.delay.expansion`.
    """

    lasts = True

    def __init__(
        self, plan: SpectralPlan, weight: Tensor, delay: Tensor, sigma: Tensor, coefficients: np.ndarray
    ) -> None:
        self._leaves = tuple(t.detach().requires_grad_() for t in (weight, delay))
        terms, (outputs, inputs, _) = coefficients.shape[1], weight.shape
        with torch.enable_grad():
            own, at = self._leaves
            self._factors = (polynomials(at, plan.max_delay_steps, terms) * own).sum(-1).view(terms, -1)
        spectrum = np.fft.rfft(coefficients, plan.n, axis=0)
        self._waves = torch.from_numpy(np.stack([spectrum.real, spectrum.imag], 1)).to(plan.dtype)  # [frequency, 2, P]
        # The inverse transform counts every frequency twice but the first and, for even n, the last.
        twice = torch.full((plan.frequencies, 1, 1), 2.0, dtype=plan.dtype)
        twice[0] = 1
        if plan.n % 2 == 0:
            twice[-1] = 1
        self._back = self._waves * twice / plan.n
        self._totals: dict[int, Tensor] = {}
        self._shape, self._sigma = (outputs, inputs), sigma

    def part(self, first: int, last: int) -> Tensor:
        """See :class:`KernelSpectrum`."""
        waves = self._waves[first:last].flatten(0, 1)
        room = scratch("kernel", (len(waves), self._factors.shape[1]), self._waves.dtype)
        return torch.mm(waves, self._factors.detach(), out=room).view(last - first, 2, *self._shape)

    def room(self, first: int, last: int) -> Tensor:
        """See :class:`KernelSpectrum`."""
        return scratch("gradient", (last - first, 2, *self._shape), self._waves.dtype)

    def take_in(self, thread: int, first: int, last: int) -> None:
        """See :class:`KernelSpectrum`."""
        back, gradient = self._back[first:last].flatten(0, 1), self.room(first, last)
        if thread not in self._totals:
            self._totals[thread] = torch.zeros_like(self._factors, requires_grad=False)
        self._totals[thread].addmm_(back.T, gradient.view(len(back), -1))

    def gradients(self) -> Gradients:
        """See :class:`KernelSpectrum`."""
        total = torch.stack([self._totals[thread] for thread in sorted(self._totals)]).sum(
            0
        )  # always in the same order
        weight, delay = torch.autograd.grad(self._factors, self._leaves, total)
        return weight, delay, None
