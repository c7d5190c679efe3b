r"""The delay layer in the frequency domain through torch's own transforms, on any device (cuFFT and cuBLAS on a GPU).

The same equation as :mod:`snn_delays.ops.delay.spectral`, for devices on which Numba's CPU kernels do not run. Output
neurons are worked on some at a time, so that the kernel and its spectrum stay small whatever the longest delay; spectra
are computed anew in the backward pass. Nothing is read back from a GPU: what is not finite is kept out of the transform
there, but the rounding of huge numbers reaches the steps before them.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.backends import refuses_dtype
from snn_delays.ops.delay import dense
from snn_delays.ops.delay.dynamic_range import needs_causal, set_apart
from snn_delays.ops.delay.kernel_parts import dense_gradients, kernel_gradients, output_parts, part
from snn_delays.ops.delay.signal import with_past
from snn_delays.ops.delay.taps import delay_kernel
from snn_delays.ops.delay.transform_length import transform_length

KERNEL_BYTES = 2**25  # of the kernel built at once


def refuses(x: Tensor, weight: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on every device."""
    return refuses_dtype(input=x, weight=weight)


def run(
    x: Tensor, history: Tensor | None, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
    taps: str,
) -> Tensor:  # fmt: skip
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    if 0 in (*x.shape, weight.shape[0], weight.shape[2]):
        return x.new_zeros(*x.shape[:2], weight.shape[0])
    signal, past = with_past(x, history)
    if signal.device.type == "cpu" and needs_causal(signal):
        return dense.run(x, history, weight, delay, sigma, max_delay_steps, taps)
    signal, bad = set_apart(signal, past, max_delay_steps + 1)
    result: Tensor = _SpectralFFT.apply(signal, past, weight, delay, sigma, max_delay_steps, taps)
    return result if bad is None else result + bad.sum(-1, keepdim=True)


class _SpectralFFT(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, signal: Tensor, past: int, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
        taps: str,
    ) -> Tensor:  # fmt: skip
        ctx.max_delay_steps, ctx.taps, ctx.silence = max_delay_steps, taps, max_delay_steps - past
        ctx.save_for_backward(signal, weight, delay, sigma)
        steps, batch = signal.shape[0] - past, signal.shape[1]
        n, blocks = transform_length(steps, max_delay_steps)
        hop = n - max_delay_steps
        x = _spectrum(signal, ctx.silence, n, blocks, hop)
        current = signal.new_empty(steps, batch, weight.shape[0])
        for rows in output_parts(weight, max_delay_steps + 1, KERNEL_BYTES):
            kernel = _kernel_spectrum(weight, delay, sigma, rows, max_delay_steps, taps, n)
            y = torch.fft.irfft(x @ kernel.mT, n, dim=0)[max_delay_steps:]
            y = y.view(hop, blocks, batch, -1).transpose(0, 1).reshape(blocks * hop, batch, -1)
            current[:, :, rows] = y[:steps]
        return current

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_current: Tensor) -> Any:
        signal, weight, delay, sigma = ctx.saved_tensors
        longest = ctx.max_delay_steps
        steps, batch = grad_current.shape[:2]
        n, blocks = transform_length(steps, longest)
        hop = n - longest
        for_input, for_kernel = ctx.needs_input_grad[0], any(ctx.needs_input_grad[2:5])
        x = _spectrum(signal, ctx.silence, n, blocks, hop) if for_kernel else None
        given = (weight, delay, sigma)
        grads = [torch.zeros_like(t) if for_kernel and t is not None else None for t in given]
        grad_x: Tensor | None = None
        for rows in output_parts(weight, longest + 1, KERNEL_BYTES):
            # The steps that wrapped around were thrown away: no gradient enters there.
            g = _blocks(grad_current[:, :, rows], 0, hop, blocks, hop)
            g = torch.fft.rfft(F.pad(g, (0, 0, 0, 0, longest, 0)), dim=0)
            if for_input:
                kernel = _kernel_spectrum(weight, delay, sigma, rows, longest, ctx.taps, n)
                grad_x = g @ kernel.conj() if grad_x is None else grad_x.baddbmm_(g, kernel.conj())
            if x is not None:
                grad_kernel = torch.fft.irfft(g.mT @ x.conj(), n, dim=0)[: longest + 1]
                kernel_gradients(grad_kernel, rows, given, longest, ctx.taps, grads, dense_gradients)
        if grad_x is None:
            return None, None, *grads, None, None
        pieces = torch.fft.irfft(grad_x, n, dim=0).view(n, blocks, batch, -1)
        grad_signal = signal.new_zeros(blocks * hop + longest, batch, signal.shape[2])
        for block in range(blocks):  # neighbours overlap by the longest delay
            grad_signal[block * hop : block * hop + n] += pieces[:, block]
        return grad_signal[ctx.silence : ctx.silence + signal.shape[0]], None, *grads, None, None


def _blocks(x: Tensor, silence: int, length: int, blocks: int, hop: int) -> Tensor:
    """``[length, blocks * batch, neuron]``: block k holds the steps from ``k hop - silence`` on, zeros outside."""
    padded = F.pad(x, (0, 0, 0, 0, silence, max(0, (blocks - 1) * hop + length - silence - x.shape[0])))
    if blocks == 1:
        return padded[:length]
    return torch.stack([padded[k * hop : k * hop + length] for k in range(blocks)], 1).flatten(1, 2)


def _spectrum(x: Tensor, silence: int, n: int, blocks: int, hop: int) -> Tensor:
    """``[frequency, blocks * batch, neuron]``, complex."""
    return torch.fft.rfft(_blocks(x, silence, n, blocks, hop), dim=0)


def _kernel_spectrum(
    weight: Tensor, delay: Tensor, sigma: Tensor | None, rows: slice, max_delay_steps: int, taps: str, n: int
) -> Tensor:
    """``[frequency, rows, in]``, complex."""
    outputs = weight.shape[0]
    kernel = delay_kernel(
        weight[rows], part(delay, rows, outputs), part(sigma, rows, outputs), max_delay_steps, taps
    )  # fmt: skip
    return torch.fft.rfft(kernel, n, dim=0)
