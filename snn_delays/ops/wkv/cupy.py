"""WKV as CUDA C kernels (``wkv.cu``) through CuPy."""

import torch
from torch import Tensor

from snn_delays.ops.cuda import cupy_launch, support
from snn_delays.ops.cuda.source import Source
from snn_delays.ops.wkv import WKVState, function

SOURCE = Source("wkv/wkv.cu", contract=False)


def refuses(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState) -> str | None:
    """Serves float32 and float64 on a CUDA GPU."""
    tensors = {"key": key, "value": value, "log_decay": log_decay, "bonus": bonus, **state._asdict()}
    return support.refuses("cupy", cupy_launch.COMPILER, tensors, _trial)


def run(key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState) -> tuple[Tensor, WKVState]:
    """See :func:`snn_delays.ops.wkv.wkv`."""
    return function.apply(KERNELS, key, value, log_decay, bonus, state)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    function.trial(KERNELS, dtype, device)


def _forward(
    key: Tensor, value: Tensor, log_decay: Tensor, bonus: Tensor, state: WKVState, keep: bool
) -> tuple[Tensor, WKVState, Tensor | None]:
    trace = key.new_empty(3, *key.shape) if keep else None
    y, after = torch.empty_like(key), WKVState(*map(torch.empty_like, state))
    _launch("wkv_forward", key, (key, value, log_decay, bonus, *state, *_sizes(key), trace, y, *after))
    return y, after, trace


def _backward(
    grad_output: Tensor, grad_numerator: Tensor, grad_denominator: Tensor, saved: function.WKVSaved
) -> tuple[Tensor, ...]:
    key = saved.key
    grads = *(torch.empty_like(key) for _ in range(2)), *(torch.empty_like(grad_numerator) for _ in range(4))
    given = grad_output, grad_numerator, grad_denominator, key, saved.value, saved.log_decay, saved.bonus, saved.trace
    _launch("wkv_backward", key, (*given, *_sizes(key), *grads))
    return grads


def _sizes(key: Tensor) -> tuple[int, int, int]:
    steps, batch, neurons = key.shape
    return steps, batch * neurons, neurons


def _launch(kernel: str, key: Tensor, args: tuple[Tensor | int | None, ...]) -> None:
    _, lanes, _ = _sizes(key)
    if lanes:
        grid = (-(-lanes // cupy_launch.BLOCK),)
        cupy_launch.launch(SOURCE, kernel, grid, (cupy_launch.BLOCK,), key, args)


KERNELS = function.WKVKernels(_forward, _backward)
