"""LIF on a GPU, a thread per lane: the host's side of both kernels, ``lif.cu`` and ``numba_cuda_kernels``."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda.support import Lanes, PerNeuron, Unless
from snn_delays.ops.lif.function import (
    LIFKernels,
    LIFNeurons,
    LIFOptions,
    LIFSaved,
    refuses_surrogate,
    surrogate_numbers,
)
from snn_delays.ops.surrogate import ATan, Surrogate


class LIFOnCuda(LIFKernels):
    """Serves float32 and float64 with the surrogates of this package."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    def refuses(self, current: Tensor, v0: Tensor, surrogate: Surrogate | None, **_: Any) -> str | None:
        """Sentence where the surrogate has no kernel, or the kernels do not serve the tensors."""
        tensors = {"current": current, "state": v0}
        return refuses_surrogate(surrogate) or self._lanes.refuses(tensors, self._trial)

    def _trial(self, dtype: torch.dtype, device: torch.device) -> None:
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            one = torch.ones((), dtype=dtype, device=device, requires_grad=True)
            row = one.expand(1, 1)
            options = LIFOptions(0.0, False, True, True, False, ATan())
            spikes, v = self.run(row[None], row, one, one, **options._asdict())
            torch.autograd.grad(spikes.sum() + v.sum(), one)
        torch.cuda.synchronize(device)

    def forward(
        self, current: Tensor, v0: Tensor, neurons: LIFNeurons, options: LIFOptions, keep_h: bool
    ) -> tuple[Tensor | None, Tensor | None, Tensor]:
        """See :class:`LIFKernels`."""
        h, spikes = (torch.empty_like(current) if kept else None for kept in (keep_h, options.fires))
        v = torch.empty_like(v0)
        self._lanes.launch(
            "forward", current,
            (current, v0, *map(PerNeuron, neurons), options.v_reset, options.soft_reset, options.strict),
            (Unless(h, current), Unless(spikes, current), v),
        )  # fmt: skip
        return h, spikes, v

    def backward(
        self, grad_output: Tensor, grad_v: Tensor, saved: LIFSaved, options: LIFOptions, for_decay: bool
    ) -> tuple[Tensor | None, ...]:
        """See :class:`LIFKernels`."""
        h, v0 = saved.h, saved.v0
        grad_current, grad_v0, grad_threshold = torch.empty_like(h), torch.empty_like(v0), torch.empty_like(v0)
        grad_decay = torch.empty_like(v0) if for_decay else None
        grad_gain = None if saved.current is None else torch.empty_like(v0)
        self._lanes.launch(
            "backward", h,
            (grad_output, grad_v, h, Unless(saved.current, h), v0,
             *map(PerNeuron, saved.neurons), options.v_reset, options.soft_reset, options.detach_reset, options.strict,
             *surrogate_numbers(options.surrogate)),
            (grad_current, grad_v0, Unless(grad_decay, v0), grad_threshold, Unless(grad_gain, v0)),
        )  # fmt: skip
        return grad_current, grad_v0, grad_decay, grad_threshold, grad_gain
