"""WKV through Numba CUDA: the host's side. The kernels are imported with the first call."""

import torch
from torch import Tensor

from snn_delays.ops.cuda import numba_launch
from snn_delays.ops.wkv import WKVState, function


def refuses(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState) -> str | None:
    """Serves float32 and float64 on a CUDA GPU, or in Numba's simulator."""
    tensors = {"key": key, "value": value, "log_decay": log_decay, "bonus": bonus, **state._asdict()}
    return numba_launch.refuses(tensors, _trial)


def run(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState) -> tuple[Tensor, WKVState]:
    """See :func:`snn_delays.ops.wkv.wkv`."""
    return function.apply(KERNELS, key, value, log_decay, bonus, state)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    function.trial(KERNELS, dtype, device)


def _forward(
    key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState, keep: bool
) -> tuple[Tensor, WKVState, Tensor | None]:
    y, after = torch.empty_like(key), WKVState(*map(torch.empty_like, state))
    trace = key.new_empty(3, *key.shape) if keep else y[None]  # not written
    flat = key.flatten(1), value.flatten(1), log_decay, bonus, *map(torch.flatten, state)
    _launch(0, key, (*flat, keep, trace.flatten(2), y.flatten(1), *(part.view(-1) for part in after)))
    return y, after, trace if keep else None


def _backward(
    grad_output: Tensor, grad_numerator: Tensor, grad_denominator: Tensor, saved: function.WKVSaved
) -> tuple[Tensor, ...]:
    key = saved.key
    grads = *(torch.empty_like(key) for _ in range(2)), *(torch.empty_like(grad_numerator) for _ in range(4))
    given = grad_output.flatten(1), grad_numerator.flatten(), grad_denominator.flatten(), key.flatten(1)
    past = saved.value.flatten(1), saved.log_decay, saved.bonus, saved.trace.flatten(2)
    _launch(1, key, (*given, *past, *(grad.flatten(1) for grad in grads[:2]), *(grad.view(-1) for grad in grads[2:])))
    return grads


def _launch(which: int, key: Tensor, args: tuple[Tensor | int, ...]) -> None:
    from snn_delays.ops.wkv.numba_cuda_kernels import kernels

    lanes = key.shape[1:].numel()
    if lanes:
        grid = (-(-lanes // numba_launch.BLOCK),)
        numba_launch.launch(kernels(key.dtype)[which], grid, (numba_launch.BLOCK,), key, args)


KERNELS = function.WKVKernels(_forward, _backward)
