"""LIF through Numba CUDA: the host's side. The kernels are in ``numba_cuda_kernels``, imported with the first call."""

from typing import Any

import torch
from torch import Tensor

from snn_delays.ops.cuda import numba_launch
from snn_delays.ops.lif import function
from snn_delays.ops.surrogate import Surrogate


def refuses(current: Tensor, v0: Tensor, surrogate: Surrogate | None, **_: Any) -> str | None:
    """Serves float32 and float64 on a CUDA GPU, or in Numba's simulator, with the surrogates of this package."""
    return function.refuses_surrogate(surrogate) or numba_launch.refuses({"current": current, "state": v0}, _trial)


def run(**call: Any) -> tuple[Tensor, Tensor]:
    """See :func:`snn_delays.ops.lif.lif`."""
    return function.apply(KERNELS, **call)


def _trial(dtype: torch.dtype, device: torch.device) -> None:
    function.trial(KERNELS, dtype, device)


def _forward(
    current: Tensor,
    v0: Tensor,
    decay: Tensor,
    threshold: Tensor,
    gain: Tensor,
    options: function.LIFOptions,
    keep_h: bool,
) -> tuple[Tensor | None, Tensor | None, Tensor]:
    from snn_delays.ops.lif.numba_cuda_kernels import kernels

    spikes, v = torch.empty_like(current) if options.fires else current, torch.empty_like(v0)  # current: not written
    h = torch.empty_like(current) if keep_h else spikes  # likewise
    _launch(
        kernels(v0.dtype)[0], v0,
        (_rows(current), v0.view(-1), *map(Tensor.contiguous, (decay, threshold, gain)), options.v_reset,
         options.soft_reset, options.strict, keep_h, options.fires, _rows(h), _rows(spikes), v.view(-1)),
    )  # fmt: skip
    return h if keep_h else None, spikes if options.fires else None, v


def _backward(
    grad_spikes: Tensor, grad_v: Tensor, saved: function.LIFSaved, options: function.LIFOptions, for_decay: bool
) -> tuple[Tensor | None, ...]:
    from snn_delays.ops.lif.numba_cuda_kernels import kernels

    h, v0 = saved.h, saved.v0.contiguous()
    grad_current = torch.empty_like(h)
    per_lane = [torch.empty_like(v0) for _ in range(4)]
    for_gain = saved.current is not None
    _launch(
        kernels(v0.dtype)[1], v0,
        (_rows(grad_spikes), grad_v.view(-1), _rows(h), _rows(saved.current if saved.current is not None else h),
         v0.view(-1), *map(Tensor.contiguous, (saved.decay, saved.threshold, saved.gain)), options.v_reset,
         options.soft_reset, options.detach_reset, options.strict, *options.surrogate, for_decay, for_gain,
         _rows(grad_current), *(grad.view(-1) for grad in per_lane)),
    )  # fmt: skip
    grad_v0, grad_decay, grad_threshold, grad_gain = per_lane
    return grad_current, grad_v0, grad_decay if for_decay else None, grad_threshold, grad_gain if for_gain else None


def _rows(tensor: Tensor) -> Tensor:
    """``[time, batch, neuron]`` as ``[time, lane]``."""
    return tensor.view(tensor.shape[0], tensor.shape[1] * tensor.shape[2])


def _launch(kernel: Any, v0: Tensor, args: tuple[Tensor | int | float, ...]) -> None:
    if v0.numel():
        grid = (-(-v0.numel() // numba_launch.BLOCK),)
        numba_launch.launch(kernel, grid, (numba_launch.BLOCK,), v0, args)


KERNELS = function.LIFKernels(_forward, _backward)
