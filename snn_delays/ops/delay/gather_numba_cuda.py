"""The delay layer on the taps that matter, through Numba CUDA; the kernels are imported with the first call."""

from torch import Tensor

from snn_delays.ops.cuda import numba_launch
from snn_delays.ops.delay.gather_cuda import LANES, GatherOnCuda, by_neuron, parts_of_batch


class _Gather(GatherOnCuda):
    def _fill(self, out: Tensor, signal: Tensor, past: int, start: Tensor, values: Tensor, forward: bool) -> None:
        from snn_delays.ops.delay.gather_numba_cuda_kernels import OUTPUTS, STEPS, kernels

        targets, steps, batch = out.shape
        if out.numel():
            offset = past - start
            if not forward:
                offset, values = -offset.transpose(0, 1), values.transpose(1, 2)
            grid = (-(-targets // OUTPUTS) * -(-batch // LANES) * -(-steps // STEPS),)
            args = by_neuron(signal), offset.contiguous(), -1 if forward else 1, values.contiguous(), out
            numba_launch.launch(kernels(out.dtype)[0], grid, (LANES, OUTPUTS), out, args)

    def grad_values(self, grad_y: Tensor, signal: Tensor, past: int, start: Tensor, taps: int) -> Tensor:
        from snn_delays.ops.delay.gather_numba_cuda_kernels import OUTPUTS, kernels

        outputs, inputs, count = start.shape
        blocks = -(-outputs // OUTPUTS) * inputs * count * taps
        parts = parts_of_batch(grad_y.shape[1], blocks * OUTPUTS)
        part = grad_y.new_zeros(parts, taps, outputs, inputs, count)
        if part.numel() and grad_y.numel():
            args = by_neuron(grad_y), by_neuron(signal), (past - start).contiguous(), part
            numba_launch.launch(kernels(part.dtype)[1], (blocks * parts,), (LANES, OUTPUTS), part, args)
        return part.sum(0) if parts > 1 else part[0]


KERNELS = _Gather(numba_launch.refuses)
refuses, run = KERNELS.refuses, KERNELS.run
