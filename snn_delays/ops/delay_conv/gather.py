"""The delayed convolution on the taps that matter, each a shift of whole maps."""

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.delay.signal import joined
from snn_delays.ops.delay.taps import few_taps
from snn_delays.ops.delay_conv import gather_kernels
from snn_delays.ops.delay_conv.gather_kernels import TOGETHER
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.workspace import empty


class _Layout(NamedTuple):
    """Rows and columns of each map of a line, ``[channel, stride y, stride x, rows, columns]``, and of an output map.

    With a stride, every offset within it is a map of its own, so that neighbours of an output map are neighbours in
    memory. Output maps are computed as wide as those of a line, and their last columns cut off.
    """

    rows: int
    columns: int
    rows_out: int
    columns_out: int


def refuses(x: Tensor, weight: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    return refuses_off_cpu(input=x, weight=weight)


def run(
    x: Tensor, history: Tensor | None, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
    taps: str, stride: tuple[int, int], padding: tuple[int, int],
) -> Tensor:  # fmt: skip
    """See :func:`snn_delays.ops.delay_conv.delayed_conv2d`."""
    if tuple(delay.shape[2:]) != (1, 1):
        delay = delay.expand(*delay.shape[:2], *weight.shape[2:])
    start, values = few_taps(weight.flatten(2), delay.flatten(2), sigma, max_delay_steps, taps)
    count = values.shape[0]
    lines, layout = _lines(joined(x, history, max_delay_steps), tuple(weight.shape[2:]), stride, padding)
    # Terms: a place in the kernel and one of its taps, filled up to eights with some that weigh nothing.
    coefficient = values.permute(1, 2, 3, 0).flatten(1)
    step = (max_delay_steps - start.unsqueeze(-1) - torch.arange(count)).flatten(1)
    place = _places(tuple(weight.shape[1:]), stride, layout).repeat_interleave(count)
    coefficient, step, place = (F.pad(part, (0, -place.numel() % TOGETHER)) for part in (coefficient, step, place))
    size = layout.rows_out * layout.columns
    maps: Tensor = _Gather.apply(lines, coefficient.contiguous(), step.contiguous(), place, len(x), size)
    return maps.unflatten(3, (layout.rows_out, layout.columns))[..., : layout.columns_out]


def _lines(
    signal: Tensor, kernel: tuple[int, ...], stride: tuple[int, int], padding: tuple[int, int]
) -> tuple[Tensor, _Layout]:
    """The input as lines, ``[time, batch, number]``."""
    rows, columns = (-(-(n + 2 * p) // s) for n, p, s in zip(signal.shape[3:], padding, stride))
    below, right = rows * stride[0] - signal.shape[3] - padding[0], columns * stride[1] - signal.shape[4] - padding[1]
    padded = F.pad(signal, (padding[1], right, padding[0], below)).unflatten(4, (columns, stride[1]))
    maps = padded.unflatten(3, (rows, stride[0])).permute(0, 1, 2, 4, 6, 3, 5)
    out = ((n + 2 * p - k) // s + 1 for n, p, k, s in zip(signal.shape[3:], padding, kernel, stride))
    # After the last map, room for what is cut off the last output row.
    return F.pad(maps.flatten(2), (0, kernel[1])).contiguous(), _Layout(rows, columns, *out)


def _places(kernel: tuple[int, ...], stride: tuple[int, int], layout: _Layout) -> Tensor:
    """Where in a line each place of the kernel, ``[in, ky, kx]`` in a row, finds the first number that it weighs."""
    channel, a, b = (torch.arange(n).view([-1 if axis == i else 1 for axis in range(3)]) for i, n in enumerate(kernel))
    which = (channel * stride[0] + a % stride[0]) * stride[1] + b % stride[1]
    return ((which * layout.rows + a // stride[0]) * layout.columns + b // stride[1]).flatten()


class _Gather(torch.autograd.Function):
    """``y[t,b,o,n] = sum_j coefficient[o,j] lines[t + step[o,j], b, place[j] + n]``, ``[steps, batch, out, size]``."""

    @staticmethod
    def forward(
        ctx: Any, lines: Tensor, coefficient: Tensor, step: Tensor, place: Tensor, steps: int, size: int
    ) -> Tensor:
        ctx.save_for_backward(lines if ctx.needs_input_grad[1] else None, coefficient, step, place)
        ctx.lines = lines.shape
        y = empty((steps, lines.shape[1], coefficient.shape[0], size), lines.dtype)
        follow_torch_threads()
        gather_kernels.gather_maps(*(part.detach().numpy() for part in (lines, step, place, coefficient)), y.numpy())
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Any:
        lines, coefficient, step, place = ctx.saved_tensors
        grad_lines = grad_coefficient = None
        given, grad = grad_y.contiguous().numpy(), grad_y.new_zeros
        follow_torch_threads()
        if ctx.needs_input_grad[0]:
            grad_lines = grad(ctx.lines)
            gather_kernels.scatter_maps(given, step.numpy(), place.numpy(), coefficient.numpy(), grad_lines.numpy())
        if ctx.needs_input_grad[1]:
            parts = grad(min(grad_y.shape[1], torch.get_num_threads()), *coefficient.shape)
            gather_kernels.correlate_maps(given, lines.numpy(), step.numpy(), place.numpy(), parts.numpy())
            grad_coefficient = parts.sum(0)
        return grad_lines, grad_coefficient, None, None, None, None
