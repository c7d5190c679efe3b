"""The kernel's spectrum, some frequencies at a time, and the gradients of weight and delay from its own."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.delay.expansion import expansion, polynomials, tolerance_of
from snn_delays.ops.delay.kernel import is_narrow, kernel_gradients, narrow_kernel
from snn_delays.ops.delay.spectral_plan import SpectralPlan
from snn_delays.ops.delay.taps import Synapses, delay_kernel
from snn_delays.ops.workspace import scratch

KERNEL_BYTES = 2**20  # of the dense kernel built at once: its temporaries then stay in the second-level cache


class KernelSpectrum(ABC):
    """Spectrum ``[frequency, 2, out, in]`` of the kernel of some synapses.

    ``lasts``: whether the spectrum can be passed over again while its gradient is taken in.
    """

    lasts: bool

    @abstractmethod
    def part(self, first: int, last: int) -> Tensor:
        """The frequencies from ``first`` to before ``last``; valid until the next call."""

    def room(self, first: int, last: int) -> Tensor:
        """Where the spectrum of the kernel's gradient is to be written: ``[frequency, 2, out, in]``.

        May be the memory of :meth:`part`: write a frequency when its part has been used.
        """
        return self.part(first, last)

    def take_in(self, thread: int, first: int, last: int) -> None:  # noqa: B027
        """Take in what was written to :meth:`room`, each frequency once. Threads go by different numbers."""

    @abstractmethod
    def gradients(self) -> tuple[Tensor | None, ...]:
        """Gradients of weight, delay and sigma, once those of all frequencies were taken in."""


def kernel_spectrum(plan: SpectralPlan, synapses: Synapses, learns_sigma: bool) -> KernelSpectrum:
    """The way to the spectrum that takes the fewest numbers per synapse."""
    sigma, longest, taps = synapses[2:]
    if sigma is not None and sigma.numel() == 1 and not learns_sigma:
        coefficients = expansion(float(sigma.detach()), longest, taps, tolerance_of(plan.dtype))
        if coefficients is not None:
            return _Expanded(plan, synapses, coefficients)
    return _Transformed(plan, synapses)


class _Transformed(KernelSpectrum):
    """The dense kernel, built and transformed a few output neurons at a time; any taps, any width."""

    lasts = False  # the gradient takes its place

    def __init__(self, plan: SpectralPlan, synapses: Synapses) -> None:
        self._plan, self._synapses, self._narrow = plan, synapses, is_narrow(synapses)
        self._rows = synapses.parts(KERNEL_BYTES)
        self._spectrum = plan.kernel_spectrum(*synapses.weight.shape[:2])
        for rows in self._rows:
            own = synapses.rows(rows)
            kernel = narrow_kernel(own) if self._narrow else delay_kernel(*own)
            plan.transform_kernel(kernel, self._spectrum, rows.start)

    def part(self, first: int, last: int) -> Tensor:
        return self._spectrum[first:last]

    def gradients(self) -> tuple[Tensor | None, ...]:
        weight = self._synapses.weight
        grads = [None if tensor is None else torch.zeros_like(tensor) for tensor in self._synapses[:3]]
        for rows in self._rows:
            gradient = weight.new_empty(self._plan.max_delay_steps + 1, rows.stop - rows.start, weight.shape[1])
            self._plan.restore_kernel(self._spectrum, gradient, rows.start)
            kernel_gradients(gradient, rows, self._synapses, grads, self._narrow)
        return tuple(grads)


class _Expanded(KernelSpectrum):
    """Wide taps by their expansion: the spectrum is one thin matrix product, and nothing as long as the window is kept.

    Source: this package; see :mod:`snn_delays.ops.delay.expansion`.
    """

    lasts = True

    def __init__(self, plan: SpectralPlan, synapses: Synapses, coefficients: np.ndarray) -> None:
        weight, delay = self._leaves = tuple(t.detach().requires_grad_() for t in synapses[:2])
        terms, self._shape = coefficients.shape[1], weight.shape[:2]
        with torch.enable_grad():
            self._factors = (polynomials(delay, plan.max_delay_steps, terms) * weight).sum(-1).view(terms, -1)
        spectrum = np.fft.rfft(coefficients, plan.n, axis=0)
        self._waves = torch.from_numpy(np.stack([spectrum.real, spectrum.imag], 1)).to(plan.dtype)  # [frequency, 2, P]
        # The inverse transform counts every frequency twice but the first and, for even n, the last.
        twice = torch.full((plan.frequencies, 1, 1), 2.0, dtype=plan.dtype)
        twice[0] = 1
        if plan.n % 2 == 0:
            twice[-1] = 1
        self._back = self._waves * twice / plan.n
        self._totals: dict[int, Tensor] = {}

    def part(self, first: int, last: int) -> Tensor:
        waves = self._waves[first:last].flatten(0, 1)
        room = scratch("kernel", (len(waves), self._factors.shape[1]), self._waves.dtype)
        return torch.mm(waves, self._factors.detach(), out=room).view(last - first, 2, *self._shape)

    def room(self, first: int, last: int) -> Tensor:
        return scratch("gradient", (last - first, 2, *self._shape), self._waves.dtype)

    def take_in(self, thread: int, first: int, last: int) -> None:
        back, gradient = self._back[first:last].flatten(0, 1), self.room(first, last)
        if thread not in self._totals:
            self._totals[thread] = torch.zeros_like(self._factors, requires_grad=False)
        self._totals[thread].addmm_(back.T, gradient.view(len(back), -1))

    def gradients(self) -> tuple[Tensor | None, ...]:
        total = torch.stack([self._totals[thread] for thread in sorted(self._totals)])  # always in the same order
        return *torch.autograd.grad(self._factors, self._leaves, total.sum(0)), None
