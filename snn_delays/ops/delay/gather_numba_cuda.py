"""The delay layer on the taps that matter, through Numba CUDA: host side; kernels are imported with the first call."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda import numba_launch
from snn_delays.ops.delay import gather_cuda
from snn_delays.ops.delay.gather_cuda import LANES, by_neuron, by_time
from snn_delays.ops.delay.gather_function import GatherKernels


def refuses(**call: Any) -> str | None:
    """Serves float32 and float64 on a CUDA GPU, or in Numba's simulator, up to ``MAX_TAPS`` taps a synapse."""
    return gather_cuda.refuses(**call, kernels_refuse=lambda tensors: numba_launch.refuses(tensors, _trial))


def run(**call: Any) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    return gather_cuda.run(**call, kernels=KERNELS)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    gather_cuda.trial(KERNELS, dtype, device)


def _forward(signal: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
    out = signal.new_empty(values.shape[1], signal.shape[0] - past, signal.shape[1])
    _gather(signal, past - start, -1, values, out)
    return by_time(out)


def _grad_signal(grad_y: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
    # What a step sent forward in time comes back from there: the same gather with the ends of a synapse exchanged.
    out = grad_y.new_empty(values.shape[2], grad_y.shape[0] + past, grad_y.shape[1])
    _gather(grad_y, (start - past).transpose(0, 1), 1, values.transpose(1, 2), out)
    return by_time(out)


def _gather(signal: Tensor, offset: Tensor, direction: int, values: Tensor, out: Tensor) -> None:
    """Fill ``out [neuron, step, batch]`` from ``signal [time, batch, source]``."""
    from snn_delays.ops.delay.gather_numba_cuda_kernels import OUTPUTS, STEPS, kernels

    targets, steps, batch = out.shape
    if out.numel():
        grid = (-(-targets // OUTPUTS) * -(-batch // LANES) * -(-steps // STEPS),)
        args = (by_neuron(signal), offset.contiguous(), direction, values.contiguous(), out)
        numba_launch.launch(kernels(out.dtype)[0], grid, (LANES, OUTPUTS), out, args)


def _grad_values(grad_y: Tensor, signal: Tensor, past: int, start: Tensor, taps: int) -> Tensor:
    from snn_delays.ops.delay.gather_numba_cuda_kernels import OUTPUTS, kernels

    outputs, inputs, count = start.shape
    blocks = -(-outputs // OUTPUTS) * inputs * count * taps
    parts = gather_cuda.parts_of_batch(grad_y.shape[1], blocks * OUTPUTS)
    part = grad_y.new_zeros(parts, taps, outputs, inputs, count)
    if part.numel() and grad_y.numel():
        args = (by_neuron(grad_y), by_neuron(signal), (past - start).contiguous(), part)
        numba_launch.launch(kernels(part.dtype)[1], (blocks * parts,), (LANES, OUTPUTS), part, args)
    return part.sum(0) if parts > 1 else part[0]


KERNELS = GatherKernels(_forward, _grad_signal, _grad_values)
