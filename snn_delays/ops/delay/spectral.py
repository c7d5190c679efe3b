r"""The delay layer in the frequency domain: one complex matrix product for every frequency.

.. math:: Y_f = X_f W_f, \qquad X_f = \sum_t x_t e^{-2 \pi i f t / n}, \quad W_f = \sum_k w_k e^{-2 \pi i f k / n}

Exact at any width of the taps, and nearly independent of the longest delay: about 2 plain linear layers' worth of
multiplications where the dense convolution needs ``max_delay_steps + 1``. The first ``max_delay_steps`` steps of a
transform wrap around and are exactly the history, so a transform of length ``n`` yields ``n - max_delay_steps`` steps;
longer sequences are cut into blocks (overlap-save).

No dense kernel is kept (:mod:`snn_delays.ops.delay.spectral_kernel`), and the backward pass computes the spectra anew.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.delay.cost import ONE_BY_ONE
from snn_delays.ops.delay.spectral_kernel import kernel_spectrum
from snn_delays.ops.delay.spectral_plan import SpectralPlan
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.matmul import linear
from snn_delays.ops.packed import Packed, pack
from snn_delays.ops.threads import share_out
from snn_delays.ops.workspace import scratch

SPECTRUM_BYTES = 2**22  # of the kernel's spectrum that a thread uses at once


def refuses(extended: Tensor, weight: Tensor, max_delay_steps: int, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    if extended.device.type != "cpu":
        return f"it runs on the CPU and the input is on {extended.device}"
    if extended.dtype not in (torch.float32, torch.float64) or weight.dtype != extended.dtype:
        return f"it computes in float32 or float64; the input is {extended.dtype}, the weight {weight.dtype}"
    return None


def run(
    extended: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str
) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`; ``extended`` is the history followed by the input."""
    steps = extended.shape[0] - max_delay_steps
    if 0 in (steps, *extended.shape[1:], weight.shape[0], weight.shape[2]):
        return extended.new_zeros(steps, extended.shape[1], weight.shape[0])
    result: Tensor = _Spectral.apply(extended, weight, delay, sigma, max_delay_steps, taps)
    return result


class _Spectral(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, extended: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str
    ) -> Tensor:
        plan = SpectralPlan(extended.shape[0] - max_delay_steps, max_delay_steps, extended.dtype)
        outputs, inputs, _ = weight.shape
        batch = extended.shape[1]
        rows = plan.blocks * batch
        follow_torch_threads()
        packed = pack(extended) if any(ctx.needs_input_grad[1:4]) else Packed(extended, 1.0)
        ctx.plan, ctx.taps, ctx.batch, ctx.scale = plan, taps, batch, packed.scale
        ctx.save_for_backward(packed.numbers if any(ctx.needs_input_grad[1:4]) else None, weight, delay, sigma)
        kernel = kernel_spectrum(plan, weight, delay, sigma, taps, ctx.needs_input_grad[3])
        x = plan.transform(packed, plan.scratch("input", rows, inputs))
        y = plan.scratch("output", rows, outputs)

        def multiply(begin: int, end: int) -> None:
            for first, last in _chunks(begin, end, weight):
                # [real; imaginary] input times [real, imaginary] kernel: four real products at once.
                four = _products(x[first:last].flatten(1, 2), kernel.part(first, last).flatten(1, 2).mT)
                for y_f, four_f in zip(y[first:last], four):
                    torch.sub(four_f[:rows, :outputs], four_f[rows:, outputs:], out=y_f[0])
                    torch.add(four_f[:rows, outputs:], four_f[rows:, :outputs], out=y_f[1])

        share_out(multiply, plan.frequencies)
        current = extended.new_empty(plan.steps, batch, outputs)
        return plan.restore(y, current, skip=max_delay_steps, take=plan.hop)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_current: Tensor) -> Any:
        numbers, weight, delay, sigma = ctx.saved_tensors
        plan: SpectralPlan = ctx.plan
        outputs, inputs, _ = weight.shape
        rows = plan.blocks * ctx.batch
        for_input, for_kernel = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:4])
        follow_torch_threads()
        kernel = kernel_spectrum(plan, weight, delay, sigma, ctx.taps, ctx.needs_input_grad[3])
        # The steps that wrapped around were thrown away: no gradient enters there.
        g = plan.scratch("output", rows, outputs)
        plan.transform(Packed(grad_current, 1.0), g, place=plan.max_delay_steps, take=plan.hop)
        x = plan.scratch("input", rows, inputs)
        if for_kernel:
            plan.transform(Packed(numbers, ctx.scale), x)

        def multiply(begin: int, end: int) -> None:
            collect = kernel.collector(begin) if for_kernel else None
            for first, last in _chunks(begin, end, weight):
                # [[real, imaginary], [imaginary, -real]] serves both products: g conj(kernel) and g conj(input).
                wide = scratch("wide", (last - first, 2, rows, 2, outputs), plan.dtype)
                wide[:, 0] = g[first:last].transpose(1, 2)
                wide[:, 1, :, 0] = g[first:last, 1]
                torch.neg(g[first:last, 0], out=wide[:, 1, :, 1])
                square = wide.view(last - first, 2 * rows, 2 * outputs)
                x_part = x[first:last].view(last - first, 2 * rows, inputs)
                grad_x = _products(square, kernel.part(first, last).flatten(1, 2)) if for_input else None
                if collect is not None:
                    collect(first, last, _products(square.mT, x_part))
                if grad_x is not None:  # in the place of the input's spectrum, which is not needed any more
                    for x_f, grad_f in zip(x_part, grad_x):
                        x_f.copy_(grad_f)

        share_out(multiply, plan.frequencies)
        grad_extended = None
        if for_input:
            steps = plan.steps + plan.max_delay_steps
            grad_extended = plan.restore(x, grad_current.new_empty(steps, ctx.batch, inputs))
        return grad_extended, *(kernel.gradients() if for_kernel else (None, None, None)), None, None


def _chunks(begin: int, end: int, weight: Tensor) -> list[tuple[int, int]]:
    """Frequencies whose kernels fit the caches together."""
    size = max(1, SPECTRUM_BYTES // (2 * weight[..., 0].numel() * weight.element_size()))
    return [(f, min(f + size, end)) for f in range(begin, end, size)]


def _products(left: Tensor, right: Tensor) -> Sequence[Tensor]:
    """``left[f] @ right[f]``: by one call for small matrices, by the faster product one by one for large ones."""
    if left.shape[1] * right.shape[1] * right.shape[2] < ONE_BY_ONE:
        return (left @ right).unbind(0)
    return [linear(left_f, right_f.T) for left_f, right_f in zip(left, right)]
