"""The delay layer on the taps that matter, as CUDA C kernels (``gather.cu``) through CuPy."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda import cupy_launch, support
from snn_delays.ops.cuda.source import Source
from snn_delays.ops.delay import gather_cuda
from snn_delays.ops.delay.gather_cuda import LANES, by_neuron, by_time
from snn_delays.ops.delay.gather_function import GatherKernels

SOURCE = Source("delay/gather.cu")
OUTPUTS, STEPS, WARPS, GROUP = 8, 20, 4, 8  # as in gather.cu


def refuses(**call: Any) -> str | None:
    """Serves float32 and float64 on a CUDA GPU, up to ``MAX_TAPS`` taps a synapse."""
    return gather_cuda.refuses(
        **call, kernels_refuse=lambda tensors: support.refuses("cupy", cupy_launch.COMPILER, tensors, _trial)
    )


def run(**call: Any) -> Tensor:
    """See :func:`snn_delays.ops.delay.delayed_linear`."""
    return gather_cuda.run(**call, kernels=KERNELS)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    gather_cuda.trial(KERNELS, dtype, device)


def _forward(signal: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
    _, outputs, inputs, count = values.shape
    out = signal.new_empty(outputs, signal.shape[0] - past, signal.shape[1])
    _gather("forward", signal, start, (inputs * count, count), values, past, inputs, out)
    return by_time(out)


def _grad_signal(grad_y: Tensor, past: int, start: Tensor, values: Tensor) -> Tensor:
    # What a step sent forward in time comes back from there: the same gather with the ends of a synapse exchanged.
    _, outputs, inputs, count = values.shape
    out = grad_y.new_empty(inputs, grad_y.shape[0] + past, grad_y.shape[1])
    _gather("backward", grad_y, start, (count, inputs * count), values, past, outputs, out)
    return by_time(out)


def _gather(
    direction: str, signal: Tensor, start: Tensor, strides: tuple[int, int], values: Tensor, past: int, sources: int,
    out: Tensor,
) -> None:  # fmt: skip
    """Fill ``out [neuron, step, batch]`` from ``signal [time, batch, source]``."""
    targets, steps, batch = out.shape
    taps, count = values.shape[0], values.shape[3]
    if out.numel():
        grid = (-(-targets // OUTPUTS) * -(-batch // LANES) * -(-steps // STEPS),)
        start, values = start.contiguous(), values.detach().contiguous()
        args = (
            by_neuron(signal.detach()), start, *strides, values, values[0].numel(), *strides, past, taps, count,
            sources, targets, signal.shape[0], steps, batch, out,
        )  # fmt: skip
        cupy_launch.launch(SOURCE, f"{direction}_{_at_once(taps)}", grid, (LANES, OUTPUTS), out, args)


def _grad_values(grad_y: Tensor, signal: Tensor, past: int, start: Tensor, taps: int) -> Tensor:
    outputs, inputs, count = start.shape
    steps, batch = grad_y.shape[:2]
    blocks = -(-outputs // WARPS) * -(-inputs * count // GROUP) * -(-taps // _at_once(taps))
    parts = gather_cuda.parts_of_batch(batch, blocks * WARPS)
    part = grad_y.new_empty(parts, taps, outputs, inputs, count)
    if part.numel():
        args = (
            by_neuron(grad_y), by_neuron(signal.detach()), start.contiguous(), past, taps, count, inputs,
            outputs, signal.shape[0], steps, batch, parts, part,
        )  # fmt: skip
        cupy_launch.launch(SOURCE, f"values_{_at_once(taps)}", (blocks * parts,), (LANES, WARPS), part, args)
    return part.sum(0) if parts > 1 else part[0]


def _at_once(taps: int) -> int:
    """Taps that a kernel takes at once: there is one for 1, 2 and 4."""
    return 4 if taps > 2 else taps


KERNELS = GatherKernels(_forward, _grad_signal, _grad_values)
