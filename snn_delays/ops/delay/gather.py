"""The delay layer on the taps that matter, as offsets into memory: an integer delay costs what a linear layer costs."""

from abc import ABC, abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from snn_delays.ops.backends import refuses_off_cpu
from snn_delays.ops.delay import gather_kernels
from snn_delays.ops.delay.gather_kernels import LANES, TERMS
from snn_delays.ops.delay.signal import with_past
from snn_delays.ops.delay.taps import few_taps
from snn_delays.ops.lanes import array, follow_torch_threads
from snn_delays.ops.packed import Packed, pack
from snn_delays.ops.workspace import empty


class GatherKernels(ABC):
    """A gather and its two gradients, as functions of tensors.

    ``signal`` is the input after ``past`` steps of its history, and silent before and after; ``start`` and ``values``
    are as :func:`snn_delays.ops.delay.taps.few_taps` gives them.
    """

    @abstractmethod
    def forward(self, signal: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
        """``y[t,b,o] = sum_{i,c,m} values[m,o,i,c] signal[past + t - start[o,i,c] - m, b, i]``."""

    @abstractmethod
    def grad_signal(self, grad_y: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
        """``g[s,b,i] = sum_{o,c,m} values[m,o,i,c] grad_y[s - past + start[o,i,c] + m, b, o]``.

        What a step sent forward in time comes back from there: the same gather, with the roles of the ends exchanged.
        """

    @abstractmethod
    def grad_values(self, grad_y: Tensor, signal: Tensor, past: int, start: Tensor, taps: int) -> Tensor:
        """``g[m,o,i,c] = sum_{t,b} grad_y[t,b,o] signal[past + t - start[o,i,c] - m, b, i]``."""

    def gather(self, signal: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
        """Current ``[time, batch, out]``, with its gradients."""
        result: Tensor = _Gather.apply(signal, past, start, values, self)
        return result


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, signal: Tensor, past: int, start: Tensor, values: Tensor, kernels: GatherKernels) -> Tensor:
        ctx.past, ctx.kernels, ctx.dtype = past, kernels, signal.dtype
        # On a GPU nothing can be packed without waiting for it.
        kept = pack(signal) if ctx.needs_input_grad[3] and signal.device.type == "cpu" else Packed(signal, 1.0)
        ctx.scale = kept.scale
        ctx.save_for_backward(kept.numbers if ctx.needs_input_grad[3] else None, start, values)
        return kernels.forward(signal, past, start, values)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_y: Tensor) -> Any:
        numbers, start, values = ctx.saved_tensors
        grad_signal = grad_values = None
        if ctx.needs_input_grad[0]:
            grad_signal = ctx.kernels.grad_signal(grad_y, ctx.past, start, values)
        if ctx.needs_input_grad[3]:
            signal = Packed(numbers, ctx.scale).unpack(ctx.dtype)
            grad_values = ctx.kernels.grad_values(grad_y, signal, ctx.past, start, values.shape[0])
        return grad_signal, None, None, grad_values, None


def refuses(x: Tensor, weight: Tensor, **_: Any) -> str | None:
    """Serves float32 and float64 on the CPU."""
    return refuses_off_cpu(input=x, weight=weight)


def run(x: Tensor, history: Tensor | None, **synapses: Any) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    start, values = few_taps(**synapses)
    signal, past = with_past(x, history)
    return KERNELS.gather(signal, past, start, values)


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
        array(x), before, before + x.shape[0] + after, which.numpy(), *(p.numpy() for p in passes),
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


class _NumbaKernels(GatherKernels):
    def forward(self, signal: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
        delay = _steps_in(start, values.shape[0])
        before = _silence(delay, past)
        return _add_up(signal.detach(), before, 0, before + past - delay, _per_synapse(values), signal.shape[0] - past)

    def grad_signal(self, grad_y: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
        delay, coefficient = _steps_in(start, values.shape[0]).transpose(0, 1), _per_synapse(values).transpose(0, 1)
        return _add_up(grad_y, past, _silence(delay, 0), delay, coefficient, grad_y.shape[0] + past)

    def grad_values(self, grad_y: Tensor, signal: Tensor, past: int, start: Tensor, taps: int) -> Tensor:
        outputs, inputs, count = start.shape
        delay = _steps_in(start, taps)
        before = _silence(delay, past)
        offset = (before + past - delay).contiguous()
        grad = grad_y.new_zeros(outputs, inputs * count * taps)
        blocks = -(-grad_y.shape[1] // LANES)
        if grad_y.numel() and grad.numel():
            follow_torch_threads()
            rows = empty((blocks, inputs + 1, before + signal.shape[0], LANES), signal.dtype).numpy()
            grad_rows = empty((blocks, outputs + 1, grad_y.shape[0], LANES), grad_y.dtype).numpy()
            gather_kernels.to_rows(array(signal), before, rows)
            gather_kernels.to_rows(array(grad_y), 0, grad_rows)
            parts = min(outputs, torch.get_num_threads())
            gather_kernels.correlate_rows(rows, grad_rows, offset.flatten(1).numpy(), parts, grad.numpy())
        return grad.view(outputs, inputs, count, taps).permute(3, 0, 1, 2)


def _silence(delay: Tensor, past: int) -> int:
    """Steps that the longest delay looks back beyond the past."""
    return max(0, int(delay.max()) - past) if delay.numel() else 0


KERNELS = _NumbaKernels()
