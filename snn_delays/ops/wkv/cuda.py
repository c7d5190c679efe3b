"""WKV on a GPU, a thread per lane: the host's side of both kernels, ``wkv.cu`` and ``numba_cuda_kernels``."""

import torch
from torch import Tensor

from snn_delays.ops.cuda.support import Lanes, Unless
from snn_delays.ops.wkv import WKVState
from snn_delays.ops.wkv.function import WKVKernels, WKVSaved


class WKVOnCuda(WKVKernels):
    """Serves float32 and float64."""

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes

    def refuses(self, key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState) -> str | None:
        """Sentence where the kernels do not serve the tensors."""
        tensors = {"key": key, "value": value, "log_decay": log_decay, "bonus": bonus, **state._asdict()}
        return self._lanes.refuses(tensors, self._trial)

    def _trial(self, dtype: torch.dtype, device: torch.device) -> None:
        with torch.enable_grad(), torch.autocast(device.type, enabled=False):
            one = torch.ones((), dtype=dtype, device=device, requires_grad=True)
            row = one.expand(1, 1)
            y, after = self.run(row[None], row[None], row[0], row[0], WKVState(row, row, row.detach()))
            torch.autograd.grad(y.sum() + after.numerator.sum(), one)
        torch.cuda.synchronize(device)

    def forward(
        self, key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState, keep: bool
    ) -> tuple[Tensor, WKVState, Tensor | None]:
        """See :class:`WKVKernels`."""
        trace = key.new_empty(3, *key.shape) if keep else None
        y, after = torch.empty_like(key), WKVState(*map(torch.empty_like, state))
        inputs = key, value, log_decay, bonus, *state
        self._lanes.launch("forward", key, inputs, (Unless(trace, y[None]), y, *after))
        return y, after, trace

    def backward(
        self, grad_output: Tensor, grad_numerator: Tensor, grad_denominator: Tensor, saved: WKVSaved
    ) -> tuple[Tensor, ...]:
        """See :class:`WKVKernels`."""
        key = saved.key
        grads = *(torch.empty_like(key) for _ in range(2)), *(torch.empty_like(grad_numerator) for _ in range(4))
        self._lanes.launch("backward", key, (grad_output, grad_numerator, grad_denominator, *saved), grads)
        return grads
