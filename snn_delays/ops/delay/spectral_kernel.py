"""The kernel's spectrum, some frequencies at a time, and the gradients of weight and delay from its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from snn_delays.ops.delay.expansion import expansion, polynomials, tolerance_of
from snn_delays.ops.delay.kernel import is_narrow, kernel_gradients, narrow_kernel
from snn_delays.ops.delay.spectral_plan import SpectralPlan
from snn_delays.ops.delay.taps import Synapses, delay_kernel
from snn_delays.ops.workspace import scratch

KERNEL_BYTES = 2**20  # of the dense kernel built at once: its temporaries then stay in the second-level cache
SHORT = 64  # steps of a window up to which a matrix product of the steps is faster than a transform


class KernelSpectrum(ABC):
    """Spectrum ``[frequency, 2, out, in]`` of the kernel of some synapses.

    ``lasts``: whether the spectrum can be passed over again while its gradient is taken in. ``small``: whether it is
    rather kept for the backward pass than built again.
    """

    lasts: bool
    small = False

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
    return _Steps(plan, synapses) if longest < SHORT else _Transformed(plan, synapses)


class _Transformed(KernelSpectrum):
    """The dense kernel, built and transformed a few output neurons at a time; any taps, any width."""

    lasts = False  # the gradient takes its place

    def __init__(self, plan: SpectralPlan, synapses: Synapses) -> None:
        self._plan, self._synapses = plan, synapses
        self._spectrum = plan.kernel_spectrum(*synapses.weight.shape[:2])
        for rows, kernel in _kernels(synapses):
            plan.transform_kernel(kernel, self._spectrum, rows.start)

    def part(self, first: int, last: int) -> Tensor:
        return self._spectrum[first:last]

    def gradients(self) -> tuple[Tensor | None, ...]:
        def of(rows: slice) -> Tensor:
            shape = (self._plan.max_delay_steps + 1, rows.stop - rows.start, self._spectrum.shape[3])
            gradient = torch.empty(shape, dtype=self._plan.dtype)
            self._plan.restore_kernel(self._spectrum, gradient, rows.start)
            return gradient

        return _gradients(self._synapses, of)


class _Factored(KernelSpectrum):
    """The spectrum as one thin product: ``waves [frequency, 2, P]`` of all synapses times ``factors [P, out, in]``."""

    lasts = True

    def __init__(self, plan: SpectralPlan, coefficients: np.ndarray, factors: Tensor) -> None:
        """The kernel is ``coefficients [D + 1, P]`` times the factors."""
        spectrum = np.fft.rfft(coefficients, plan.n, axis=0)
        self._waves = torch.from_numpy(np.stack([spectrum.real, spectrum.imag], 1)).to(plan.dtype)
        self._factors = factors
        # The inverse transform counts every frequency twice but the first and, for even n, the last.
        twice = torch.full((plan.frequencies, 1, 1), 2.0, dtype=plan.dtype)
        twice[0] = 1
        if plan.n % 2 == 0:
            twice[-1] = 1
        self._back = self._waves * twice / plan.n
        self._totals: dict[int, Tensor] = {}

    def part(self, first: int, last: int) -> Tensor:
        waves = self._waves[first:last].flatten(0, 1)
        factors = self._factors.flatten(1)
        room = scratch("kernel", (len(waves), factors.shape[1]), waves.dtype)
        return torch.mm(waves, factors, out=room).view(last - first, 2, *self._factors.shape[1:])

    def room(self, first: int, last: int) -> Tensor:
        return scratch("gradient", (last - first, 2, *self._factors.shape[1:]), self._waves.dtype)

    def take_in(self, thread: int, first: int, last: int) -> None:
        back, gradient = self._back[first:last].flatten(0, 1), self.room(first, last)
        if thread not in self._totals:
            self._totals[thread] = torch.zeros_like(self._factors)
        self._totals[thread].flatten(1).addmm_(back.T, gradient.view(len(back), -1))

    def _total(self) -> Tensor:
        first, *others = (self._totals.pop(thread) for thread in sorted(self._totals))  # always in the same order
        for other in others:
            first += other
        return first


class _Steps(_Factored):
    """The dense kernel of a short window: its steps are the factors."""

    small = True

    def __init__(self, plan: SpectralPlan, synapses: Synapses) -> None:
        self._synapses = synapses
        kernel = synapses.weight.new_empty(plan.max_delay_steps + 1, *synapses.weight.shape[:2])
        for rows, part in _kernels(synapses):
            kernel[:, rows] = part
        super().__init__(plan, np.eye(len(kernel)), kernel)

    def gradients(self) -> tuple[Tensor | None, ...]:
        total = self._total()
        return _gradients(self._synapses, lambda rows: total[:, rows])


class _Expanded(_Factored):
    """Wide taps by their expansion: nothing as long as the window is kept.

    Source: this package; see :mod:`snn_delays.ops.delay.expansion`.
    """

    def __init__(self, plan: SpectralPlan, synapses: Synapses, coefficients: np.ndarray) -> None:
        weight, delay = self._leaves = tuple(t.detach().requires_grad_() for t in synapses[:2])
        with torch.enable_grad():
            terms = polynomials(delay, plan.max_delay_steps, coefficients.shape[1])
            self._product = (terms * weight).sum(-1)
        super().__init__(plan, coefficients, self._product.detach())

    def gradients(self) -> tuple[Tensor | None, ...]:
        return *torch.autograd.grad(self._product, self._leaves, self._total()), None


def _kernels(synapses: Synapses) -> Iterator[tuple[slice, Tensor]]:
    """The dense kernel, some output neurons at a time."""
    build = narrow_kernel if is_narrow(synapses) else lambda own: delay_kernel(*own)
    for rows in synapses.parts(KERNEL_BYTES):
        yield rows, build(synapses.rows(rows))


def _gradients(synapses: Synapses, of: Callable[[slice], Tensor]) -> tuple[Tensor | None, ...]:
    """Gradients of weight, delay and sigma by that of the dense kernel of some output neurons."""
    narrow = is_narrow(synapses)
    grads = [None if tensor is None else torch.zeros_like(tensor) for tensor in synapses[:3]]
    for rows in synapses.parts(KERNEL_BYTES):
        kernel_gradients(of(rows), rows, synapses, grads, narrow)
    return tuple(grads)
