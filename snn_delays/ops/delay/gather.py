"""The delay layer on the taps that matter, as offsets into memory: a whole delay costs what a linear layer costs."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.delay import gather_kernels
from snn_delays.ops.delay.few_taps import few_taps
from snn_delays.ops.delay.gather_function import GatherKernels, gather
from snn_delays.ops.delay.gather_kernels import LANES, TERMS
from snn_delays.ops.lanes import follow_torch_threads
from snn_delays.ops.workspace import scratch


def refuses(extended: Tensor, weight: Tensor, **_: Any) -> str | None:
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
    start, values = few_taps(weight, delay, sigma, max_delay_steps, taps)
    return gather(extended, start, values, max_delay_steps, KERNELS)


def _add_up(x: Tensor, before: int, after: int, offset: Tensor, coefficient: Tensor, steps: int) -> Tensor:
    """``y[t,b,o] = sum_{n,j} coefficient[o,n,j] x[t + offset[o,n,j] - before, b, n]``, x silent outside."""
    outputs, neurons, each = offset.shape
    y = x.new_empty(steps, x.shape[1], outputs)
    if 0 in y.shape:
        return y
    terms = neurons * each
    groups = -(-max(terms, 1) // TERMS)
    padding = groups * TERMS - terms
    # The taps that fill up the last pass read the silent row behind the last neuron.
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


def _forward(extended: Tensor, start: Tensor, values: Tensor, max_delay_steps: int) -> Tensor:
    offset = max_delay_steps - _steps_in(start, values.shape[0])
    steps = extended.shape[0] - max_delay_steps
    return _add_up(extended.detach(), 0, 0, offset, _per_synapse(values), steps)


def _grad_extended(grad_y: Tensor, start: Tensor, values: Tensor, max_delay_steps: int) -> Tensor:
    # What a step sent forward in time comes back from there: the same gather, with the roles of the ends exchanged.
    offset, coefficient = _steps_in(start, values.shape[0]), _per_synapse(values)
    steps = grad_y.shape[0] + max_delay_steps
    return _add_up(
        grad_y, max_delay_steps, max_delay_steps, offset.transpose(0, 1), coefficient.transpose(0, 1), steps
    )  # fmt: skip


def _grad_values(grad_y: Tensor, extended: Tensor, start: Tensor, max_delay_steps: int, taps: int) -> Tensor:
    outputs, inputs, count = start.shape
    offset = (max_delay_steps - _steps_in(start, taps)).contiguous()
    grad = grad_y.new_zeros(outputs, inputs * count * taps)
    blocks = -(-grad_y.shape[1] // LANES)
    if grad_y.numel() and grad.numel():
        follow_torch_threads()
        rows = scratch("input rows", (blocks, inputs + 1, extended.shape[0], LANES), extended.dtype).numpy()
        grad_rows = scratch("gradient rows", (blocks, outputs + 1, grad_y.shape[0], LANES), grad_y.dtype).numpy()
        gather_kernels.to_rows(extended.detach().contiguous().numpy(), 0, rows)
        gather_kernels.to_rows(grad_y.contiguous().numpy(), 0, grad_rows)
        parts = min(outputs, torch.get_num_threads())
        gather_kernels.correlate_rows(rows, grad_rows, offset.flatten(1).numpy(), parts, grad.numpy())
    return grad.view(outputs, inputs, count, taps).permute(3, 0, 1, 2)


KERNELS = GatherKernels(_forward, _grad_extended, _grad_values)
