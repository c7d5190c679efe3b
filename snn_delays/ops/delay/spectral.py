r"""The delay layer in the frequency domain: one complex matrix product for every frequency.

.. math:: Y_f = X_f W_f, \qquad X_f = \sum_t x_t e^{-2 \pi i f t / n}, \quad W_f = \sum_k w_k e^{-2 \pi i f k / n}

Exact at any width of the taps, and nearly independent of the longest delay: about 2 plain linear layers' worth of
multiplications where the dense convolution needs ``max_delay_steps + 1``. The first ``max_delay_steps`` steps of a
transform wrap around and are exactly the history, so a transform of length ``n`` yields ``n - max_delay_steps`` steps;
longer sequences are cut into blocks (overlap-save).

The kernel is built, transformed and, on the way back, differentiated a few output neurons at a time, and spectra are
computed anew in the backward pass, so no dense kernel is kept.
"""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.delay import lane_fft
from snn_delays.ops.delay.taps import delay_kernel
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.matmul import linear
from snn_delays.ops.workspace import scratch

KERNEL_BYTES = 2**20  # of the kernel built at once: its temporaries then stay in the second-level cache


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


def transform_length(steps: int, max_delay_steps: int) -> tuple[int, int]:
    """Length of the transform and number of blocks with the fewest frequencies in all, for a sequence."""
    best = (lane_fft.good_length(steps + max_delay_steps), 1)
    blocks = 2
    while blocks <= steps and (hop := -(-steps // blocks)) > max_delay_steps:
        n = lane_fft.good_length(hop + max_delay_steps)
        if (n // 2 + 1) * blocks < (best[0] // 2 + 1) * best[1]:
            best = n, blocks
        blocks += 1
    return best


class _Plan:
    """Sizes of one call, and the transforms bound to them."""

    def __init__(self, extended: Tensor, max_delay_steps: int) -> None:
        self.window = max_delay_steps + 1
        self.steps, self.rows = extended.shape[0] - max_delay_steps, extended.shape[1]
        self.n, self.blocks = transform_length(self.steps, max_delay_steps)
        self.hop = self.n - max_delay_steps
        self.dtype = extended.dtype
        self.tables = lane_fft.tables(self.n, str(self.dtype).removeprefix("torch."))

    def spectrum(self, name: str, rows: int, columns: int) -> Tensor:
        return scratch(name, (self.n // 2 + 1, 2, rows, columns), self.dtype)

    def forward(self, x: Tensor, into: Tensor, place: int = 0, take: int | None = None) -> Tensor:
        """Spectrum of a signal's blocks."""
        signal, spectrum = x.detach().contiguous().numpy(), into.numpy()
        one, take = spectrum.dtype.type(1), self.n if take is None else take
        lane_fft.rfft(signal, one, self.n, self.blocks, self.hop, place, take, *self.tables, 0, spectrum)
        return into

    def inverse(self, spectrum: Tensor, y: Tensor, skip: int = 0, take: int | None = None) -> Tensor:
        """Signal put together from its blocks' spectrum."""
        take = self.n if take is None else take
        lane_fft.irfft(spectrum.numpy(), self.n, self.blocks, self.hop, skip, take, *self.tables, 0, y.numpy())
        return y


class _Spectral(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, extended: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int, taps: str
    ) -> Tensor:
        plan = _Plan(extended, max_delay_steps)
        follow_torch_threads()
        outputs, inputs = weight.shape[:2]
        rows = plan.blocks * plan.rows
        kernel = _kernel_spectrum(plan, weight, delay, sigma, taps)
        x = plan.forward(extended, plan.spectrum("input", rows, inputs))
        y = plan.spectrum("output", rows, outputs)
        for x_f, w_f, y_f in zip(x.unbind(0), kernel.unbind(0), y.unbind(0)):
            # [real; imaginary] input times [real, imaginary] kernel: four real products at once.
            four = linear(x_f.view(2 * rows, inputs), w_f.view(2 * outputs, inputs))
            torch.sub(four[:rows, :outputs], four[rows:, outputs:], out=y_f[0])
            torch.add(four[:rows, outputs:], four[rows:, :outputs], out=y_f[1])
        ctx.plan, ctx.taps, ctx.max_delay_steps = plan, taps, max_delay_steps
        ctx.save_for_backward(extended, weight, delay, sigma)
        current = extended.new_empty(plan.steps, plan.rows, outputs)
        return plan.inverse(y, current, skip=max_delay_steps, take=plan.hop)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_current: Tensor) -> Any:
        extended, weight, delay, sigma = ctx.saved_tensors
        plan: _Plan = ctx.plan
        follow_torch_threads()
        outputs, inputs = weight.shape[:2]
        rows = plan.blocks * plan.rows
        for_input, for_kernel = ctx.needs_input_grad[0], any(ctx.needs_input_grad[1:4])
        g = plan.forward(
            grad_current, plan.spectrum("output", rows, outputs), place=ctx.max_delay_steps, take=plan.hop
        )
        x = plan.forward(extended, plan.spectrum("input", rows, inputs)) if for_kernel else None
        kernel = plan.spectrum("kernel", outputs, inputs)
        if for_input:
            _kernel_spectrum(plan, weight, delay, sigma, ctx.taps)
            grad_x = x if x is not None else plan.spectrum("input", rows, inputs)
        wide = scratch("wide", (2, rows, 2, outputs), plan.dtype)
        for f in range(g.shape[0]):
            # [[real, imaginary], [imaginary, -real]] serves both products: g conj(kernel) and conj(input) g.
            wide[0, :, 0], wide[0, :, 1] = g[f, 0], g[f, 1]
            wide[1, :, 0] = g[f, 1]
            torch.neg(g[f, 0], out=wide[1, :, 1])
            square = wide.view(2 * rows, 2 * outputs)
            # Each result takes the place of what it was computed from last.
            grad_x_f = linear(square, kernel[f].view(2 * outputs, inputs).T) if for_input else None
            if x is not None:
                kernel[f] = linear(square.T, x[f].view(2 * rows, inputs).T).view(2, outputs, inputs)
            if grad_x_f is not None:
                grad_x[f] = grad_x_f.view(2, rows, inputs)
        grad_extended = None
        if for_input:
            grad_extended = plan.inverse(grad_x, torch.empty_like(extended, memory_format=torch.contiguous_format))
        grads = _kernel_gradients(plan, kernel, weight, delay, sigma, ctx.taps) if for_kernel else (None, None, None)
        return grad_extended, *grads, None, None


def _chunks(plan: _Plan, weight: Tensor) -> list[slice]:
    """Output neurons whose kernels are built at once."""
    outputs, inputs, count = weight.shape
    size = max(1, KERNEL_BYTES // (plan.window * inputs * count * weight.element_size()))
    return [slice(o, min(o + size, outputs)) for o in range(0, outputs, size)]


def _part(tensor: Tensor | None, rows: slice, outputs: int) -> Tensor | None:
    """The rows of a tensor that broadcasts against ``[outputs, inputs, count]``."""
    if tensor is None or tensor.ndim < 3 or tensor.shape[0] != outputs:
        return tensor
    return tensor[rows]


def _kernel_spectrum(plan: _Plan, weight: Tensor, delay: Tensor, sigma: Tensor | None, taps: str) -> Tensor:
    outputs, inputs = weight.shape[:2]
    spectrum = plan.spectrum("kernel", outputs, inputs)
    one = spectrum.numpy().dtype.type(1)
    for rows in _chunks(plan, weight):
        kernel = delay_kernel(
            weight[rows], _part(delay, rows, outputs), _part(sigma, rows, outputs), plan.window - 1, taps
        ).numpy()
        lane_fft.rfft(kernel, one, plan.n, 1, 0, 0, plan.window, *plan.tables, rows.start, spectrum.numpy())
    return spectrum


def _kernel_gradients(
    plan: _Plan, spectrum: Tensor, weight: Tensor, delay: Tensor, sigma: Tensor | None, taps: str
) -> list[Tensor | None]:
    """Gradients of weight, delay and sigma from the spectrum of the kernel's gradient."""
    outputs, inputs = weight.shape[:2]
    given = (weight, delay, sigma)
    grads = [None if tensor is None else torch.zeros_like(tensor) for tensor in given]
    for rows in _chunks(plan, weight):
        grad_kernel = weight.new_empty(plan.window, rows.stop - rows.start, inputs)
        lane_fft.irfft(
            spectrum.numpy(), plan.n, 1, 0, 0, plan.window, *plan.tables, rows.start, grad_kernel.numpy()
        )  # fmt: skip
        with torch.enable_grad():
            parts = [None if t is None else _part(t.detach(), rows, outputs).requires_grad_() for t in given]
            kernel = delay_kernel(*parts, plan.window - 1, taps)
        wanted = [part for part in parts if part is not None]
        found = iter(torch.autograd.grad(kernel, wanted, grad_kernel, allow_unused=True))
        for part, grad in zip(parts, grads):
            if part is not None and (value := next(found)) is not None:
                _part(grad, rows, outputs).add_(value)
    return grads
