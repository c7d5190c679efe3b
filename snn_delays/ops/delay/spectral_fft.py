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
from snn_delays.ops.delay.kernel import kernel_gradients
from snn_delays.ops.delay.signal import with_past
from snn_delays.ops.delay.taps import Synapses, delay_kernel
from snn_delays.ops.delay.transform_length import transform_length

KERNEL_BYTES = 2**25  # of the kernel built at once


def refuses(x: Tensor, weight: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on every device."""
    return refuses_dtype(input=x, weight=weight)


def run(x: Tensor, history: Tensor | None, **synapses: Any) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    outputs, _, count = synapses["weight"].shape
    if 0 in (*x.shape, outputs, count):
        return x.new_zeros(*x.shape[:2], outputs)
    signal, past = with_past(x, history)
    if signal.device.type == "cpu" and needs_causal(signal):
        return dense.run(x, history, **synapses)
    signal, bad = set_apart(signal, past, synapses["max_delay_steps"] + 1)
    result: Tensor = _SpectralFFT.apply(signal, past, *Synapses(**synapses))
    return result if bad is None else result + bad.sum(-1, keepdim=True)


class _SpectralFFT(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, signal: Tensor, past: int, *given: Any) -> Tensor:
        synapses = Synapses(*given)
        longest = synapses.max_delay_steps
        ctx.rest, ctx.silence = synapses[3:], longest - past
        ctx.save_for_backward(signal, *synapses[:3])
        steps, batch = signal.shape[0] - past, signal.shape[1]
        n, blocks = transform_length(steps, longest)
        hop = n - longest
        x = torch.fft.rfft(_blocks(signal, ctx.silence, n, blocks, hop), dim=0)  # [frequency, blocks * batch, neuron]
        current = signal.new_empty(steps, batch, len(synapses.weight))
        for rows in synapses.parts(KERNEL_BYTES):
            kernel = torch.fft.rfft(delay_kernel(*synapses.rows(rows)), n, dim=0)
            y = torch.fft.irfft(x @ kernel.mT, n, dim=0)[longest:]
            y = y.view(hop, blocks, batch, -1).transpose(0, 1).reshape(blocks * hop, batch, -1)
            current[:, :, rows] = y[:steps]
        return current

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_current: Tensor) -> Any:
        signal, *tensors = ctx.saved_tensors
        synapses = Synapses(*tensors, *ctx.rest)
        longest = synapses.max_delay_steps
        steps, batch = grad_current.shape[:2]
        n, blocks = transform_length(steps, longest)
        hop = n - longest
        for_input, for_kernel = ctx.needs_input_grad[0], any(ctx.needs_input_grad[2:5])
        x = torch.fft.rfft(_blocks(signal, ctx.silence, n, blocks, hop), dim=0) if for_kernel else None
        grads = [torch.zeros_like(t) if for_kernel and t is not None else None for t in tensors]
        grad_x: Tensor | None = None
        for rows in synapses.parts(KERNEL_BYTES):
            # The steps that wrapped around were thrown away: no gradient enters there.
            g = _blocks(grad_current[:, :, rows], 0, hop, blocks, hop)
            g = torch.fft.rfft(F.pad(g, (0, 0, 0, 0, longest, 0)), dim=0)
            if for_input:
                kernel = torch.fft.rfft(delay_kernel(*synapses.rows(rows)), n, dim=0)
                grad_x = g @ kernel.conj() if grad_x is None else grad_x.baddbmm_(g, kernel.conj())
            if x is not None:
                grad_kernel = torch.fft.irfft(g.mT @ x.conj(), n, dim=0)[: longest + 1]
                kernel_gradients(grad_kernel, rows, synapses, grads)
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
