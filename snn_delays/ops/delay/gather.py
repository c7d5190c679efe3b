"""The delay layer on the taps that matter, as offsets into memory: an integer delay costs what a linear layer costs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.delay import gather_kernels
from snn_delays.ops.delay.few_taps import few_taps
from snn_delays.ops.delay.gather_function import GatherKernels, gather
from snn_delays.ops.delay.gather_kernels import LANES, TERMS
from snn_delays.ops.delay.signal import with_past
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.workspace import empty, scratch


def refuses(x: Tensor, weight: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    return refuses_off_cpu(input=x, weight=weight)


def run(
    x: Tensor, history: Tensor | None, weight: Tensor, delay: Tensor, sigma: Tensor | None, max_delay_steps: int,
    taps: str,
) -> Tensor:  # fmt: skip
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    start, values = few_taps(weight, delay, sigma, max_delay_steps, taps)
    signal, past = with_past(x, history)
    return gather(signal, past, start, values, KERNELS)


def _add_up(x: Tensor, before: int, after: int, offset: Tensor, coefficient: Tensor, steps: int) -> Tensor:
    """``y[t,b,o] = sum_{n,j} coefficient[o,n,j] x[t + offset[o,n,j] - before, b, n]``, x silent outside."""
    outputs, neurons, each = offset.shape
    y = empty((steps, x.shape[1], outputs), x.dtype)
    if 0 in y.shape:
        return y
    terms = neurons * each
    groups = -(-max(terms, 1) // TERMS)
    padding = groups * TERMS - terms
    # The taps that fill up the last pass read the silent row after the last neuron.
    which = F.pad(torch.arange(neurons).repeat_interleave(each), (0, padding), value=neurons).view(groups, TERMS)
    passes = [
        F.pad(part.reshape(outputs, terms), (0, padding)).view(outputs, groups, TERMS).transpose(0, 1).contiguous()
        for part in (offset, coefficient)
    ]
    follow_torch_threads()
    blocks = -(-x.shape[1] // LANES)
    gather_kernels.gather_rows(
        x.contiguous().numpy(), before, before + x.shape[0] + after, which.numpy(), *(p.numpy() for p in passes),
        _parts(blocks, outputs), y.numpy(),
    )  # fmt: skip
    return y


def _parts(blocks: int, outputs: int) -> int:
    """Parts that a block's outputs are cut into, so that every thread has as much work."""
    threads = torch.get_num_threads()
    return min(outputs, threads) if blocks < 4 * threads and blocks % threads else 1


def _per_synapse(values: Tensor) -> Tensor:
    """``[M, out, in, count]`` as ``[out, in, count * M]``."""
    return values.detach().permute(1, 2, 3, 0).flatten(2)


def _steps_in(start: Tensor, taps: int) -> Tensor:
    """Delay of every tap, ``[out, in, count * M]``."""
    return (start.unsqueeze(-1) + torch.arange(taps, dtype=torch.int32)).flatten(2)


def _forward(signal: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
    delay = _steps_in(start, values.shape[0])
    before = _silence(delay, past)
    return _add_up(signal.detach(), before, 0, before + past - delay, _per_synapse(values), signal.shape[0] - past)


def _grad_signal(grad_y: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
    # What a step sent forward in time comes back from there: the same gather, with the roles of the ends exchanged.
    delay, coefficient = _steps_in(start, values.shape[0]), _per_synapse(values)
    after = _silence(delay, 0)
    return _add_up(
        grad_y, past, after, delay.transpose(0, 1), coefficient.transpose(0, 1), grad_y.shape[0] + past
    )  # fmt: skip


def _grad_values(grad_y: Tensor, signal: Tensor, past: int, start: Tensor, taps: int) -> Tensor:
    outputs, inputs, count = start.shape
    delay = _steps_in(start, taps)
    before = _silence(delay, past)
    offset = (before + past - delay).contiguous()
    grad = grad_y.new_zeros(outputs, inputs * count * taps)
    blocks = -(-grad_y.shape[1] // LANES)
    if grad_y.numel() and grad.numel():
        follow_torch_threads()
        rows = scratch("input rows", (blocks, inputs + 1, before + signal.shape[0], LANES), signal.dtype).numpy()
        grad_rows = scratch("gradient rows", (blocks, outputs + 1, grad_y.shape[0], LANES), grad_y.dtype).numpy()
        gather_kernels.to_rows(signal.detach().contiguous().numpy(), before, rows)
        gather_kernels.to_rows(grad_y.contiguous().numpy(), 0, grad_rows)
        parts = min(outputs, torch.get_num_threads())
        gather_kernels.correlate_rows(rows, grad_rows, offset.flatten(1).numpy(), parts, grad.numpy())
    return grad.view(outputs, inputs, count, taps).permute(3, 0, 1, 2)


def _silence(delay: Tensor, past: int) -> int:
    """Steps that the longest delay looks back beyond the past."""
    return max(0, int(delay.max()) - past) if delay.numel() else 0


KERNELS = GatherKernels(_forward, _grad_signal, _grad_values)
