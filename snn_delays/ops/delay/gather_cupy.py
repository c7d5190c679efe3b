"""The delay layer on the taps that matter, as CUDA C kernels (``gather.cu``) through CuPy."""

from torch import Tensor

from snn_delays.ops.cuda import cupy_launch
from snn_delays.ops.cuda.cupy_launch import Source
from snn_delays.ops.delay.gather_cuda import LANES, GatherOnCuda, by_neuron, parts_of_batch

SOURCE = Source("delay/gather.cu")
OUTPUTS, STEPS, WARPS, GROUP = 8, 20, 4, 8  # as in gather.cu


class _Gather(GatherOnCuda):
    def _fill(self, out: Tensor, signal: Tensor, past: int, start: Tensor, values: Tensor, forward: bool) -> None:
        targets, steps, batch = out.shape
        taps, _, inputs, count = values.shape
        strides, sources = ((inputs * count, count), inputs) if forward else ((count, inputs * count), values.shape[1])
        if out.numel():
            grid = (-(-targets // OUTPUTS) * -(-batch // LANES) * -(-steps // STEPS),)
            start, values = start.contiguous(), values.detach().contiguous()
            args = (
                by_neuron(signal.detach()), start, *strides, values, values[0].numel(), *strides, past, taps, count,
                sources, targets, signal.shape[0], steps, batch, out,
            )  # fmt: skip
            kernel = f"{'forward' if forward else 'backward'}_{_at_once(taps)}"
            cupy_launch.launch(SOURCE, kernel, grid, (LANES, OUTPUTS), out, args)

    def grad_values(self, grad_y: Tensor, signal: Tensor, past: int, start: Tensor, taps: int) -> Tensor:
        outputs, inputs, count = start.shape
        steps, batch = grad_y.shape[:2]
        blocks = -(-outputs // WARPS) * -(-inputs * count // GROUP) * -(-taps // _at_once(taps))
        parts = parts_of_batch(batch, blocks * WARPS)
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


KERNELS = _Gather(cupy_launch.refuses)
refuses, run = KERNELS.refuses, KERNELS.run
