r"""The delay layer in the frequency domain: one complex matrix product for every frequency.

.. math:: Y_f = X_f W_f, \qquad X_f = \sum_t x_t e^{-2 \pi i f t / n}, \quad W_f = \sum_k w_k e^{-2 \pi i f k / n}

Exact at any width of the taps, and nearly independent of the longest delay: about 2 plain linear layers' worth of
multiplications where the dense convolution needs ``max_delay_steps + 1``. The first ``max_delay_steps`` steps of a
transform wrap around and are exactly the history, so a transform of length ``n`` yields ``n - max_delay_steps`` steps;
longer sequences are cut into blocks (overlap-save).

Calls whose input a transform would carry to earlier steps (:mod:`snn_delays.ops.delay.dynamic_range`) are passed on to
a backend that is causal whatever it is given.

No dense kernel is kept (:mod:`snn_delays.ops.delay.spectral_kernel`), and the backward pass computes the spectra anew.
"""

from functools import partial
from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.delay import dense, gather
from snn_delays.ops.delay.cost import ONE_BY_ONE, estimate
from snn_delays.ops.delay.dynamic_range import needs_causal
from snn_delays.ops.delay.signal import with_past
from snn_delays.ops.delay.spectral_kernel import KernelSpectrum, kernel_spectrum
from snn_delays.ops.delay.spectral_plan import SpectralPlan
from snn_delays.ops.delay.taps import Synapses
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.matmul import linear
from snn_delays.ops.packed import Packed, pack
from snn_delays.ops.threads import share_out
from snn_delays.ops.workspace import empty

SPECTRUM_BYTES = 2**22  # of the kernel's spectrum that a thread uses at once


def refuses(x: Tensor, weight: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    return refuses_off_cpu(input=x, weight=weight)


def run(x: Tensor, history: Tensor | None, **synapses: Any) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    outputs, _, count = synapses["weight"].shape
    if 0 in (*x.shape, outputs, count):
        return x.new_zeros(*x.shape[:2], outputs)
    signal, past = with_past(x, history)
    given = Synapses(**synapses)
    learns = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in given[:3])
    packed = pack(signal) if learns else Packed(signal.detach(), 1.0)
    # What a byte holds is finite, and no step 8,000 times as loud as another.
    if packed.numbers.dtype != torch.uint8 and needs_causal(signal):
        call = {"x": x, "history": history, **synapses}
        causal = gather if estimate("gather", call) < estimate("dense", call) else dense
        return causal.run(**call)
    result: Tensor = _Spectral.apply(signal, past, packed, *given)
    return result


class _Spectral(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, signal: Tensor, past: int, packed: Packed, *given: Any) -> Tensor:
        synapses = Synapses(*given)
        longest = synapses.max_delay_steps
        plan = SpectralPlan(signal.shape[0] - past, longest, past, signal.dtype)
        outputs, inputs, _ = synapses.weight.shape
        batch = signal.shape[1]
        follow_torch_threads()
        kernel = kernel_spectrum(plan, synapses, ctx.needs_input_grad[5])
        ctx.plan, ctx.taps, ctx.scale = plan, synapses.taps, packed.scale
        ctx.save_for_backward(packed.numbers if any(ctx.needs_input_grad[3:6]) else None, *synapses[:3])
        current: Tensor | None = None
        for samples in plan.groups(batch, inputs if inputs == outputs else inputs + outputs):
            rows = plan.blocks * (samples.stop - samples.start)
            # Of equal size, the output's spectrum takes the place of the input's, frequency by frequency.
            columns = (inputs,) if inputs == outputs else (inputs, outputs)
            x, *apart = plan.spectra(rows, *columns)
            y = apart[0] if apart else x
            plan.transform(packed, samples, x)
            share_out(partial(_multiply, plan, x, kernel, y), plan.frequencies)
            del x, apart  # their memory is used again at once
            current = empty((plan.steps, batch, outputs), signal.dtype) if current is None else current
            plan.restore(y, current, samples, skip=longest, take=plan.hop)
            del y
        assert current is not None
        return current

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_current: Tensor) -> Any:
        plan: SpectralPlan = ctx.plan
        numbers, *tensors = ctx.saved_tensors
        synapses = Synapses._make((*tensors, plan.max_delay_steps, ctx.taps))
        outputs, inputs, _ = synapses.weight.shape
        batch = grad_current.shape[1]
        for_input, for_kernel = ctx.needs_input_grad[0], any(ctx.needs_input_grad[3:6])
        follow_torch_threads()
        kernel = kernel_spectrum(plan, synapses, ctx.needs_input_grad[5])
        grad_signal = None
        groups = plan.groups(batch, inputs + outputs) if kernel.lasts or not for_kernel else [slice(0, batch)]
        for samples in groups:
            rows = plan.blocks * (samples.stop - samples.start)
            g, x = plan.spectra(rows, outputs, inputs)
            # The steps that wrapped around were thrown away: no gradient enters there.
            plan.transform(Packed(grad_current, 1.0), samples, g, place=plan.max_delay_steps, take=plan.hop)
            if for_kernel:
                plan.transform(Packed(numbers, ctx.scale), samples, x)
            share_out(partial(_multiply_back, plan, g, kernel, x, for_input, for_kernel), plan.frequencies)
            del g
            if for_input:
                size = (plan.past + plan.steps, batch, inputs)
                grad_signal = empty(size, plan.dtype) if grad_signal is None else grad_signal
                plan.restore(x, grad_signal, samples)
            del x
        return grad_signal, None, None, *(kernel.gradients() if for_kernel else (None, None, None)), None, None


def _multiply(plan: SpectralPlan, x: Tensor, kernel: KernelSpectrum, y: Tensor, begin: int, end: int) -> None:
    """``y = x kernel`` for the frequencies from ``begin`` to before ``end``.

    Three real products make a complex one: ``(a + ib)(c + id) = m - b (c + d) + i (m + a (d - c))``, ``m = (a + b) c``.
    """
    rows, inputs, outputs = *x.shape[2:], y.shape[3]
    for first, last in _chunks(begin, end, inputs * outputs * x.element_size()):
        spectrum = kernel.part(first, last).mT
        for k, to in _at_once(last - first, rows * inputs * outputs):
            part = slice(first + k, first + to)
            (a, b), (c, d) = x[part].unbind(1), spectrum[k:to].unbind(1)
            real, imaginary = y[part].unbind(1)
            if plan.is_real(part):
                real.copy_(_product(a, c))
                continue
            m, n, o = _product(a + b, c), _product(b, c + d), _product(a, d - c)
            torch.sub(m, n, out=real)
            torch.add(m, o, out=imaginary)


def _multiply_back(
    plan: SpectralPlan, g: Tensor, kernel: KernelSpectrum, x: Tensor, for_input: bool, for_kernel: bool, begin: int,
    end: int,
) -> None:  # fmt: skip
    """Gradients by kernel and input for some frequencies; that by the input takes the place of ``x``.

    ``g conj(input)`` and ``g conj(kernel)``, of three real products each.
    """
    rows, outputs, inputs = *g.shape[2:], x.shape[3]
    for first, last in _chunks(begin, end, inputs * outputs * x.element_size()):
        spectrum = kernel.part(first, last)
        into = kernel.room(first, last) if for_kernel else None
        for k, to in _at_once(last - first, rows * inputs * outputs):
            part = slice(first + k, first + to)
            (p, q), (c, d) = g[part].unbind(1), spectrum[k:to].unbind(1)
            a, b = x_real, x_imaginary = x[part].unbind(1)
            if plan.is_real(part):
                by_x = _product(p, c) if for_input else None
                if into is not None:
                    into[k:to, 0] = _product(p.mT, a)
                    into[k:to, 1] = 0
                if by_x is not None:
                    x_real.copy_(by_x)
                continue
            both = p + q
            if for_input:  # before the kernel's gradient takes the place of the kernel
                m, n, o = _product(both, c), _product(q, d - c), _product(p, c + d)
            if into is not None:
                u, v, w = _product(both.mT, a), _product(q.mT, b - a), _product(p.mT, a + b)
                torch.add(u, v, out=into[k:to, 0])
                torch.sub(u, w, out=into[k:to, 1])
            if for_input:
                torch.add(m, n, out=x_real)
                torch.sub(m, o, out=x_imaginary)
        if into is not None:
            kernel.take_in(begin, first, last)


def _chunks(begin: int, end: int, kernel_bytes: int) -> list[tuple[int, int]]:
    """Frequencies whose kernels fit the caches together."""
    size = max(1, SPECTRUM_BYTES // (2 * kernel_bytes))
    return [(f, min(f + size, end)) for f in range(begin, end, size)]


def _at_once(count: int, products: int) -> list[tuple[int, int]]:
    """Parts of ``count`` matrix products: all in one where each is few multiply-adds, one by one where it is many."""
    if products < ONE_BY_ONE:
        return [(0, count)]
    return [(k, k + 1) for k in range(count)]


def _product(left: Tensor, right: Tensor) -> Tensor:
    """``left[k] @ right[k]``; a single one by the faster product."""
    return left @ right if len(left) > 1 else linear(left[0], right[0].T, ONE_BY_ONE).unsqueeze(0)
